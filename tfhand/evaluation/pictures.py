"""Depth maps as RGB arrays: the building blocks of figures and of TensorBoard images.

Depth maps are crops in mm relative to the crop's center; the far value, half the cube, is
background (`tfhand.geometry.crop`). Pictures are uint8 RGB.
"""

import functools

import matplotlib
import numpy as np

from tfhand.geometry import crop

__all__ = ["BACKGROUND_RGB", "colorize", "overlay", "tile"]

BACKGROUND_RGB = (255, 255, 255)
# Orange where only the input has a surface, blue where only the rendering has one.
_INPUT_ONLY_RGB = (230, 145, 56)
_RENDERED_ONLY_RGB = (61, 120, 216)
# Differences from this size on are drawn in full color, mm.
_FULL_DIFFERENCE_MM = 30.0


def colorize(depth_mm: np.ndarray, cube_mm: float = 300.0) -> np.ndarray:
    """Returns shaded pictures of depth maps: color is depth (yellow near), shade is slope.

    Args:
        depth_mm: float [..., S, S], mm relative to the crop's center.
        cube_mm: Side of the crop's cube, mm.

    Returns:
        uint8 [..., S, S, 3], RGB, background white.
    """
    depth_mm = np.asarray(depth_mm, np.float32)
    foreground = np.asarray(crop.foreground_mask(depth_mm, cube_mm))
    nearness = np.clip(0.5 - depth_mm / cube_mm, 0.0, 1.0)
    rgb = _color_table()[np.rint(255 * nearness).astype(np.int32)]
    shaded = rgb * _shade(depth_mm, foreground, cube_mm)[..., None]
    return np.where(foreground[..., None], shaded, BACKGROUND_RGB).astype(np.uint8)


def overlay(depth_mm: np.ndarray, rendered_mm: np.ndarray, cube_mm: float = 300.0) -> np.ndarray:
    """Returns pictures of how a rendering agrees with the input.

    Gray where both have a surface, the redder the more they differ in depth (full at 30 mm);
    orange where only the input has one, blue where only the rendering has one.

    Args:
        depth_mm: float [..., S, S], input, mm relative to the crop's center.
        rendered_mm: float [..., S, S], rendered spheres, likewise.
        cube_mm: Side of the crop's cube, mm.

    Returns:
        uint8 [..., S, S, 3], RGB, background white.

    Raises:
        ValueError: If the shapes differ.
    """
    depth_mm = np.asarray(depth_mm, np.float32)
    rendered_mm = np.asarray(rendered_mm, np.float32)
    if depth_mm.shape != rendered_mm.shape:
        raise ValueError(
            f"Expected input and rendering of one shape, received {depth_mm.shape} and "
            f"{rendered_mm.shape}."
        )
    in_input = np.asarray(crop.foreground_mask(depth_mm, cube_mm))
    in_rendering = np.asarray(crop.foreground_mask(rendered_mm, cube_mm))
    difference = np.clip(np.abs(depth_mm - rendered_mm) / _FULL_DIFFERENCE_MM, 0.0, 1.0)
    gray = 0.45 + 0.45 * _shade(depth_mm, in_input, cube_mm)
    red = np.stack([gray, gray * (1 - difference), gray * (1 - difference)], axis=-1)
    picture = np.full((*depth_mm.shape, 3), BACKGROUND_RGB, np.float32)
    picture = np.where((in_input & in_rendering)[..., None], 255.0 * red, picture)
    picture = np.where((in_input & ~in_rendering)[..., None], _INPUT_ONLY_RGB, picture)
    picture = np.where((in_rendering & ~in_input)[..., None], _RENDERED_ONLY_RGB, picture)
    return picture.astype(np.uint8)


def tile(pictures: np.ndarray, gap: int = 2) -> np.ndarray:
    """Returns one picture of many side by side on white.

    Args:
        pictures: uint8 [rows, columns, H, W, 3].
        gap: White pixels between neighbors.

    Returns:
        uint8 [rows * (H + gap) - gap, columns * (W + gap) - gap, 3].

    Raises:
        ValueError: If `pictures` has another rank.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim != 5:
        raise ValueError(f"Expected [rows, columns, H, W, 3], received {pictures.shape}.")
    rows, columns, height, width, channels = pictures.shape
    padding = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    padded = np.pad(pictures, padding, constant_values=BACKGROUND_RGB[0])
    sheet = padded.transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def _shade(depth_mm, foreground, cube_mm):
    """Returns a brightness in (0, 1]: the cosine between the surface and the viewing ray."""
    pixel_mm = cube_mm / depth_mm.shape[-1]
    inside = np.where(foreground, depth_mm, np.nan)
    slope_y, slope_x = (np.nan_to_num(g / pixel_mm) for g in np.gradient(inside, axis=(-2, -1)))
    cosine = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return 0.35 + 0.65 * cosine


@functools.cache
def _color_table():
    return 255.0 * matplotlib.colormaps["viridis"](np.arange(256))[:, :3].astype(np.float32)
