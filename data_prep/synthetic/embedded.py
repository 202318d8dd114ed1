"""Makes the embedded recording: moving hands seen by three cameras with a depth sensor's faults.

    python -m data_prep.synthetic --output_dir=data --num_samples=4000

The hands are people whom the synthetic stage of training never draws: their proportions lie in
the outer part of the range, and their skin has bumps that the hand model does not know. Their
motions go from gesture to gesture before the first camera. Each camera image is rendered at the
sensor's own resolution, receives the sensor's faults there, and is cropped around a center found
in the depth alone, by the code that crops real recordings. Joints are stored for scoring.
"""

import tensorflow as tf
from absl import flags
from tqdm import tqdm

from data_prep import records
from data_prep.records import storage
from data_prep.synthetic import sequences
from tfhand.geometry import crop

__all__ = ["NUM_VIEWS", "RECIPE", "define_flags", "main", "source_of", "write"]

# Raised whenever the same arguments give another recording than before.
RECIPE = 2
NUM_VIEWS = 3


def source_of(seed):
    """Returns what the records say of where they come from."""
    return f"embedded recording, seed {seed}"


def write(output_dir, num_samples, spec, *, test_share=0.2, num_shards=4, seed=1, overwrite=False):
    """Makes both splits of the recording and writes them.

    Args:
        output_dir: Folder for the shards.
        num_samples: Samples of both splits together.
        spec: `crop.CropSpec`.
        test_share: Share of the test split.
        num_shards: Shards a split.
        seed: Seed of everything that is drawn.
        overwrite: Replace splits that are already there.

    Returns:
        Dict of split to number of samples.
    """
    noise = tf.random.Generator.from_seed(seed)
    written = {}
    for split, parts in sequences.plan_takes(num_samples, test_share, seed).items():
        count = sum(take.num_frames for take in parts)
        writer = records.ShardWriter(
            output_dir,
            split,
            num_shards=num_shards,
            source=source_of(seed),
            spec=spec,
            num_views=NUM_VIEWS,
            overwrite=overwrite,
        )
        with writer, tqdm(total=count, desc=f"recording {split}", unit="sample") as progress:
            for take in parts:
                renderer = sequences.Renderer(take, spec, noise)
                for start in take.starts:
                    for sample in renderer.render(start):
                        writer.write(sample)
                        progress.update()
            written[split] = writer.num_samples
    return written


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "output_dir", None, "Folder to write the shards to.", required=True, flag_values=flag_values
    )
    flags.DEFINE_integer(
        "num_samples", 4000, "Samples of both splits together.", 8, flag_values=flag_values
    )
    flags.DEFINE_float(
        "test_share", 0.2, "Share of the test split.", 0.0, 0.9, flag_values=flag_values
    )
    flags.DEFINE_integer("image_size", 64, "Side of the crops, px.", 8, flag_values=flag_values)
    flags.DEFINE_integer("num_shards", 4, "Shards a split.", 1, flag_values=flag_values)
    flags.DEFINE_integer(
        "seed", 1, "Seed of subjects, motion, cameras and faults.", flag_values=flag_values
    )
    flags.DEFINE_boolean(
        "overwrite", False, "Replace splits that are already there.", flag_values=flag_values
    )


def main(options):
    """Runs the command."""
    storage.check_local(options.output_dir, "data_prep.beam.synthetic")
    spec = crop.CropSpec(image_size=options.image_size)
    written = write(
        options.output_dir,
        options.num_samples,
        spec,
        test_share=options.test_share,
        num_shards=options.num_shards,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    for split, count in written.items():
        print(f"{options.output_dir}/{split}: {count} samples of {NUM_VIEWS} views")
