"""Faults of a structured-light depth sensor, one a function.

Faults take and return depth, float32 [B, H, W], in mm along the camera's axis, 0 where there is no
reading, and draw from a `tf.random.Generator`, `rng`. They work at the resolution of the sensor;
what they leave in a crop, for training, is in `readings`. Not in the paper, whose noise is
unspecified ("random noise", section 4.1); sizes follow Khoshelham and Elberink, "Accuracy and
resolution of Kinect depth data" (Sensors, 2012): disparity in steps of 1/8 px, focal length times
baseline about 588 px times 75 mm, random error about half a step.
"""

import numpy as np
import tensorflow as tf

__all__ = [
    "SHADOW_MARGIN_PX",
    "add_background",
    "disparity_noise",
    "edge_jitter",
    "grazing_dropout",
    "is_shadowed",
    "missing_blobs",
    "shadow_holes",
    "share_threshold",
    "smooth_field",
]

_FOCAL_BASELINE_PX_MM = 588.0 * 75.0
# A pixel is dark that lies so far within a shadow.
SHADOW_MARGIN_PX = 0.75


def disparity_noise(depth_mm, rng, step_px=0.125, noise_px=0.06):
    """Adds disparity noise and rounds to the sensor's disparity steps.

    Args:
        depth_mm: float32 [B, H, W], distance from the camera.
        rng: `tf.random.Generator`.
        step_px: Disparity step, px.
        noise_px: Standard deviation before rounding, px, float or [B, 1, 1].

    Returns:
        float32 [B, H, W]; at 800 mm a step is 1.8 mm, growing with the square of the distance.
    """
    has_reading = depth_mm != 0.0
    disparity = _FOCAL_BASELINE_PX_MM / tf.where(has_reading, tf.maximum(depth_mm, 1.0), 1e3)
    disparity += noise_px * rng.normal(tf.shape(depth_mm))
    disparity = tf.maximum(tf.round(disparity / step_px), 1.0) * step_px
    return tf.where(has_reading, _FOCAL_BASELINE_PX_MM / disparity, 0.0)


def edge_jitter(depth_mm, rng, sigma_px=0.7):
    """Reads every pixel a little beside itself: frayed silhouettes.

    Args:
        depth_mm: float32 [B, H, W].
        rng: `tf.random.Generator`.
        sigma_px: Standard deviation of the displacement, px, float or [B, 1, 1].

    Returns:
        float32 [B, H, W].
    """
    shape = tf.shape(depth_mm)
    batch, height, width = shape[0], shape[1], shape[2]

    def displaced(size, grid):
        step = tf.cast(tf.round(sigma_px * rng.normal(shape)), tf.int32)
        return tf.clip_by_value(grid + step, 0, size - 1)

    v = displaced(height, tf.range(height)[None, :, None])
    u = displaced(width, tf.range(width)[None, None, :])
    flat = tf.reshape(depth_mm, [batch, height * width])
    index = tf.reshape(v * width + u, [batch, height * width])
    return tf.reshape(tf.gather(flat, index, batch_dims=1), shape)


def _running_max(x):
    """Returns the maximum of each row up to each pixel, [..., W]."""
    width, shift = x.shape[-1] or tf.shape(x)[-1], 1
    # Reach doubles each time; rows of unknown length may have up to 2,048 px.
    for _ in range(((x.shape[-1] or 2048) - 1).bit_length()):
        padded = tf.pad(x, [[0, 0], [0, 0], [shift, 0]], constant_values=x.dtype.min)
        x = tf.maximum(x, padded[..., :width])
        shift *= 2
    return x


def shadow_holes(depth_mm):
    """Removes readings that the projector, beside the camera, does not light.

    A pixel at column u with disparity s is lit by the projector's column u + s. Reading along a
    row those columns grow, except where a nearer surface to the left covers what lies behind.

    Args:
        depth_mm: float32 [B, H, W], distance from the camera, at the sensor's resolution.

    Returns:
        float32 [B, H, W].
    """
    has_reading = depth_mm != 0.0
    disparity = _FOCAL_BASELINE_PX_MM / tf.where(has_reading, tf.maximum(depth_mm, 1.0), 1e9)
    column = tf.range(tf.shape(depth_mm)[2], dtype=tf.float32) + disparity
    shadowed = is_shadowed(column, has_reading, SHADOW_MARGIN_PX)
    return tf.where(has_reading & ~shadowed, depth_mm, 0.0)


