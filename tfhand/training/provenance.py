"""What a run was made from: versions, commit, flags, seeds and data."""

import os
import pathlib
import platform
import subprocess

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from data_prep import records
from data_prep.dataset_info import compute_sha256
from tfhand import __version__

__all__ = ["describe", "versions"]


def versions():
    """Returns the versions that decide what a run computes, by package."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow_probability": tfp.__version__,
        "numpy": np.__version__,
        "tfhand": __version__,
    }


def describe(flag_values, data_dir):
    """Returns what is needed to make a run again, plain types.

    Args:
        flag_values: Parsed absl `FlagValues` of `tfhand.train`.
        data_dir: Folder of the records.

    Returns:
        Dict of `versions`; `commit`, of the checkout that ran, with whether its files differed
        from it, None outside of one; `flags`; `seed`; `data`, SHA-256 of the description of the
        records and of every shard.
    """
    flags = flag_values.flag_values_dict()
    info = records.read_info(data_dir)
    shards = [shard for split in info.splits.values() for shard in split.shards]
    description = os.path.join(data_dir, records.INFO_NAME)
    return {
        "versions": versions(),
        "commit": _commit(pathlib.Path(__file__).resolve().parents[2]),
        "flags": {name: flags[name] for name in sorted(flags) if name != "help"},
        "seed": flag_values.seed,
        "data": {
            records.INFO_NAME: compute_sha256(description),
            **{shard.name: shard.sha256 for shard in sorted(shards, key=lambda s: s.name)},
        },
    }


def _commit(root):
    """Returns the commit of a checkout and whether tracked files differ, None without git."""
    if not (root / ".git").exists():
        return None

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"id": git("rev-parse", "HEAD"), "is_dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None
