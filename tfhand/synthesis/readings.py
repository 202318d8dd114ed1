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
    "HOLES",
    "add_faults",
    "all_lost",
    "draw",
    "edge_reach_mm",
    "effective_count",
    "flying_readings",
    "least_cosine",
    "nearest_of",
    "tail_rate",
    "windows_across",
]

# Patches that are lost, a side of the crop: large and small ones.
HOLES = (10, 24)
# From the hand to what is behind it, for readings that mix both, mm.
_BACKGROUND_MM = 500.0
# Depth steps between neighboring pixels that are more than this many pixels are jumps.
_JUMP_PIXELS = 4.0
# Length of an edge in one of its pixels, of all directions on average, in pixels: a pixel along the
# axis that it follows, 8 log(tan(3 pi / 8)) / (2 pi) in all.
_EDGE_LENGTH = 1.12
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
    holes = tuple(rng.normal([batch, cells, cells]) for cells in HOLES)
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


def all_lost(share, count):
    """Returns the probability that all of a pixel's readings are lost.

    Args:
        share: float32, of single readings, or windows of them.
        count: float32, windows along either axis, the mean of two whole numbers.
    """
    few = tf.floor(count)
    more = count - few
    # A logarithm and exponentials take a fraction of the time of powers.
    log_share = tf.math.log(tf.maximum(share, 1e-30))
    return (
        (1.0 - more) ** 2 * tf.exp(few**2 * log_share)
        + 2.0 * more * (1.0 - more) * tf.exp(few * (few + 1.0) * log_share)
        + more**2 * tf.exp((few + 1.0) ** 2 * log_share)
    )


def least_cosine(sensor_values):
    """Returns the cosine, [B], of the angle to the ray at which a surface gives no readings.

    At four times the slope at which half are lost: neighbors at a sensor's pitch see the last part
    of a silhouette flatter than it is, and where a neighbor is another surface there is no slope.
    """
    return tf.math.rsqrt(1.0 + (4.0 * sensor_values["steep"]) ** 2)


def windows_across(pitch_mm, window_px, spec):
    """Returns how many windows of a correlation a pixel's readings meet along an axis, on average.

    Readings of a pixel span its edge less a pitch, and one window more than fit in there is met.
    """
    span = tf.maximum(spec.pixel_mm / pitch_mm - 1.0, 0.0)
    return 1.0 + span / tf.maximum(window_px, 1.0)


def edge_reach_mm(pitch_mm, is_rim, sensor_values, spec):
    """Returns by how much readings widen a silhouette, mm: where half of the pixels are covered.

    Without jitter pixels take in all but half a pitch on each side. With jitter of deviation s px,
    the farthest of the readings of a pixel counts, r of them in effect: s Phi^-1(2^(-1 / r)). How
    many compete depends on the edge's direction; that of 22.5 degrees stands for all. Readings that
    mix two surfaces are no part of the silhouette, see `flying_readings`.

    Args:
        pitch_mm: float32 [B, M], distance between readings.
        is_rim: bool [B, M], whether the surface is near its silhouette.
        sensor_values: Dict of the attributes of `devices.DepthSensor`, float32 [B].
        spec: `crop.CropSpec`.

    Returns:
        float32 [B, M], along the axes of the crop; negative where it narrows.
    """
    jitter = tf.maximum(sensor_values["jitter_px"], _TINY)
    window = tf.maximum(sensor_values["window_px"], 1.0)
    count = windows_across(tf.reduce_mean(pitch_mm, axis=1), window, spec)
    step = tail_rate(count) * window / jitter
    along, across = math.cos(math.pi / 8), math.sin(math.pi / 8)
    competing = effective_count(count, along * step) * effective_count(count, across * step)
    # A square that reaches so far along the axes reaches `along + across` times as far there.
    farthest = jitter * tf.math.ndtri(2.0 ** (-1.0 / competing))
    mixed = tf.where(is_rim, 0.5 * sensor_values["flying"][:, None], 0.0)
    return ((farthest[:, None] - mixed) / (along + across) - 0.5) * pitch_mm


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
    # One number a sample, at the crop's center: it varies little over a hand.
    pitch_at_center = cameras.center_mm[:, 2, None, None] / values["focal_px"]
    count = windows_across(pitch_at_center, window, spec)
    slopes = [_slope(depth_mm, mask, axis, spec) for axis in (1, 2)]
    steepness = tf.sqrt(slopes[0] ** 2 + slopes[1] ** 2)
    lost = 0.5 * tf.minimum(steepness / values["steep"], 2.0) ** 3
    lost = 1.0 - (1.0 - tf.minimum(values["dropout"], 1.0)) * (1.0 - tf.minimum(lost, 1.0))
    # About half of a pixel at the edge is covered.
    readings = count**2 * tf.where(_is_edge(mask), 0.5, 1.0)

    sigma_mm = _depth_noise_mm(z_mm, values)
    step = tail_rate(count**2) * pitch_mm * window / tf.maximum(sigma_mm, _TINY)
    competing = (1.0 - lost) * readings
    for slope in slopes:
        competing *= effective_count(count, step * slope) / count
    noisy = z_mm + sigma_mm * nearest_of(tf.maximum(competing, 1.0), draws.noise)
    noisy = _round_disparity(noisy, values)
    relative = noisy - cameras.center_mm[:, 2, None, None]

    has_reading = mask & (draws.loss >= all_lost(lost, count))
    has_reading &= ~_shadow(z_mm, pitch_mm, mask, cameras, spec)
    for coarse in draws.holes:
        has_reading &= ~_hole(coarse, 0.5 * values["hole_share"], pitch_mm, spec)
    inside = (relative >= -spec.far_mm) & crop.foreground_mask(relative, spec.cube_mm)
    return tf.where(has_reading & inside, relative, spec.far_mm)


