"""Files that are there whole or not at all, folders with one writer, and JSON that is JSON.

Whatever the package writes goes through `replacing`, or, where a library writes several files,
through `folder_beside` or `writing`: a full disk or a closed folder is an `OSError` that names the
file, and a reader never meets half of one.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from absl import logging

__all__ = [
    "lock_folder",
    "folder_beside",
    "parse_json",
    "read_json",
    "replacing",
    "write_json",
    "write_text",
    "writing",
]

_HIDDEN = ".partial"
# What the system says of a disk or a folder that takes nothing.
_REFUSALS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
)  # fmt: skip
# What it says where a file system has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def lock_folder(
    folder: str | os.PathLike, doing: str = "writing to", lock: str = "."
) -> Iterator[None]:
    """Keeps other processes out of a local folder; the lock goes with the process.

    Where the file system has no locks, a warning says so, and nobody is kept out.

    Args:
        folder: The folder, made if needed.
        doing: What another process would be doing there, for the message.
        lock: Name of the file in it that is locked, made if needed and left there. ".": the folder
            itself, which leaves nothing behind, but of which network file systems (NFS) tell other
            machines nothing.

    Raises:
        FileExistsError: If another process is in it.
        OSError: If the folder cannot be made or written to.
    """
    os.makedirs(folder, exist_ok=True)
    if lock == ".":
        locked = os.open(folder, os.O_RDONLY)
    else:
        # NFS takes an exclusive lock only of what is open for writing; folders never are.
        locked = os.open(os.path.join(folder, lock), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"Another process is {doing} {os.fspath(folder)}.") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logging.warning(
                "Cannot lock %s (%s): take care that no other process is %s it.",
                folder, error.strerror, doing,
            )  # fmt: skip
        yield
    finally:
        os.close(locked)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Context in which a file is written beside its place; it gets there at the end of the block.

    If anything goes wrong, what was there before stays, and nothing is left beside it.

    Args:
        path: The file to write; an existing one is replaced, missing folders are made.

    Yields:
        Where to write it: a hidden name with the same suffixes.

    Raises:
        OSError: If it cannot be written.
    """
    path = pathlib.Path(path)
    partial = _partial(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _flush(partial)
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Context in which a file or folder is written, by any library.

    TensorFlow and HDF5 have exceptions of their own for a full disk and a closed folder, and the
    system's own may name no file.

    Args:
        path: What is written, for the message.

    Raises:
        OSError: If the system refuses to write it.
    """
    try:
        yield
    except Exception as error:
        code = _refusal(error, pathlib.Path(path))
        if code is None:
            raise
        raise OSError(code, os.strerror(code), os.fspath(path)) from error


@contextlib.contextmanager
def folder_beside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Context with a hidden folder beside a path, where it is written before it is moved there.

    Args:
        path: A folder, or a file whose writer wants to name it; missing folders are made.

    Yields:
        The hidden folder, empty; it is gone after the block. What a process that was killed left
        there is gone as well.

    Raises:
        OSError: If nothing can be written there.
    """
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = _partial(path)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8, as `replacing` does.

    Args:
        path: The file to write.
        text: What to write.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes JSON, as `replacing` does.

    Args:
        path: The file to write.
        content: What to write; plain types.

    Raises:
        ValueError: If `content` holds a NaN or an infinity, which JSON has no word for.
        TypeError: If `content` holds a type that JSON has no word for.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.

    Returns:
        What it holds, in plain types.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    return parse_json(pathlib.Path(path).read_bytes(), path)


def parse_json(data: bytes, path: str | os.PathLike) -> Any:
    """Returns what JSON in UTF-8 holds, in plain types.

    Args:
        data: The content of a file.
        path: The file, for the message.

    Raises:
        ValueError: If it is something else.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {os.fspath(path)}, found none: {error}.") from error


def _flush(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _is_hidden(named, path):
    """Tells whether a path is, or is in, what is written beside another one."""
    if path.parent not in named.parents:
        return False
    return named.relative_to(path.parent).parts[0].startswith(_HIDDEN)


def _partial(path):
    return path.with_name(f"{_HIDDEN}.{path.name}")


def _refusal(error, path):
    """Returns the error number if a path could not be written, None where it is something else."""
    if isinstance(error, OSError):
        named = None if error.filename is None else pathlib.Path(error.filename)
        if named is not None and _is_hidden(named, path):
            # Whatever it is, the hidden name says nothing to who wanted the file.
            return error.errno
        if named not in (None, path):
            return None
        if error.errno in _REFUSALS:
            return error.errno
    text = str(error)
    return next((code for code in _REFUSALS if os.strerror(code) in text), None)
