"""Disks that are full and folders that are closed, without being root and without mounting any."""

import contextlib
import os
import pathlib
import resource

__all__ = ["closed_folder", "content_of", "full_disk"]

_NOBODY = 65534


@contextlib.contextmanager
def full_disk(num_bytes=600):
    """Lets no file grow beyond a size meanwhile: the system refuses, whichever library writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def closed_folder(folder):
    """Lets nothing be written to a folder meanwhile; root, who may write anywhere, is nobody."""
    mode = os.stat(folder).st_mode
    folders = [folder, *(path for path in pathlib.Path(folder).rglob("*") if path.is_dir())]
    for path in folders:
        os.chmod(path, 0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in folders:
            os.chmod(path, mode)


def content_of(folder):
    """Returns the bytes of every file below a folder, hidden ones too, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file()
    }
