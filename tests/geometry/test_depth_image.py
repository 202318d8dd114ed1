"""Depth images as files, whole and broken."""

import numpy as np
import pytest
import tensorflow as tf

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

    @tf.function
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
