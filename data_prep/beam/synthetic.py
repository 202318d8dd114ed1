"""Makes the embedded recording on a cluster: the records that `data_prep.synthetic` makes.

    python -m data_prep.beam.synthetic --output_dir=OUT --num_samples=N -- --runner=FlinkRunner ...

Options of Apache Beam follow `--`; without any, the pipeline runs in this process. OUT is a folder
that all workers see: on a shared disk, or in an object store as gs://BUCKET/DIR.
"""

from data_prep.beam import options
from data_prep.synthetic import embedded

__all__ = ["define_flags", "main"]

define_flags = embedded.define_flags


def main(flag_values, beam_arguments):
    """Runs the command."""
    # Imported late: it brings Beam.
    from data_prep.beam.sequences import render_split

    recording = embedded.parse_options(flag_values)
    output_dir = flag_values.output_dir
    for plan, planned in embedded.plan_splits(output_dir, recording, flag_values.overwrite):
        info = render_split(plan, planned, beam_arguments)
        print(f"{output_dir}/{plan.split}: {info.num_samples} samples of {plan.num_views} views")


if __name__ == "__main__":
    options.run(main, define_flags)
