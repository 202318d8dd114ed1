"""Depth images as files, whole and broken."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from tfhand.geometry import depth_image


@pytest.fixture
def depth(rng):
    """Whole mm up to 16 bits, with pixels of every size of number."""
    values = rng.integers(0, 2000, (24, 32))
    values[0, :4] = [0, 1, 256, 65535]
    return values


def write_nyu_png(path, depth):
    # Red holds what NYU's files hold there: something else.
    rgb = np.stack([np.full(depth.shape, 77), depth >> 8, depth & 255], axis=-1)
    path.write_bytes(tf.io.encode_png(rgb.astype(np.uint8)).numpy())
    return path


def write_gray_png(path, depth):
    path.write_bytes(tf.io.encode_png(depth.astype(np.uint16)[..., None]).numpy())
    return path


@pytest.mark.parametrize("write", [write_nyu_png, write_gray_png])
def test_pngs_keep_every_millimeter(tmp_path, depth, write):
    found = depth_image.read_depth(write(tmp_path / "depth.png", depth))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


@pytest.mark.parametrize("write", [write_nyu_png, write_gray_png])
def test_decoding_in_a_graph(tmp_path, depth, write):
    data = write(tmp_path / "depth.png", depth).read_bytes()
    layout = depth_image.PngLayout.of(data)
    assert layout == (24, 32, write is write_nyu_png)

    @tf.function(autograph=False)
    def decode(png):
        return depth_image.depth_from_png(depth_image.decode_png(png, layout))

    found = decode(tf.constant(data))
    assert found.dtype == tf.uint16 and found.shape == [24, 32]
    np.testing.assert_array_equal(found, depth)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(data[:-30]))


def test_scale(tmp_path, depth):
    path = write_gray_png(tmp_path / "depth.png", depth)
    np.testing.assert_allclose(depth_image.read_depth(path, scale=0.125), depth * 0.125)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_npy(tmp_path, depth, dtype):
    np.save(tmp_path / "depth.npy", depth.astype(dtype))
    found = depth_image.read_depth(str(tmp_path / "depth.npy"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


def test_no_reading_is_zero(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[np.nan, np.inf], [-np.inf, 700.0]]))
    found = depth_image.read_depth(tmp_path / "depth.npy")
    np.testing.assert_array_equal(found, [[0.0, 0.0], [0.0, 700.0]])


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        depth_image.read_depth(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="depth image"):
        depth_image.read_depth(tmp_path)


@pytest.mark.parametrize("write", [write_nyu_png, write_gray_png])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_png(tmp_path, depth, write, share):
    path = write(tmp_path / "depth.png", depth)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"depth\.png"):
        depth_image.read_depth(path)


def test_damaged_npy(tmp_path, depth):
    path = tmp_path / "depth.npy"
    np.save(path, depth)
    for data in (path.read_bytes()[:-100], b"", b"no array at all"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"depth\.npy"):
            depth_image.read_depth(path)


@pytest.mark.parametrize(
    "values", [np.zeros([4, 4, 3]), np.zeros(4), np.array([["a", "b"]]), np.zeros([2, 2], complex)]
)
def test_npy_that_is_no_depth(tmp_path, values):
    np.save(tmp_path / "depth.npy", values)
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        depth_image.read_depth(tmp_path / "depth.npy")


def test_npy_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"depth\.npy"):
        depth_image.read_depth(tmp_path / "depth.npy")


def test_another_file(tmp_path):
    path = tmp_path / "depth.png"
    for data in (b"", b"GIF89a" + bytes(100), b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"depth\.png"):
            depth_image.read_depth(path)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (4, np.uint8), (3, np.uint16)])
def test_png_of_another_kind(tmp_path, channels, dtype):
    path = tmp_path / "depth.png"
    path.write_bytes(tf.io.encode_png(np.zeros([8, 8, channels], dtype)).numpy())
    with pytest.raises(ValueError, match="16-bit gray"):
        depth_image.read_depth(path)


def npy_bytes(shape, version=1):
    header = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + bytes(64)


@pytest.mark.parametrize(
    "shape", [(10**9, 10**9), (2**63 - 1, 9), (-4, -4), (2**62, 16), (5000, 5000)]
)
def test_npy_that_claims_more_than_it_holds(tmp_path, shape):
    path = tmp_path / "depth.npy"
    path.write_bytes(npy_bytes(shape))
    with pytest.raises(ValueError, match=r"depth\.npy"):
        depth_image.read_depth(path)


def test_npy_of_a_later_version_costs_no_memory(tmp_path):
    path = tmp_path / "depth.npy"
    path.write_bytes(npy_bytes((4, 4)))
    assert depth_image.read_depth(path).shape == (4, 4)
    path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(100))
    with pytest.raises(ValueError, match=r"version 1\.0.*|depth\.npy"):
        depth_image.read_depth(path)


def test_npy_that_is_too_large(tmp_path):
    # A hole in the file, so that it costs nothing.
    np.lib.format.open_memmap(tmp_path / "depth.npy", "w+", np.uint8, (4097, 4096))
    with pytest.raises(ValueError, match=r"at most 16777216 pixels .*4097, 4096"):
        depth_image.read_depth(tmp_path / "depth.npy")


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (30000, 30000), (0, 24), (2**26, 1)])
def test_png_that_claims_any_size(tmp_path, depth, size):
    path = write_gray_png(tmp_path / "depth.png", depth)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"pixels, found {size[0]} x {size[1]} in .*depth\.png"):
        depth_image.read_depth(path)


def test_depth_beyond_float32_is_no_reading(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[1e300, 2.0]]))
    found = depth_image.read_depth(tmp_path / "depth.npy", scale=10.0)
    np.testing.assert_array_equal(found, [[0.0, 20.0]])


def test_files_that_are_being_written_are_not_found(tmp_path, depth):
    write_gray_png(tmp_path / "a.png", depth)
    write_gray_png(tmp_path / ".partial.b.png", depth)
    assert [path.name for path in depth_image.find_images(tmp_path)] == ["a.png"]


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(depth=arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_any_depth_comes_back(tmp_path_factory, depth):
    folder = tmp_path_factory.mktemp("depth")
    np.save(folder / "depth.npy", depth)
    for path in (
        write_gray_png(folder / "gray.png", depth),
        write_nyu_png(folder / "nyu.png", depth.astype(np.int64)),
        folder / "depth.npy",
    ):
        np.testing.assert_array_equal(depth_image.read_depth(path), depth)
