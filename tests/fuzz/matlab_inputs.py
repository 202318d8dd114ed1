"""NYU's annotation, `.mat`, of MATLAB's versions 5 to 7 and 7.3."""

import struct
import zlib

import h5py
import numpy as np
import scipy.io

from data_prep.nyu import recording_files
from tests.fuzz.case import Format
from tfhand.hand import skeleton

__all__ = ["FORMATS"]

# Classes of arrays, and types of what they hold.
_DOUBLE, _TEXT, _CELL = 6, 4, 1
_INT8, _FLOAT64, _UTF8 = 1, 9, 16


def _joints():
    rng = np.random.default_rng(4)
    return rng.normal(0.0, 60.0, (3, 5, 36, 3)) + [0.0, 0.0, 700.0]


def _make_mat(compress):
    def make(folder):
        names = np.empty((1, 36), object)
        names[0] = skeleton.JOINT_NAMES
        values = {"joint_xyz": _joints(), "joint_names": names}
        scipy.io.savemat(folder / "whole.mat", values, do_compression=compress)
        return (folder / "whole.mat").read_bytes()

    return make


def _mutate_tags(data, rng):
    """Damages small numbers at places where tags, flags and dimensions are: among zeros."""
    damaged = bytearray(data)
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    # The numbers of the joints are no small ones.
    small = np.flatnonzero((words > 0) & (words < 1 << 16))
    for _ in range(int(rng.integers(1, 4))):
        place = 4 * int(rng.choice(small))
        value = int(rng.choice([*range(20), 255, 257, 1 << 11, 1 << 29, 2**31, 2**32 - 1]))
        damaged[place : place + 4] = struct.pack("<I", value)
    return bytes(damaged)


def _replace_in_joints(place, value):
    """Writes another number at a place of the array joint_xyz, counted from its tag."""

    def bomb(data):
        start = data.index(b"joint_xyz") - 56
        return data[: start + place] + struct.pack("<I", value) + data[start + place + 4 :]

    return bomb


def _replace_cells(data):
    """Claims more cells than any memory has."""
    start = data.index(b"joint_names") - 40
    at = data.index(struct.pack("<II", 1, 36), start)
    return data[:at] + struct.pack("<II", 2**31 - 1, 36) + data[at + 8 :]


