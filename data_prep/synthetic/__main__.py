"""`python -m data_prep.synthetic`, see `embedded.py`."""

from data_prep.synthetic.embedded import define_flags, main
from tfhand import commands

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    commands.run(main, define_flags)
