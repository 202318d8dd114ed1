"""The nearest connected surface of depth images, on the image reduced to some sixty pixels a side.

The nearest solid spot seeds a flood over neighboring readings without a jump in depth, so that a
body behind the hand stays out. All of it runs in the graph, with few operations: at this size the
time goes to starting them.
"""

from typing import NamedTuple

import tensorflow as tf

__all__ = [
    "NearestSurface",
    "find_nearest_surface",
    "masked_mean",
    "masked_quantiles",
    "rays_through",
    "squared_distance",
]

# The image is reduced until its longer side has no more pixels than this.
_COARSE_SIDE = 64
# Readings beyond are never the hand, mm.
_MAX_RANGE_MM = 2000.0
# Neighboring coarse pixels (13 mm apart at arm's length) with a larger jump are two surfaces, mm.
_JUMP_MM = 40.0
# How far behind the nearest surface the cluster may lie, and how far from the seed, mm.
_CLUSTER_DEPTH_MM, _CLUSTER_REACH_MM = 380.0, 420.0
# A flood along rows and columns that turns around more corners than this is stopped.
_SWEEPS = 4
# A smaller surface is a finger before the palm and takes in what is near it, mm^2, mm.
_FINGER_MM2, _FINGER_REACH_MM = 3000.0, 100.0
# A larger one is the person's body with the arm: only what is near the seed is kept then, mm^2.
_BODY_MM2, _BODY_REACH_MM = 75000.0, 200.0
_QUANTILE_BINS = 512


class NearestSurface(NamedTuple):
    """Coarse pixels of B images, M = h * w each, row by row.

    Attributes:
      depth_mm: float32 `[B, h, w]`, 0: no reading.
      intrinsics: float32 `[B, 4]`, of the coarse images, px.
      points_mm: float32 `[B, 3, M]`, camera frame; in this order work on them is fastest.
      area_mm2: float32 `[B, M]`, what each pixel covers at its depth.
      whole: bool `[B, M]`, the surface connected to the nearest spot.
      cluster: bool `[B, M]`, the same without a body behind.
    """

    depth_mm: tf.Tensor
    intrinsics: tf.Tensor
    points_mm: tf.Tensor
    area_mm2: tf.Tensor
    whole: tf.Tensor
    cluster: tf.Tensor


def find_nearest_surface(depth_mm, intrinsics) -> NearestSurface:
    """Finds the nearest connected surface.

    Args:
      depth_mm: float32 or uint16 `[B, H, W]`, mm along the camera axis; 0, negative or non-finite
        values are no reading.
      intrinsics: float32 `[B, 4]`, (fx, fy, cx, cy) in px.

    Returns:
      `NearestSurface`, empty masks where an image has none.
    """
    coarse, intrinsics = _reduce(depth_mm, intrinsics)
    batch = tf.shape(coarse)[0]
    z = tf.reshape(coarse, [batch, 1, -1])
    points = z * rays_through(coarse, intrinsics)
    z = z[:, 0]
    # The pixel at distance z covers z^2 / (fx fy).
    area = z * z / tf.reduce_prod(intrinsics[:, :2], axis=1, keepdims=True)
    index, nearest = _nearest_spot(coarse)
    seed = tf.gather(points, index, axis=2, batch_dims=1)
    distance = tf.sqrt(squared_distance(points, seed))
    reachable = (z > 0.0) & (z < nearest[:, tf.newaxis] + _CLUSTER_DEPTH_MM)
    reachable &= distance < _CLUSTER_REACH_MM
    flood = _Flood(coarse, reachable)
    whole = flood.spread(tf.one_hot(index, tf.shape(z)[1], True, False, dtype=tf.bool))
    size = _sum(area, whole)
    is_finger = ((size > 0.0) & (size < _FINGER_MM2))[:, tf.newaxis]
    around = whole | (reachable & (distance < _FINGER_REACH_MM))
    whole = tf.cond(
        tf.reduce_any(is_finger),
        lambda: tf.where(is_finger, flood.spread(around), whole),
        lambda: whole,
    )
    is_body = _sum(area, whole) > _BODY_MM2
    cluster = whole & ((distance < _BODY_REACH_MM) | ~is_body[:, tf.newaxis])
    return NearestSurface(coarse, intrinsics, points, area, whole, cluster)