def flying_readings(depth_mm, cameras, draws, spec):
    """Draws readings between the silhouette and the background, at most two a pixel of its edge.

    A reading whose square covers both has the mean of both depths. Those before the far face of the
    cube lie in a band inside of the edge, anywhere along the ray through it.

    Args:
        depth_mm: float32 [B, S, S], crop depth, clean.
        cameras: `devices.Cameras`.
        draws: `Draws`.
        spec: `crop.CropSpec`.

    Returns:
        (depth_mm float32 [2, B, S, S], crop depth; pixel int32 [2, B, S, S], where in the crops of
        the whole batch each is seen, -1: none).
    """
    size = spec.image_size
    is_edge = _is_edge(crop.foreground_mask(depth_mm, spec.cube_mm))
    z_mm = tf.maximum(depth_mm + cameras.center_mm[:, 2, None, None], 1.0)
    pitch_mm = z_mm / cameras.sensor["focal_px"][:, None, None]
    before_mm = spec.far_mm - depth_mm
    band = cameras.sensor["flying"][:, None, None]
    band *= before_mm / (before_mm + _BACKGROUND_MM - spec.far_mm)
    count = band * _EDGE_LENGTH * spec.pixel_mm / pitch_mm
    centers = crop.pixel_centers_mm(spec)
    sample = tf.range(tf.shape(depth_mm)[0])[:, None, None]
    depths, pixels = [], []
    # Other ends of the draws are those that lose readings and move them.
    for number, uniform in enumerate((draws.loss, draws.noise)):
        share = tf.clip_by_value(count - number, _TINY, 1.0)
        part = (uniform - (1.0 - share)) / share
        # Farther along the ray, a reading lies farther from the axis.
        u, v = (
            (x + (x + cameras.center_mm[:, i, None, None]) * part * before_mm / z_mm + spec.far_mm)
            for i, x in enumerate((centers, centers[:, None]))
        )
        u, v = (tf.cast(tf.floor(x / spec.pixel_mm), tf.int32) for x in (u, v))
        is_seen = is_edge & (part > 0.0) & (u >= 0) & (u < size) & (v >= 0) & (v < size)
        depths.append(depth_mm + part * before_mm)
        pixels.append(tf.where(is_seen, (sample * size + v) * size + u, -1))
    return tf.stack(depths), tf.stack(pixels)


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
    """Returns depth per side step, the mean of both neighbors without a jump."""

    def total(values):
        return values + tf.roll(values, -1, axis)

    rise = tf.abs(depth_mm - tf.roll(depth_mm, 1, axis))
    is_slope = mask & tf.roll(mask, 1, axis) & (rise < _JUMP_PIXELS * spec.pixel_mm)
    rise = total(tf.where(is_slope, rise / spec.pixel_mm, 0.0))
    return rise / tf.maximum(total(tf.cast(is_slope, tf.float32)), 1.0)


def _is_edge(mask):
    """Tells foreground pixels with background among their four neighbors."""
    neighbors = [tf.roll(mask, by, axis) for by in (1, -1) for axis in (1, 2)]
    return mask & ~functools.reduce(tf.logical_and, neighbors)


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
