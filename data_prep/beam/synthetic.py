"""Makes the embedded recording on a cluster: the records that `data_prep.synthetic` makes.

    python -m data_prep.beam.synthetic --output_dir=OUT --num_samples=N -- --runner=FlinkRunner ...

What follows `--` are options of Apache Beam; without any, the pipeline runs in this process. OUT is
a folder that all workers see: on a shared disk, or in an object store as gs://BUCKET/DIR.
"""

from data_prep.beam import options
from data_prep.records.split_plan import SplitPlan
from data_prep.synthetic import embedded, sequences
from tfhand.geometry import crop

__all__ = ["define_flags", "main"]

define_flags = embedded.define_flags


def main(flag_values, beam_arguments):
    """Runs the command."""
    # Imported late: it brings Beam.
    from data_prep.beam.sequences import record_split

    parts = sequences.plan_takes(flag_values.num_samples, flag_values.test_share, flag_values.seed)
    for split, part in parts.items():
        plan = SplitPlan(
            output_dir=flag_values.output_dir,
            split=split,
            items=range(sum(take.num_frames for take in part)),
            num_shards=flag_values.num_shards,
            source=embedded.source_of(flag_values.seed),
            spec=crop.CropSpec(image_size=flag_values.image_size),
            num_views=embedded.NUM_VIEWS,
            settings={},
            extra={},
            overwrite=flag_values.overwrite,
        )
        info = record_split(plan, part, beam_arguments)
        print(
            f"{flag_values.output_dir}/{split}: {info.num_samples} samples of "
            f"{embedded.NUM_VIEWS} views"
        )


if __name__ == "__main__":
    options.run(main, define_flags)
