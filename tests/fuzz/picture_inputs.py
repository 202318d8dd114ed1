"""Depth pictures: PNG, NYU frames, `.npy`."""

import struct
import zlib

import numpy as np
import tensorflow as tf

from data_prep.nyu import frame_crops, recording_files
from tests.fuzz import mutator
from tests.fuzz.case import Format
from tfhand.geometry import depth_image

__all__ = ["FORMATS"]


def _depth():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:48, :64]
    depth = 700.0 + 2.0 * np.abs(columns - 32) + rows + rng.integers(0, 3, (48, 64))
    return np.where(rng.random((48, 64)) < 0.1, 0, depth).astype(np.uint16)


def _gray_png():
    return tf.io.encode_png(_depth()[..., None]).numpy()


def _nyu_png(shift=0):
    depth = _depth() + shift
    rgb = np.stack([np.zeros_like(depth), depth >> 8, depth & 255], axis=-1)
    return tf.io.encode_png(rgb.astype(np.uint8)).numpy()


def _chunks(png):
    """Splits a PNG into (type, data); stops where it is no PNG any more."""
    place = 8
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def _png_of(chunks):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def _mutate_chunk(png, rng):
    """Damages what is in one chunk, and gives it a checksum that fits."""
    chunks = list(_chunks(png))
    index = int(rng.integers(len(chunks)))
    kind, data = chunks[index]
    if kind == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(mutator.mutate(zlib.decompress(data), rng))
    else:
        data = mutator.mutate(data, rng)
    chunks[index] = kind, data
    return _png_of(chunks)


def _with_size(width, height):
    def bomb(png):
        (kind, header), *others = _chunks(png)
        return _png_of([(kind, struct.pack(">II", width, height) + header[8:]), *others])

    return bomb


def _large_png(_):
    """As many pixels as are taken, and a thousandth of their bytes."""
    return tf.io.encode_png(np.zeros([4096, 4096, 1], np.uint16)).numpy()


_PNG_BOMBS = {
    "31-bit sides": _with_size(2**31 - 1, 2**31 - 1),
    "32-bit sides": _with_size(2**32 - 1, 2**32 - 1),
    "30,000 a side": _with_size(30000, 30000),
    "no pixels": _with_size(0, 48),
    "one huge row": _with_size(2**26, 1),
    "all zeros": _large_png,
}


def _read_depth(name):
    def read(data, folder):
        (folder / name).write_bytes(data)
        return depth_image.read_depth(folder / name)

    return read


def _check_depth(depth_mm, _):
    assert depth_mm.dtype == np.float32 and depth_mm.ndim == 2, (depth_mm.dtype, depth_mm.shape)
    assert np.isfinite(depth_mm).all(), "depth that is not finite"


def _check_same_depth(depth_mm, reference):
    np.testing.assert_array_equal(depth_mm, reference)


def _check_png(depth_mm, reference):
    """Chunks have checksums: what is accepted is what was written, or a bomb of allowed size."""
    if depth_mm.shape == (4096, 4096):
        return
    _check_same_depth(depth_mm, reference)


def _make_frame(folder):
    (folder / "train").mkdir(exist_ok=True)
    for view in (1, 3):
        (folder / "train" / f"depth_{view}_0000001.png").write_bytes(_nyu_png(view))
    return _nyu_png(2)


def _read_frame(data, folder):
    """Views are read as a conversion reads them: what is wrong with a frame is counted by it."""
    (folder / "train" / "depth_2_0000001.png").write_bytes(data)
    split = recording_files.open_split(folder, "train")
    return frame_crops.decode_views(*recording_files.read_pictures(split, 1))


def _make_npy(folder):
    np.save(folder / "whole.npy", _depth().astype(np.float32))
    return (folder / "whole.npy").read_bytes()


def _npy_header(text, version=1):
    def bomb(_):
        header = text.encode()
        size = struct.pack("<H" if version == 1 else "<I", len(header))
        return b"\x93NUMPY" + bytes([version, 0]) + size + header + bytes(64)

    return bomb


_NPY_BOMBS = {
    "a huge shape": _npy_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }\n"
    ),
    "more than 64 bits": _npy_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }\n"
    ),
    "negative": _npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4), }\n"),
    "wraps to 64": _npy_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 16), }\n"
    ),
    "nested": _npy_header("(" * 4000),
    "long header": lambda _: b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(100),
    "a zip": lambda _: b"PK\x03\x04" + bytes(200),
    "objects": _npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }\n"),
    "open quote": _npy_header("{'descr': '<f4', 'shape': (2, 2)"),
    "large": lambda _: (
        _npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (8192, 8192), }\n")(_)
        + bytes(8192 * 8192)
    ),
}


FORMATS = {
    "png gray": Format(
        1000, lambda _: _gray_png(), _read_depth("depth.png"), _check_png, "depth.png",
        bombs=_PNG_BOMBS,
    ),
    "png nyu": Format(
        1000, lambda _: _nyu_png(), _read_depth("depth.png"), _check_png, "depth.png",
        bombs=_PNG_BOMBS,
    ),
    "png resealed": Format(
        1000, lambda _: _gray_png(), _read_depth("depth.png"), _check_depth, "depth.png",
        mutate=_mutate_chunk,
    ),
    "nyu frame": Format(
        800, _make_frame, _read_frame, _check_same_depth, "picture", bombs=_PNG_BOMBS
    ),
    "npy": Format(
        1500, _make_npy, _read_depth("depth.npy"), _check_depth, "depth.npy", bombs=_NPY_BOMBS
    ),
}  # fmt: skip
