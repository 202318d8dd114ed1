"""Flags of `tfhand.train` that flag files set, and those in which two runs differ."""

import dataclasses

from absl import flags

from tfhand import train
from tfhand.training import options

__all__ = ["changed_flags", "parse", "result_flags"]

# Where a run is kept and what it reads; a seed repeats it.
_NOT_OF_A_ROW = {"workdir", "data_dir", "flagfile", "seed"}
# Flags that change no result. The records are compared by themselves.
_WITHOUT_EFFECT = {
    "recording_samples",
    *(field.name for field in dataclasses.fields(options.RunOptions)),
}


def parse(flag_files):
    """Returns the absl `FlagValues` of `tfhand.train` that flag files set.

    Args:
        flag_files: Paths, later ones win.

    Raises:
        absl.flags.Error: If a file cannot be read or has an unknown flag.
    """
    values = flags.FlagValues()
    train.define_flags(values)
    values(["", *(f"--flagfile={path}" for path in flag_files), "--workdir=unused"])
    return values


def result_flags(flag_files):
    """Returns the flags that a result is kept with, name to value.

    Args:
        flag_files: As for `parse`.
    """
    values = parse(flag_files)
    return {name: values[name].value for name in sorted(set(values) - _NOT_OF_A_ROW)}


def changed_flags(flags_of_run, other_flags):
    """Returns the flags of a run that another one has with another value, name to value.

    A flag that is newer than a run had the value that is now its default.

    Args:
        flags_of_run: Dict of `result_flags`, also of an older version.
        other_flags: Likewise, of the other run.
    """
    defaults = result_flags(())
    run, other = defaults | flags_of_run, defaults | other_flags
    names = sorted(defaults.keys() - _WITHOUT_EFFECT)
    return {name: run[name] for name in names if run[name] != other[name]}
