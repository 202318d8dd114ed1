"""Converts a recording in NYU's layout on a cluster, to the records that `data_prep.nyu` makes.

    python -m data_prep.beam.nyu --nyu_dir=DIR --output_dir=OUT -- --runner=FlinkRunner ...

Options of Apache Beam follow `--`; without any, the pipeline runs in this process. DIR and OUT are
folders that all workers see: on a shared disk, or in an object store as gs://BUCKET/DIR. All other
files are read here. The cameras are calibrated once, before frames go to the workers.
"""

import functools

from data_prep.beam import options
from data_prep.nyu import command

__all__ = ["define_flags", "main"]

define_flags = command.define_conversion_flags


def main(flag_values, beam_arguments):
    """Runs the command."""
    # Imported late: it brings Beam.
    from data_prep.beam import frames

    command.convert(flag_values, functools.partial(frames.convert_split, arguments=beam_arguments))


if __name__ == "__main__":
    options.run(main, define_flags)