def masked_quantiles(values, mask, shares) -> list[tf.Tensor]:
    """Values below which shares of the masked values lie, to 1/512 of their range.

    Args:
      values: float32 `[B, M]`.
      mask: bool `[B, M]`.
      shares: floats in (0, 1).

    Returns:
      float32 `[B]` for each share; of no meaning where the mask is empty.
    """
    low = tf.reduce_min(tf.where(mask, values, values.dtype.max), axis=1, keepdims=True)
    high = tf.reduce_max(tf.where(mask, values, values.dtype.min), axis=1, keepdims=True)
    step = tf.maximum(high - low, 1e-6) / _QUANTILE_BINS
    batch = tf.shape(values)[0]
    bins = tf.cast(tf.clip_by_value((values - low) / step, 0.0, _QUANTILE_BINS - 1.0), tf.int32)
    bins += tf.range(batch)[:, tf.newaxis] * _QUANTILE_BINS
    counts = tf.math.unsorted_segment_sum(
        tf.reshape(tf.cast(mask, tf.float32), [-1]), tf.reshape(bins, [-1]), batch * _QUANTILE_BINS
    )
    below = tf.cumsum(tf.reshape(counts, [batch, _QUANTILE_BINS]), axis=1)
    quantiles = []
    for share in shares:
        full = tf.reduce_sum(tf.cast(below < share * below[:, -1:], tf.float32), axis=1)
        quantiles.append(low[:, 0] + (full + 1.0) * step[:, 0])
    return quantiles


def rays_through(image, intrinsics) -> tf.Tensor:
    """Rays through the pixels of images `[B, h, w]`: float32 `[B, 3, h * w]`, z = 1."""
    batch, height, width = tf.unstack(tf.shape(image))
    focal, principal = intrinsics[:, :2], intrinsics[:, 2:]
    u = (tf.range(width, dtype=tf.float32) - principal[:, :1]) / focal[:, :1]
    v = (tf.range(height, dtype=tf.float32) - principal[:, 1:]) / focal[:, 1:]
    size = [batch, height, width]
    u, v = tf.broadcast_to(u[:, tf.newaxis], size), tf.broadcast_to(v[..., tf.newaxis], size)
    return tf.reshape(tf.stack([u, v, tf.ones(size)], axis=1), [batch, 3, -1])


def masked_mean(points, mask):
    """Mean of masked points.

    Args:
      points: float32 `[B, 3, M]`.
      mask: bool `[B, M]`.

    Returns:
      (mean float32 `[B, 3]`, zero where the mask is empty; size of the mask, float32 `[B]`).
    """
    weight = tf.cast(mask, tf.float32)
    size = tf.reduce_sum(weight, axis=1)
    mean = tf.linalg.matvec(points, weight) / tf.maximum(size, 1.0)[:, tf.newaxis]
    return mean, size


def squared_distance(points, center) -> tf.Tensor:
    """Squared distances of points `[B, N, M]` from points `[B, N]`: `[B, M]`."""
    pairs = zip(tf.unstack(points, axis=1), tf.unstack(center[..., tf.newaxis], axis=1))
    return tf.add_n([tf.math.squared_difference(a, b) for a, b in pairs])


def _sum(values, mask):
    return tf.reduce_sum(tf.where(mask, values, 0.0), axis=1)