def is_shadowed(column, has_reading, margin):
    """Tells pixels whose projector columns, float32 [B, H, W], do not grow along their rows.

    Args:
        column: float32 [B, H, W], the projector's column that lights each pixel.
        has_reading: bool [B, H, W]; others cast no shadow.
        margin: A pixel is dark that lies so far within a shadow, in the unit of `column`.

    Returns:
        bool [B, H, W].
    """
    lit = tf.where(has_reading, column, column.dtype.min)
    return _running_max(lit) > column + margin


def missing_blobs(depth_mm, rng, share=0.03, cells=10):
    """Removes connected patches, as dark or shiny skin does.

    Args:
        depth_mm: float32 [B, H, W].
        rng: `tf.random.Generator`.
        share: Share of the image that is removed, float or [B, 1, 1].
        cells: Number of independent patches across the image.

    Returns:
        float32 [B, H, W].
    """
    height, width = depth_mm.shape[1:3]
    coarse = rng.normal([tf.shape(depth_mm)[0], cells, cells])
    smooth = smooth_field(coarse, height, width)
    return tf.where(smooth > share_threshold(share), 0.0, depth_mm)


def smooth_field(coarse, height, width):
    """Interpolates normal numbers `[B, n, n]`: `[B, height, width]`, of unit variance."""
    cells = coarse.shape[1]
    rows, columns = _interpolation(height, cells), _interpolation(width, cells)
    # smooth[b,v,u] = rows[v,i] coarse[b,i,j] columns[u,j], of unit variance at every pixel.
    return rows @ coarse @ tf.transpose(columns)


def share_threshold(share):
    """Returns what a standard normal number exceeds with a probability of `share`."""
    return -tf.sqrt(2.0) * tf.math.erfinv(2.0 * tf.cast(share, tf.float32) - 1.0)


def _interpolation(size, cells):
    """Returns weights that interpolate `cells` values at `size` places, rows of unit length."""
    position = (np.arange(size) + 0.5) * cells / size
    weights = np.exp(-0.5 * ((position[:, None] - np.arange(cells) - 0.5) / 0.6) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return tf.constant(weights, tf.float32)


def grazing_dropout(depth_mm, rng, pixel_mm=1.4, steep=4.0):
    """Removes readings on surfaces seen at a grazing angle, more the steeper.

    Args:
        depth_mm: float32 [B, H, W].
        rng: `tf.random.Generator`.
        pixel_mm: Size of a pixel on the surface, mm.
        steep: Slope (depth per side step) at which half of the readings are lost.

    Returns:
        float32 [B, H, W].
    """
    has_reading = depth_mm != 0.0

    def slope(axis):
        step = depth_mm - tf.roll(depth_mm, 1, axis)
        both = has_reading & tf.roll(has_reading, 1, axis)
        # A jump from one surface to another is no slope.
        return tf.where(both & (tf.abs(step) < 12.0 * pixel_mm), step / pixel_mm, 0.0)

    steepness = tf.sqrt(slope(1) ** 2 + slope(2) ** 2)
    lost = rng.uniform(tf.shape(depth_mm)) < 0.5 * tf.minimum(steepness / steep, 2.0) ** 3
    return tf.where(has_reading & ~lost, depth_mm, 0.0)


def add_background(depth_mm, background_mm):
    """Puts a scene behind the hand: the nearer of two depth maps, pixel by pixel.

    Args:
        depth_mm: float32 [B, H, W], 0 where there is no surface.
        background_mm: float32 [B, H, W], likewise.

    Returns:
        float32 [B, H, W].
    """
    far = tf.float32.max
    nearer = tf.minimum(
        tf.where(depth_mm == 0.0, far, depth_mm),
        tf.where(background_mm == 0.0, far, background_mm),
    )
    return tf.where(nearer < far, nearer, 0.0)
