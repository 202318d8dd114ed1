"""Provenance of every launch of a run: versions, commit, flags, seed and data."""

import datetime
import os
import pathlib
import platform
import subprocess

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from data_prep import records
from data_prep.records.dataset_info import compute_sha256
from tfhand import __version__, files
from tfhand.runs import resolved_flags

__all__ = [
    "NAME",
    "collect",
    "record_launch",
    "versions",
]

NAME = "provenance.json"
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = ("data_prep", "tfhand")
# Stages that another run may have done.
_PRETRAINED_STAGES = ("prior", "init")


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


def collect(flag_values, data_dir, pretrained_folder=None):
    """Returns what is needed to make a run again, plain types.

    Args:
        flag_values: Parsed absl `FlagValues` of `tfhand.train`.
        data_dir: Folder of the records.
        pretrained_folder: Folder of the run whose prior and network are taken; None: its own.

    Returns:
        Dict of `versions`; `commit`, of the checkout that runs, with whether its code differs from
        it, None outside of one; `flags`; `seed`; `data`, SHA-256 of the description of the records
        and of every shard; `start`, SHA-256 of the weights that were taken, empty without.
    """
    flags = resolved_flags.to_dict(flag_values)
    return {
        "versions": versions(),
        "commit": _commit(_ROOT),
        "flags": {name: flags[name] for name in sorted(flags)},
        "seed": flag_values.seed,
        "data": _data_checksums(data_dir),
        "start": _pretrained_checksums(pretrained_folder) if pretrained_folder else {},
    }


def record_launch(folder, provenance):
    """Adds a launch of a run to those in its folder.

    Args:
        folder: Folder of the run; the list of launches is its `provenance.json`.
        provenance: Of `collect`.

    Raises:
        ValueError: If what is there is no such list.
        OSError: If it cannot be written.
    """
    path = pathlib.Path(folder) / NAME
    launches = files.read_json(path) if path.exists() else []
    if not isinstance(launches, list):
        raise ValueError(f"Expected a list of launches in {path}, found {type(launches).__name__}.")
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    files.write_json(path, [*launches, {"time": time, **provenance}])


def _data_checksums(data_dir):
    """Returns SHA-256 of the description of records and, as it says, of every shard, by name.

    Args:
        data_dir: Folder of the records.
    """
    info = records.read_info(data_dir)
    shards = [shard for split in info.splits.values() for shard in split.shards]
    return {
        records.INFO_NAME: compute_sha256(os.path.join(data_dir, records.INFO_NAME)),
        **{shard.name: shard.sha256 for shard in sorted(shards, key=lambda s: s.name)},
    }


def _pretrained_checksums(path):
    """Returns SHA-256 of the weights of the finished stages of a run, by path within it.

    Args:
        path: Working directory of the run.
    """
    path = pathlib.Path(path)
    weights = sorted(p for stage in _PRETRAINED_STAGES for p in (path / stage).glob("*.weights.h5"))
    return {p.relative_to(path).as_posix(): compute_sha256(p) for p in weights}


def _commit(root):
    """Returns the commit of a checkout and whether its code differs, None without git."""
    if not (root / ".git").exists():
        return None

    def git(*arguments):
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *_PACKAGES)
        return {"id": git("rev-parse", "HEAD"), "is_dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None
