"""Depth images as files: the NYU data set's own coding, 16-bit PNG, and NumPy arrays."""

import pathlib

import numpy as np
import tensorflow as tf

__all__ = ["UnsupportedImage", "decode_nyu_png", "read_depth"]


class UnsupportedImage(ValueError):
    """A whole picture that holds no depth in a form that is known."""


def decode_nyu_png(png):
    """Decodes a depth image of the NYU Hand Pose data set.

    Args:
        png: Scalar string tensor or bytes, an 8-bit RGB PNG; depth in mm is (G << 8) | B.

    Returns:
        float32 [H, W], mm, 0 where there is no reading.
    """
    rgb = tf.cast(tf.io.decode_png(png, channels=3), tf.int32)
    return tf.cast(rgb[..., 1] * 256 + rgb[..., 2], tf.float32)


def read_depth(path, scale=1.0):
    """Reads a depth image.

    Args:
        path: `.npy` with [H, W], 16-bit gray PNG, or 8-bit RGB PNG in NYU's coding.
        scale: Factor from stored values to mm; NYU's coding is mm already.

    Returns:
        float32 [H, W], NumPy, mm, 0 where there is no reading.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no depth image; `UnsupportedImage` if it is a picture of
            another kind.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a depth image at {path}, found none.")
    if path.suffix == ".npy":
        depth = _read_npy(path)
    else:
        depth = _read_png(path)
    return np.where(np.isfinite(depth), depth * scale, 0.0).astype(np.float32)


def _read_npy(path):
    try:
        depth = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"Expected a NumPy array in {path}, found none: {error}") from error
    if depth.ndim != 2 or depth.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected a number array [H, W] in {path}, found {depth.dtype} {list(depth.shape)}."
        )
    return depth.astype(np.float32)


def _read_png(path):
    data = path.read_bytes()
    # Bytes 24 and 25 of a PNG are its bit depth and color type (0 gray, 2 RGB).
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        raise ValueError(f"Expected a PNG or .npy depth image, found something else in {path}.")
    bits, color = data[24], data[25]
    try:
        if (bits, color) == (16, 0):
            return tf.io.decode_png(data, dtype=tf.uint16)[..., 0].numpy().astype(np.float32)
        if (bits, color) == (8, 2):
            return decode_nyu_png(data).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"Expected a whole PNG in {path}, found a damaged one.") from error
    raise UnsupportedImage(
        f"Expected a 16-bit gray or an 8-bit RGB (NYU) PNG in {path}, found {bits} bits of color "
        f"type {color}."
    )
