"""What the workers of a run make sure of before they train together.

A step sums the gradients of all workers, so workers of other flags, code or records train
something that nobody asked for, or wait for each other for ever. Each check is made by all of them,
and all learn of it: every one ends with the same error.
"""

import contextlib
import json
import os
import pathlib
import secrets
import time

from data_prep import records
from data_prep.records.dataset_info import compute_sha256
from tfhand import files
from tfhand.runs import provenance, resolved_flags
from tfhand.training import turns, workers

__all__ = ["alone_in_workdir", "check_command", "check_data", "check_fits", "check_start"]

_LOCK = ".lock"
_TOKEN = ".token-"
# Longest that a network file system may need to show one machine what another has written.
_APPEARS_WITHIN_SECONDS = 5.0
# Differences that are named; enough to look at, few enough to read.
_NAMED = 5


def check_command(strategy, values):
    """Checks that all workers run the same code with the same flags.

    Python itself may differ, and the names of folders: see `resolved_flags.that_decide`.

    Args:
        strategy: `tf.distribute.Strategy`.
        values: Parsed flags.

    Raises:
        ValueError: If they do not.
    """
    versions = provenance.versions() | {"code": provenance.code_checksum()[:12]}
    del versions["python"]
    remedy = "install the same versions, and the same tfhand, on all machines"
    _check_same(strategy, "versions", versions, remedy)
    remedy = "start the same command on all machines"
    _check_same(strategy, "flags", resolved_flags.that_decide(values), remedy)


def check_data(strategy, data_dir):
    """Checks that all workers read the same records.

    Args:
        strategy: `tf.distribute.Strategy`.
        data_dir: Folder of the records.

    Raises:
        ValueError: If they do not.
    """
    checksums = _shortened(provenance.data_checksums(data_dir))
    # It may name folders; the records themselves lie in the shards.
    del checksums[records.INFO_NAME]
    remedy = "copy the folder of the records, whole, to all machines, or share it"
    _check_same(strategy, "data", checksums, remedy)


def check_start(strategy, path):
    """Checks that all workers start from the same finished stages of another run.

    Args:
        strategy: `tf.distribute.Strategy`.
        path: Working directory of that run.

    Raises:
        ValueError: If they do not.
    """
    checksums = provenance.start_checksums(path)
    remedy = "copy the stages of that run to all machines, or share them"
    _check_same(strategy, "stages to start from", _shortened(checksums), remedy)


def check_fits(strategy, folder):
    """Checks that all workers learn from the same fits.

    Args:
        strategy: `tf.distribute.Strategy`.
        folder: `pathlib.Path` of the round, where the chief has written them.

    Raises:
        ValueError: If they do not.
    """
    checksums = {path.name: compute_sha256(path) for path in sorted(folder.glob("*.npz"))}
    remedy = "--workdir has to be on a file system that all workers share"
    _check_same(strategy, "fits", _shortened(checksums), remedy)


@contextlib.contextmanager
def alone_in_workdir(strategy, path):
    """Context in which no other run trains in a working directory, which all workers see.

    The chief alone locks it, and leaves the file `.lock` there; the lock goes with the process.

    Args:
        strategy: `tf.distribute.Strategy`.
        path: The folder, made if needed.

    Raises:
        FileExistsError: If another run trains there.
        ValueError: If there are workers that do not see what the chief writes there.
    """
    path = pathlib.Path(path)
    token = ""
    with contextlib.ExitStack() as held:
        with turns.one_by_one(strategy):
            if workers.is_chief(strategy):
                held.enter_context(files.alone_in(path, "training in", _LOCK))
                token = _write_token(path)
        try:
            _check_shared(strategy, path, token)
        finally:
            if token:
                (path / token).unlink(missing_ok=True)
        yield


def _shortened(checksums):
    """Returns as much of checksums as is read in a message."""
    return {name: checksum[:12] for name, checksum in checksums.items()}


def _check_same(strategy, kind, described, remedy):
    """Checks that what all workers say, {name: plain value}, is the same."""
    found = [json.loads(text) for text in workers.gather(strategy, json.dumps(described))]
    different = []
    for name in sorted(set().union(*found)):
        values = [one.get(name) for one in found]
        other = next((i for i, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            different.append(
                f"{name} {values[0]} of worker 0 and {values[other]} of worker {other}"
            )
    if different:
        more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
        raise ValueError(
            f"Expected the same {kind} on all workers, found {'; '.join(different[:_NAMED])}"
            f"{more}: {remedy}."
        )


def _write_token(path):
    """Writes a file of a name that nobody has asked for; returns the name."""
    for old in path.glob(f"{_TOKEN}*"):
        # Of a run that was killed at this point.
        old.unlink(missing_ok=True)
    token = f"{_TOKEN}{secrets.token_hex(8)}"
    files.write_text(path / token, "")
    return token


def _check_shared(strategy, path, token):
    token = workers.gather(strategy, token)[0]
    blind = workers.gather(strategy, "" if _appears(path / token) else os.path.abspath(path))
    for index, place in enumerate(blind):
        if place:
            raise ValueError(
                f"Expected one --workdir on a file system that all workers share, found that "
                f"what worker 0 writes there does not come to {place} of worker {index}."
            )


def _appears(path):
    """Whether a file is there, or comes within a few seconds."""
    end = time.monotonic() + _APPEARS_WITHIN_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
