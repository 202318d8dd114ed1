"""Depth images as files: the NYU data set's own coding, 16-bit PNG, and NumPy arrays."""

import pathlib
import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = [
    "UNITS_MM",
    "PngLayout",
    "UnsupportedImage",
    "decode_png",
    "depth_from_png",
    "find_images",
    "read_depth",
]

# Units that stored values can have.
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_SUFFIXES = (".png", ".npy")
# More than any depth camera has: a damaged file may claim any size, which would be allocated.
_MOST_PIXELS = 1 << 24
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class UnsupportedImage(ValueError):
    """A whole picture that holds no depth in a supported form."""


class PngLayout(NamedTuple):
    """Layout of a PNG that holds depth.

    Attributes:
        height: Rows.
        width: Columns.
        is_rgb: True for 8-bit RGB in NYU's coding, False for 16-bit gray.
    """

    height: int
    width: int
    is_rgb: bool

    @classmethod
    def of(cls, data):
        """Reads the layout from the first bytes of a file.

        Args:
            data: bytes.

        Raises:
            ValueError: If they do not begin a PNG; `UnsupportedImage` if it holds no depth.
        """
        # A PNG starts with its signature and the chunk IHDR: width, height (4 bytes each), bit
        # depth, color type (0 gray, 2 RGB).
        if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
            raise ValueError("Expected a PNG or .npy depth image, found something else")
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        if not 1 <= width * height <= _MOST_PIXELS:
            raise ValueError(
                f"Expected a depth image of at most {_MOST_PIXELS} pixels, found {width} x {height}"
            )
        bits, color = data[24], data[25]
        if (bits, color) not in ((16, 0), (8, 2)):
            raise UnsupportedImage(
                f"Expected a 16-bit gray or an 8-bit RGB (NYU) PNG, found {bits} bits of color "
                f"type {color}"
            )
        return cls(height, width, color == 2)


def decode_png(png, layout):
    """Decodes the stored values of a depth PNG; also in a graph.

    Args:
        png: Scalar string tensor or bytes.
        layout: Its `PngLayout`.

    Returns:
        uint8 [H, W, 3] or uint16 [H, W, 1], of static shape.

    Raises:
        tf.errors.InvalidArgumentError: (when run) if the file is damaged, or of another size.
    """
    dtype, channels = (tf.uint8, 3) if layout.is_rgb else (tf.uint16, 1)
    values = tf.io.decode_png(png, channels=channels, dtype=dtype)
    return tf.ensure_shape(values, [layout.height, layout.width, channels])


def depth_from_png(values):
    """Returns the depth of decoded PNGs.

    Args:
        values: uint8 [..., 3] in NYU's coding (green is the high byte, blue the low one, red means
            nothing), or uint16 [..., 1].

    Returns:
        uint16 [...], as stored; mm in NYU's coding, 0 where there is no reading.
    """
    if values.shape[-1] == 1:
        return values[..., 0]
    return tf.cast(values[..., 1], tf.uint16) * 256 + tf.cast(values[..., 2], tf.uint16)


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
    if path.suffix.lower() == ".npy":
        depth = _read_npy(path)
    else:
        depth = _read_png(path)
    with np.errstate(over="ignore", invalid="ignore"):
        depth_mm = np.multiply(depth, scale, dtype=np.float64).astype(np.float32)
    return np.where(np.isfinite(depth_mm), depth_mm, np.float32(0.0))


def _read_npy(path):
    try:
        with open(path, "rb") as file:
            # Later versions are for headers of more than 64 KB, which no depth image has.
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("expected version 1.0 of the format")
        # Mapped, not read: a file that claims more than it holds is refused before it costs memory.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            depth = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy raises errors of many kinds on damaged headers.
        # NumPy quotes the header, whatever it holds.
        reason = str(error)[:200]
        raise ValueError(f"Expected a NumPy array in {path}, found none: {reason}") from error
    if depth.ndim != 2 or depth.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected a number array [H, W] in {path}, found {depth.dtype} {list(depth.shape)}."
        )
    if depth.size > _MOST_PIXELS:
        raise ValueError(
            f"Expected at most {_MOST_PIXELS} pixels in {path}, found {list(depth.shape)}."
        )
    return depth


def _read_png(path):
    data = path.read_bytes()
    try:
        layout = PngLayout.of(data)
        return depth_from_png(decode_png(data, layout)).numpy()
    except UnsupportedImage as error:
        raise UnsupportedImage(f"{error} in {path}.") from error
    except ValueError as error:
        raise ValueError(f"{error} in {path}.") from error
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"Expected a whole PNG in {path}, found a damaged one.") from error


def find_images(path):
    """Lists depth images.

    Args:
        path: A file, or a folder with PNG or `.npy` files. Where some are named depth_*, as in the
            NYU data set, the others are taken for pictures of other kinds.

    Returns:
        Sorted list of `pathlib.Path`.

    Raises:
        FileNotFoundError: If there is no such file, or no image in the folder.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"Expected a depth image or a folder at {path}, found none.")
    # Hidden ones are files that are being written.
    images = sorted(p for p in path.glob("[!.]*") if p.suffix.lower() in _SUFFIXES)
    if not images:
        raise FileNotFoundError(f"Expected depth images (.png, .npy) in {path}, found none.")
    return [p for p in images if p.name.startswith("depth_")] or images