def _reduce(depth_mm, intrinsics):
    """Reduces images: the nearest reading in two rows of each square; 0 where they have none.

    Returns:
      (depth_mm `[B, h, w]`, intrinsics `[B, 4]` of the smaller images).
    """
    height, width = (
        known or size for known, size in zip(depth_mm.shape[1:], tf.unstack(tf.shape(depth_mm))[1:])
    )
    side = tf.minimum(-(-tf.maximum(height, width) // _COARSE_SIDE), tf.minimum(height, width))
    # Squares that the border cuts are left out. As [B, h, side * width], a row of squares is a row,
    # and its rows are slices: slices of every n-th row, or column, are many times slower.
    rows, columns = height // side, width // side
    bands = tf.reshape(depth_mm[:, : rows * side], [-1, rows, side * width])
    nearness = tf.maximum(
        *(
            _nearness(bands[:, :, row * width : row * width + columns * side])
            for row in (side // 4, 3 * side // 4)
        )
    )
    nearness = tf.reduce_max(tf.reshape(nearness, [-1, rows, columns, side]), axis=-1)
    coarse = tf.where(nearness > -_MAX_RANGE_MM, -nearness, 0.0)
    # Coarse pixel i covers [i s, (i + 1) s) and stands for its middle, i s + (s - 1) / 2.
    side = tf.cast(side, tf.float32)
    middle = tf.stack([0.0, 0.0, 0.5 * (side - 1.0), 0.5 * (side - 1.0)])
    return coarse, (intrinsics - middle) / side


def _nearness(depth_mm):
    """Returns minus the readings, as float32, and minus the range where there is none."""
    depth_mm = tf.cast(depth_mm, tf.float32)
    # Comparisons are False for NaN.
    valid = (depth_mm > 0.0) & (depth_mm < _MAX_RANGE_MM)
    return tf.where(valid, -depth_mm, -_MAX_RANGE_MM)


def _nearest_spot(coarse):
    """Returns the nearest pixel whose 3 x 3 neighbors all have readings: index, depth, `[B]`.

    A single noisy reading is none. Without any such place the depth is 0.
    """
    distance = tf.where(coarse > 0.0, coarse, _MAX_RANGE_MM)
    # The farthest of the neighborhood; out of the picture does not count.
    solid = tf.nn.max_pool2d(distance[..., tf.newaxis], 3, 1, "SAME")
    batch = tf.shape(coarse)[0]
    solid = tf.reshape(solid, [batch, -1])
    index = tf.argmin(solid, axis=1, output_type=tf.int32)
    depth = tf.gather(tf.reshape(coarse, [batch, -1]), index, batch_dims=1)
    return index, tf.where(tf.reduce_min(solid, axis=1) < _MAX_RANGE_MM, depth, 0.0)


class _Flood:
    """Spreads marks over a surface, along whole runs of rows and columns at a time."""

    def __init__(self, coarse, reachable):
        self._shape = tf.shape(reachable)
        self._reachable = reachable
        image = tf.reshape(reachable, tf.shape(coarse))
        self._rows = _runs(coarse, image)
        columns = _runs(_transpose(coarse), _transpose(image))
        self._columns = _transpose(columns)
        self._count = tf.size(reachable)

    def spread(self, marked):
        """Returns all pixels connected to marked ones, bool `[B, M]` from the same."""
        runs = [tf.reshape(self._rows, [-1]), tf.reshape(self._columns, [-1])]
        marked = tf.reshape(tf.cast(marked & self._reachable, tf.int32), [-1])
        for _ in range(_SWEEPS):
            for run in runs:
                # Every run that has a mark is marked.
                marked = tf.gather(tf.math.unsorted_segment_max(marked, run, self._count), run)
        return tf.reshape(marked > 0, self._shape) & self._reachable


def _transpose(x):
    return tf.transpose(x, [0, 2, 1])


def _runs(depth, reachable):
    """Numbers the runs of each row without a jump: int32 `[B, h, w]`, fewer than B h w."""
    jump = tf.abs(depth[:, :, 1:] - depth[:, :, :-1]) > _JUMP_MM
    apart = jump | ~reachable[:, :, 1:] | ~reachable[:, :, :-1]
    # Every row starts a run of its own.
    starts = tf.pad(apart, [[0, 0], [0, 0], [1, 0]], constant_values=True)
    runs = tf.cumsum(tf.reshape(tf.cast(starts, tf.int32), [-1])) - 1
    return tf.reshape(runs, tf.shape(depth))
