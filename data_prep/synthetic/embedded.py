"""Makes the embedded recording: moving hands seen by three cameras with a depth sensor's faults.

    python -m data_prep.synthetic --output_dir=data --num_samples=4000

The hands belong to people whom the synthetic stage of training never draws: their proportions lie
in the outer part of the range, and joints, flesh and skin lie where no shape of the hand model has
them. They act before the first camera, seen from all sides, in poses that no sampler draws. Each
camera image is rendered at the sensor's own resolution, receives the sensor's faults there, and is
cropped around a center found in the depth alone, by the code that crops real recordings. Joints are
stored for scoring.
"""

import dataclasses

import tensorflow as tf
from absl import flags
from tqdm import tqdm

from data_prep import records
from data_prep.records import storage
from data_prep.synthetic import sequences
from tfhand.geometry import crop

__all__ = [
    "RECIPE",
    "RecordingOptions",
    "define_flags",
    "main",
    "parse_options",
    "plan_splits",
    "write",
]

# Raised whenever the same arguments give another recording than before.
RECIPE = 3
_NUM_VIEWS = 3


@dataclasses.dataclass(frozen=True)
class RecordingOptions:
    """Size and seed of a recording.

    Attributes:
        num_samples: Samples of both splits together.
        spec: Size of the crops.
        test_share: Share of the test split.
        num_shards: Shards a split.
        seed: Seed of everything that is drawn.
    """

    num_samples: int
    spec: crop.CropSpec
    test_share: float = 0.2
    num_shards: int = 4
    seed: int = 1


def plan_splits(output_dir, options, overwrite=False):
    """Plans both splits of the recording.

    Args:
        output_dir: Folder for the shards.
        options: `RecordingOptions`.
        overwrite: Whether splits that are already there are replaced.

    Returns:
        List of (`records.SplitPlan`, list of its `sequences.HandSequence`).
    """
    of_split = sequences.plan_sequences(options.num_samples, options.test_share, options.seed)
    return [
        (
            records.SplitPlan(
                output_dir,
                split,
                num_shards=options.num_shards,
                source=f"embedded recording, seed {options.seed}",
                spec=options.spec,
                num_views=_NUM_VIEWS,
                overwrite=overwrite,
            ),
            planned,
        )
        for split, planned in of_split.items()
    ]


def write(output_dir, options, overwrite=False):
    """Renders both splits of the recording and writes them.

    Args:
        output_dir: As for `plan_splits`.
        options: As for `plan_splits`.
        overwrite: As for `plan_splits`.

    Returns:
        Dict of split to number of samples.
    """
    noise = tf.random.Generator.from_seed(options.seed)
    num_written = {}
    for plan, planned in plan_splits(output_dir, options, overwrite):
        count = sum(sequence.num_frames for sequence in planned)
        with (
            records.ShardWriter(plan) as writer,
            tqdm(total=count, desc=f"recording {plan.split}", unit="sample") as progress,
        ):
            for sequence in planned:
                renderer = sequences.SequenceRenderer(sequence, plan.spec, noise)
                for start in sequence.batch_starts:
                    for sample in renderer.render(start):
                        writer.write(sample)
                        progress.update()
        num_written[plan.split] = writer.num_samples
    return num_written


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string(
        "output_dir", None, "Folder to write the shards to.", required=True, **define
    )
    flags.DEFINE_integer("num_samples", 4000, "Samples of both splits together.", 8, **define)
    flags.DEFINE_float("test_share", 0.2, "Share of the test split.", 0.0, 0.9, **define)
    flags.DEFINE_integer("image_size", 64, "Side of the crops, px.", 8, **define)
    flags.DEFINE_integer("num_shards", 4, "Shards a split.", 1, **define)
    flags.DEFINE_integer("seed", 1, "Seed of subjects, motion, cameras and faults.", **define)
    flags.DEFINE_boolean("overwrite", False, "Replace splits that are already there.", **define)


def parse_options(flag_values):
    """Returns the `RecordingOptions` that the flags ask for."""
    return RecordingOptions(
        flag_values.num_samples,
        crop.CropSpec(image_size=flag_values.image_size),
        flag_values.test_share,
        flag_values.num_shards,
        flag_values.seed,
    )


def main(flag_values):
    """Runs the command."""
    storage.check_local(flag_values.output_dir, "data_prep.beam.synthetic")
    options = parse_options(flag_values)
    num_written = write(flag_values.output_dir, options, flag_values.overwrite)
    for split, count in num_written.items():
        print(f"{flag_values.output_dir}/{split}: {count} samples of {_NUM_VIEWS} views")