def _element(kind, data):
    """An element of the file: type, size, data, up to the next multiple of 8 bytes."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _start_of_array(name, class_of_array, sizes, num_bytes):
    """Flags, dimensions and name of an array, which claims to go on for so many bytes."""
    head = _element(6, struct.pack("<II", class_of_array, 0))
    head += _element(5, struct.pack(f"<{len(sizes)}i", *sizes)) + _element(1, name)
    return struct.pack("<II", 14, len(head) + num_bytes) + head


def _array(name, class_of_array, sizes, kind, data):
    content = _element(kind, data)
    return _start_of_array(name, class_of_array, sizes, len(content)) + content


def _packed(start, megabyte=b"", count=0):
    """A compressed element of a start and the same megabyte again and again, made at once."""
    packer = zlib.compressobj(1)
    packed = [packer.compress(start), packer.flush(zlib.Z_FULL_FLUSH)]
    packed += [(packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH)) * count]
    checksum = zlib.adler32(start)
    for _ in range(count):
        checksum = zlib.adler32(megabyte, checksum)
    packed = b"".join([*packed, packer.flush()[:-4], struct.pack(">I", checksum)])
    return struct.pack("<II", 15, len(packed)) + packed


def _packed_numbers(name, sizes, kind, megabytes):
    start = _start_of_array(name, _DOUBLE, sizes, 8 + (megabytes << 20))
    tag = struct.pack("<II", kind, megabytes << 20)
    return lambda data: data[:128] + _packed(start + tag, bytes(1 << 20), megabytes)


def _packed_cells(megabytes):
    start = _start_of_array(b"joint_names", _CELL, (1, megabytes << 17), megabytes << 20)
    empty = struct.pack("<II", 14, 0) * (1 << 17)
    return lambda data: data[:128] + _packed(start, empty, megabytes)


# None holds what it claims, or all of it is more than a recording has.
_BOMBS = {
    "two of a name": lambda data: data + _array(b"joint_xyz", _DOUBLE, (1, 1), _FLOAT64, bytes(8)),
    "dimensions beyond the file": lambda data: (
        data[:128] + _array(b"joint_xyz", _DOUBLE, (3, 2**29, 36, 3), _FLOAT64, bytes(800))
    ),
    "text beyond the file": lambda data: (
        data[:128] + _array(b"joint_names", _TEXT, (1, 2**31 - 1), _UTF8, b"")
    ),
    "negative dimensions": lambda data: (
        data[:128] + _array(b"joint_xyz", _DOUBLE, (-3, -5, 36, 3), _FLOAT64, bytes(8 * 1620))
    ),
}
_PACKED_BOMBS = {
    "two of a name": lambda data: data + data[128:],
    "a gigabyte": _packed_numbers(b"joint_xyz", (3, 414252, 36, 3), _FLOAT64, 1024),
    "a gigabyte of something else": _packed_numbers(b"x", (1, 1 << 27), _FLOAT64, 1024),
    # Less than a recording has, until they are float64.
    "small numbers": _packed_numbers(b"joint_xyz", (3, 1 << 18, 36, 3), _INT8, 81),
    "many empty cells": _packed_cells(200),
    "many dimensions": lambda data: (
        data[:128] + _packed(_start_of_array(b"joint_names", _CELL, (1,) * (1 << 23), 0))
    ),
}


_MAT_BOMBS = _BOMBS | {
    "4 GB": _replace_in_joints(4, 2**32 - 8),
    "many cells": _replace_cells,
    "nothing": lambda _: b"",
}


def _make_mat73(folder):
    with h5py.File(folder / "whole.mat", "w") as file:
        joints = np.transpose(_joints())
        file.create_dataset("joint_xyz", data=joints, compression="gzip", chunks=joints.shape)
    return (folder / "whole.mat").read_bytes()


def _read_mat(data, folder):
    (folder / "joint_data.mat").write_bytes(data)
    return recording_files.read_joint_data(folder / "joint_data.mat")


def _check_joints(joints_mm, _):
    assert joints_mm.dtype == np.float64, joints_mm.dtype
    assert joints_mm.ndim == 4 and joints_mm.shape[::2] == (3, 36) and joints_mm.shape[3] == 3
    known = np.isfinite(joints_mm)
    assert (known.all(axis=-1) == known.any(axis=-1)).all(), "half of a joint is known"


def _hdf5_bomb(shape):
    def bomb(_):
        with h5py.File("bomb", "w", driver="core", backing_store=False) as file:
            chunks = tuple(min(16, n) for n in shape)
            file.create_dataset("joint_xyz", shape, np.float64, chunks=chunks, compression="gzip")
            file.flush()
            return file.id.get_file_image()

    return bomb


FORMATS = {
    "mat 5": Format(
        1500, _make_mat(False), _read_mat, _check_joints, "joint_data.mat", bombs=_MAT_BOMBS
    ),
    "mat 5 structure": Format(
        1500, _make_mat(False), _read_mat, _check_joints, "joint_data.mat", mutate=_mutate_tags
    ),
    "mat 5 zipped": Format(
        500, _make_mat(True), _read_mat, _check_joints, "joint_data.mat",
        bombs=_PACKED_BOMBS,
    ),
    "mat 7.3": Format(
        1000, _make_mat73, _read_mat, _check_joints, "joint_data.mat",
        bombs={
            "many frames": _hdf5_bomb((3, 36, 10**9, 3)),
            "huge": _hdf5_bomb((10**6, 10**6, 10**3, 3)),
        },
    ),
}  # fmt: skip
