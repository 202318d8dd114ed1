"""A sensor's faults in a crop, in closed form: the nearest of the readings in each pixel.

A crop pixel of edge a holds k = (a / p)^2 readings of a sensor whose readings lie p apart. What
stays of their faults is that of the nearest, so one draw a pixel stands for k:

- The minimum of k draws of a distribution F is F^-1(1 - (1 - u)^(1 / k)), u uniform.
- On a slope readings compete only with those that are about as near. Near its minimum the tail of
  F falls as exp(rate e / sigma), so a reading that lies d deeper counts as exp(-rate d / sigma)
  readings: on a plane, a geometric series along each axis (`effective_count`).
- Readings that share a window of a correlation count as one.
- A pixel is lost if all of its readings are, q^k, and is foreground if any reading is.

Tests compare each with readings that are drawn one by one.
"""

import functools
import math
from typing import NamedTuple

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.synthesis import sensor

__all__ = [
    "Draws",
    "add_faults",
    "draw",
    "edge_reach_mm",
    "effective_count",
    "nearest_of",
    "tail_rate",
]

# Patches that are lost, a side of the crop: large and small ones.
_HOLES = (10, 24)
# From the hand to what is behind it, for readings that mix both, mm.
_BACKGROUND_MM = 500.0
# Depth steps between neighboring pixels that are more than this many pixels are jumps.
_JUMP_PIXELS = 4.0
_TINY = 1e-4


class Draws(NamedTuple):
    """Random numbers of B crops, float32.

    Attributes:
        noise, loss: [B, S, S], uniform.
        holes: Normal, [B, n, n] each.
    """

    noise: tf.Tensor
    loss: tf.Tensor
    holes: tuple


def draw(rng, batch, spec):
    """Returns the `Draws` that `add_faults` takes."""
    shape = [batch, spec.image_size, spec.image_size]
    holes = tuple(rng.normal([batch, cells, cells]) for cells in _HOLES)
    return Draws(rng.uniform(shape), rng.uniform(shape), holes)


def nearest_of(count, uniform):
    """Draws the minimum of `count` standard normal numbers, which need not be whole."""
    share = -tf.math.expm1(tf.math.log1p(-uniform) / count)
    return tf.math.ndtri(tf.clip_by_value(share, 1e-7, 1.0 - 1e-7))


def tail_rate(count):
    """Returns how fast the normal distribution falls near the minimum of `count` draws.

    That is the derivative of log F where F = 1 / (count + 1).
    """
    share = 1.0 / (count + 1.0)
    quantile = tf.math.ndtri(share)
    return tf.exp(-0.5 * quantile**2) / (share * math.sqrt(2.0 * math.pi))


def effective_count(count, step):
    """Returns how many of `count` readings along a slope compete for being the nearest.

    Args:
        count: float32, readings along an axis, at least 1.
        step: float32, depth from one to the next in deviations of the noise times `tail_rate`.

    Returns:
        float32: sum of exp(-i step) over i < count, between 1 and count.
    """
    step = tf.maximum(step, _TINY)
    return tf.math.expm1(-count * step) / tf.math.expm1(-step)


def edge_reach_mm(pitch_mm, sensor_values, spec):
    """Returns by how much readings widen a silhouette, mm: where half of the pixels are covered.

    Without jitter pixels take in all but half a pitch on each side. With jitter of deviation s px,
    the farthest of the readings of a pixel counts, r of them in effect: s Phi^-1(2^(-1 / r)).
    Readings that mix both surfaces leave the cube where the farther one prevails.

    Args:
        pitch_mm: float32 [B, M], distance between readings.
        sensor_values: Dict of the attributes of `devices.DepthSensor`, float32 [B].
        spec: `crop.CropSpec`.

    Returns:
        float32 [B, M], negative where it narrows.
    """
    jitter = tf.maximum(sensor_values["jitter_px"], _TINY)
    window = tf.maximum(sensor_values["window_px"], 1.0)
    pitch_at_center = tf.reduce_mean(pitch_mm, axis=1)
    count = tf.maximum(spec.pixel_mm / (pitch_at_center * window), 1.0)
    rows = effective_count(count, tail_rate(count) * window / jitter)
    farthest = tf.math.ndtri(2.0 ** (-1.0 / (count * rows)))
    reach_px = jitter * farthest - 0.5
    reach_px -= sensor_values["flying"] * (0.5 - spec.far_mm / _BACKGROUND_MM)
    return reach_px[:, None] * pitch_mm


