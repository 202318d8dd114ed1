"""`python -m data_prep.nyu`, see `command.py`."""

import tensorflow as tf

from data_prep.nyu.command import define_flags, main
from tfhand import commands

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    # Frames are converted side by side; within a frame, threads would only wait for each other.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    commands.run(main, define_flags)
