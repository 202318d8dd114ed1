"""Files on disks, and in the object stores that TensorFlow reads and writes (`gs://`).

`tf.io.gfile` is one interface to both. This module adds what it leaves open: errors of the kind
that Python's own functions raise, the pace and the precise times of local files, and writing in
one step.
"""

import concurrent.futures
import contextlib
import os

import tensorflow as tf

from tfhand import files

__all__ = [
    "check_local",
    "is_remote",
    "list_names",
    "move",
    "os_errors",
    "read_bytes",
    "replacing",
    "stat_all",
    "write_text",
]

gfile = tf.io.gfile
# Answers of an object store that are waited for at the same time.
_REQUESTS = 64


def is_remote(path) -> bool:
    """Tells whether a path is a URL such as `gs://bucket/folder`."""
    return "://" in os.fspath(path)


def check_local(path, beam_command: str) -> None:
    """Raises a ValueError that names the command for object stores if a path is a URL."""
    if is_remote(path):
        raise ValueError(f"Expected a local folder to write to, found {path}: see {beam_command}.")


@contextlib.contextmanager
def os_errors():
    """Turns TensorFlow's errors of files into a FileNotFoundError or an OSError."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def list_names(folder) -> list[str]:
    """Lists the names in a folder, without an order."""
    if not is_remote(folder):
        return os.listdir(folder)
    with os_errors():
        return [name.rstrip("/") for name in gfile.listdir(folder)]


def read_bytes(path) -> bytes:
    """Reads a file; a FileNotFoundError if there is none, an OSError if it cannot be read."""
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    with os_errors(), gfile.GFile(path, "rb") as file:
        return file.read()


def write_text(path, text: str) -> None:
    """Writes a file in one step, so that there is the old one or the new one, or an OSError."""
    if not is_remote(path):
        files.write_text(path, text)
        return
    folder, name = os.path.split(os.fspath(path))
    partial = os.path.join(folder, f".{name}.partial")
    with os_errors(), gfile.GFile(partial, "w") as file:
        file.write(text)
    move(partial, path)


@contextlib.contextmanager
def replacing(path):
    """Context that yields the path to write a file to, which then is there whole or not at all.

    An object in a store is there when it is complete, so it is written in its place.

    Raises:
        OSError: If it cannot be written.
    """
    if is_remote(path):
        with os_errors():
            yield os.fspath(path)
    else:
        with files.replacing(path) as partial:
            yield os.fspath(partial)


def move(source, target) -> None:
    """Renames a file, in place of a file of that name; an OSError if that cannot be done."""
    with os_errors():
        gfile.rename(os.fspath(source), os.fspath(target), overwrite=True)


def stat_all(paths) -> list[tuple[int, int]]:
    """Returns (size in bytes, time of the last change in ns) of every file."""
    if not any(map(is_remote, paths)):
        return [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, paths)]
    with os_errors(), concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
        return [(stat.length, stat.mtime_nsec) for stat in pool.map(gfile.stat, paths)]