def add_faults(depth_mm, cameras, draws, spec):
    """Adds what a sensor's faults leave in a crop.

    Args:
        depth_mm: float32 [B, S, S], crop depth, the nearest of clean readings.
        cameras: `devices.Cameras`.
        draws: `Draws`.
        spec: `crop.CropSpec`.

    Returns:
        float32 [B, S, S], crop depth.
    """
    values = {name: value[:, None, None] for name, value in cameras.sensor.items()}
    mask = crop.foreground_mask(depth_mm, spec.cube_mm)
    z_mm = tf.maximum(depth_mm + cameras.center_mm[:, 2, None, None], 1.0)
    pitch_mm = z_mm / values["focal_px"]
    window = tf.maximum(values["window_px"], 1.0)
    count = tf.maximum(spec.pixel_mm / (pitch_mm * window), 1.0)
    slopes = [_slope(depth_mm, mask, axis, spec) for axis in (1, 2)]
    steepness = tf.sqrt(slopes[0] ** 2 + slopes[1] ** 2)
    lost = 0.5 * tf.minimum(steepness / values["steep"], 2.0) ** 3
    lost = 1.0 - (1.0 - tf.minimum(values["dropout"], 1.0)) * (1.0 - tf.minimum(lost, 1.0))
    is_edge = mask & ~_all_around(mask)
    readings = count**2 * tf.where(is_edge, 0.5, 1.0)

    sigma_mm = _depth_noise_mm(z_mm, values)
    step = tail_rate(count**2) * pitch_mm * window / tf.maximum(sigma_mm, _TINY)
    competing = (1.0 - lost) * readings
    for slope in slopes:
        competing *= effective_count(count, step * slope) / count
    noisy = z_mm + sigma_mm * nearest_of(tf.maximum(competing, 1.0), draws.noise)
    noisy = _round_disparity(noisy, values)
    relative = noisy - cameras.center_mm[:, 2, None, None]

    mixed = values["flying"] * pitch_mm * (spec.far_mm / _BACKGROUND_MM) / spec.pixel_mm
    mixed = tf.where(is_edge, tf.clip_by_value(mixed, _TINY, 1.0), _TINY)
    between = tf.maximum(draws.loss - (1.0 - mixed), 0.0) / mixed
    relative += between * (spec.far_mm - relative)

    has_reading = mask & (draws.loss >= lost ** tf.maximum(readings, 1.0))
    has_reading &= ~_shadow(z_mm, pitch_mm, mask, cameras, spec)
    for coarse in draws.holes:
        has_reading &= ~_hole(coarse, 0.5 * values["hole_share"], pitch_mm, spec)
    inside = (relative >= -spec.far_mm) & crop.foreground_mask(relative, spec.cube_mm)
    return tf.where(has_reading & inside, relative, spec.far_mm)


def _depth_noise_mm(z_mm, values):
    """Returns the standard deviation of a reading before rounding, mm, [B, S, S]."""
    range_mm = values["range_noise_mm"] * z_mm / 1000.0
    base = values["focal_px"] * values["baseline_mm"]
    disparity_mm = values["disparity_noise_px"] * tf.math.divide_no_nan(z_mm**2, base)
    return tf.sqrt(range_mm**2 + disparity_mm**2)


def _round_disparity(z_mm, values):
    """Rounds depth to steps of disparity, where the sensor has such."""
    base, step = values["focal_px"] * values["baseline_mm"], values["disparity_step_px"]
    safe_step = tf.where(step > 0.0, step, 1.0)
    disparity = tf.maximum(tf.round(base / z_mm / safe_step), 1.0) * safe_step
    return tf.where((step > 0.0) & (base > 0.0), base / disparity, z_mm)


def _slope(depth_mm, mask, axis, spec):
    """Returns depth per side step: of the two neighbors the one without a jump, the flatter."""
    far = _JUMP_PIXELS * spec.pixel_mm
    rise = tf.abs(depth_mm - tf.roll(depth_mm, 1, axis))
    rise = tf.where(mask & tf.roll(mask, 1, axis), rise, far)
    flatter = tf.minimum(rise, tf.roll(rise, -1, axis))
    return tf.where(flatter < far, flatter / spec.pixel_mm, 0.0)


def _all_around(mask):
    """Tells pixels whose four neighbors are all foreground."""
    neighbors = [tf.roll(mask, by, axis) for by in (1, -1) for axis in (1, 2)]
    return functools.reduce(tf.logical_and, neighbors)


def _shadow(z_mm, pitch_mm, mask, cameras, spec):
    """Tells pixels that the projector does not light, or the second camera does not see.

    As `sensor.shadow_holes`, of pixels: a surface that covers a part of its pixel seems wider by a
    pixel less a pitch, and a pixel is lost only if the shadow covers all of it.
    """
    z_center = cameras.center_mm[:, 2, None, None]
    baseline_mm = cameras.sensor["baseline_mm"][:, None, None]
    x_mm = crop.pixel_centers_mm(spec) + cameras.center_mm[:, 0, None, None]
    column = (x_mm + baseline_mm) * z_center / z_mm
    margin_mm = spec.pixel_mm + (sensor.SHADOW_MARGIN_PX - 1.0) * pitch_mm
    return sensor.is_shadowed(column, mask, margin_mm) & (baseline_mm > 0.0)


def _hole(coarse, share, pitch_mm, spec):
    """Tells pixels that lie in a lost patch with all of their readings."""
    smooth = sensor.smooth_field(coarse, spec.image_size, spec.image_size)
    change = sum(tf.abs(smooth - tf.roll(smooth, 1, axis)) for axis in (1, 2))
    margin = 0.5 * tf.maximum(1.0 - pitch_mm / spec.pixel_mm, 0.0) * change
    return smooth - margin > sensor.share_threshold(tf.maximum(share, 1e-6))
