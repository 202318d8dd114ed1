"""Flags of `tfhand.train` that make a row of docs/experiments.md, and which of them matter."""

import dataclasses
import os
import pathlib

from absl import flags

from tfhand import commands, train
from tfhand.training import options, precision

__all__ = ["are_equal", "changed_flags", "flags_of", "named", "parse"]

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Of what a run is made from, not part of what it is.
_PLACES = ("workdir", "data_dir", "flagfile", "seed")
_NO_PLACES = ("none", "shipped")
# Flags that change no result, but for the records, which are compared by themselves.
_NO_EFFECT = {
    "recording_samples",
    "worker_timeout",
    *(field.name for field in dataclasses.fields(options.RunOptions)),
}


def are_equal(found, wanted):
    """Whether the flags of a result are those of `flags_of`, but for those without an effect."""
    return not changed_flags(wanted, found)


def changed_flags(wanted, found):
    """Returns those of `wanted` that `found` has with another value, but for those without effect.

    A flag that is newer than a result had the value that is now its default.
    """
    defaults = flags_of(())
    names = sorted({*wanted, *defaults} - _NO_EFFECT)
    values = {k: wanted.get(k, defaults.get(k)) for k in names}
    return {k: v for k, v in values.items() if found.get(k, defaults.get(k)) != v}


def flags_of(flag_files):
    """Returns the flags of `tfhand.train` that flag files give, without places and seed.

    Args:
        flag_files: Paths from the root of the checkout, later ones win.
    """
    own = flags.FlagValues()
    train.define_flags(own)
    values = parse(flag_files).flag_values_dict()
    wanted = {k: v for k, v in sorted(values.items()) if k in set(own) - set(_PLACES)}
    if wanted["init_from"] not in _NO_PLACES:
        wanted["init_from"] = "another run"
    return wanted


def parse(flag_files):
    """Returns the absl `FlagValues` of `tfhand.train` that flag files give.

    Args:
        flag_files: As for `flags_of`.

    Raises:
        absl.flags.Error: If a file cannot be read or has a flag that is none.
    """
    # Flag files name others from the root of the checkout.
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        values = commands.parse(train.define_flags, ["", *named(flag_files), "--workdir=unused"])
    finally:
        os.chdir(before)
    # What this machine takes is another run than what another one would.
    values.precision = precision.resolve(values.precision)
    return values


def named(flag_files):
    """Returns arguments that name flag files."""
    return [f"--flagfile={path}" for path in flag_files]
