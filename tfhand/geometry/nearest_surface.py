"""The nearest connected surface of depth images, on the image reduced to some fifty pixels a side.

The nearest solid spot seeds a flood over neighboring readings without a jump in depth, so that a
body behind the hand stays out. All of it runs in the graph, with few operations: at this size the
time goes to starting them.
"""

from typing import NamedTuple

import tensorflow as tf

__all__ = [
    "NearestSurface",
    "find_nearest_surface",
    "masked_extreme",
    "masked_mean",
    "squared_distance",
]

# The image is reduced until its longer side has no more pixels than this.
_COARSE_SIDE = 48
# Readings beyond are never the hand, mm.
_MAX_RANGE_MM = 2000.0
# Neighboring coarse pixels (15 mm apart at arm's length) with a larger jump are two surfaces, mm.
_JUMP_MM = 40.0
# How far behind the nearest surface the cluster may lie, and how far from the seed, mm.
_CLUSTER_DEPTH_MM, _CLUSTER_REACH_MM = 380.0, 420.0
# A flood along rows and columns that turns around more corners than this is stopped.
_SWEEPS = 4
# A smaller surface is a finger before the palm and takes in what is near it, mm^2, mm.
_FINGER_MM2, _FINGER_REACH_MM = 3000.0, 100.0
# A larger one is the person's body with the arm: only what is near the seed is kept then, mm^2.
_BODY_MM2, _BODY_REACH_MM = 75000.0, 200.0
# So many coarse pixels at an end of a surface may be noise.
_NOISE_PIXELS = 4


class NearestSurface(NamedTuple):
    """Coarse pixels of B images, M = h * w each, row by row.

    Attributes:
      depth_mm: float32 `[B, h, w]`, 0: no reading.
      u, v: float32 `[B, 1, w]` and `[B, h, 1]`, x / z and y / z of the rays through the pixels.
      points_mm: float32 `[B, 3, M]`, camera frame; in this order work on them is fastest.
      area_mm2: float32 `[B, M]`, what each pixel covers at its depth.
      whole: bool `[B, M]`, the surface connected to the nearest spot.
      cluster: bool `[B, M]`, the same without a body behind.
    """

    depth_mm: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor
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
    batch, height, width = tf.unstack(tf.shape(coarse))
    focal, principal = tf.split(intrinsics, 2, axis=1)
    u = (tf.range(width, dtype=tf.float32) - principal[:, :1]) / focal[:, :1]
    v = (tf.range(height, dtype=tf.float32) - principal[:, 1:]) / focal[:, 1:]
    u, v = tf.expand_dims(u, 1), tf.expand_dims(v, 2)
    points = tf.reshape(tf.stack([coarse * u, coarse * v, coarse], axis=1), [batch, 3, -1])
    z = tf.reshape(coarse, [batch, -1])
    # The pixel at distance z covers z^2 / (fx fy).
    area = z * z / tf.reduce_prod(focal, axis=1, keepdims=True)
    spot = _nearest_spot(coarse)
    seed, _ = masked_mean(points, spot)
    squared = squared_distance(points, seed)
    reachable = (z > 0.0) & (z < seed[:, 2:] + _CLUSTER_DEPTH_MM)
    reachable &= squared < _CLUSTER_REACH_MM**2
    flood = _Flood(coarse, reachable)
    whole = flood.spread(spot)
    size = _sum(area, whole)
    is_finger = (size > 0.0) & (size < _FINGER_MM2)
    whole = tf.cond(
        tf.reduce_any(is_finger),
        lambda: tf.where(
            is_finger,
            flood.spread(whole | (reachable & (squared < _FINGER_REACH_MM**2))),
            whole,
        ),
        lambda: whole,
    )
    is_body = _sum(area, whole) > _BODY_MM2
    cluster = whole & ((squared < _BODY_REACH_MM**2) | ~is_body)
    return NearestSurface(coarse, u, v, points, area, whole, cluster)


def masked_extreme(values, mask) -> tf.Tensor:
    """The largest of the masked values but for a few, which may be noise.

    Args:
      values: float32 `[B, M]`.
      mask: bool `[B, M]`.

    Returns:
      float32 `[B, 1]`; the lowest float32 where the mask has only few elements.
    """
    count = tf.minimum(_NOISE_PIXELS + 1, tf.shape(values)[1])
    largest = tf.math.top_k(tf.where(mask, values, values.dtype.min), count).values
    return largest[:, -1:]


def masked_mean(points, mask):
    """Mean of masked points.

    Args:
      points: float32 `[B, N, M]`, M points.
      mask: bool `[B, M]`.

    Returns:
      (mean float32 `[B, N]`, zero where the mask is empty; size of the mask, float32 `[B, 1]`).
    """
    weight = tf.cast(mask, tf.float32)
    size = tf.reduce_sum(weight, axis=1, keepdims=True)
    # A sum of products: starting a product of matrices takes longer than this.
    mean = tf.reduce_sum(points * tf.expand_dims(weight, 1), axis=2) / tf.maximum(size, 1.0)
    return mean, size


def squared_distance(points, center) -> tf.Tensor:
    """Squared distances of points `[B, N, M]` from points `[B, N]`: `[B, M]`."""
    return tf.reduce_sum(tf.math.squared_difference(points, tf.expand_dims(center, 2)), axis=1)


def _sum(values, mask):
    """Sum of masked values `[B, M]`, `[B, 1]`."""
    return tf.reduce_sum(tf.where(mask, values, 0.0), axis=1, keepdims=True)


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
    nearest = tf.minimum(
        *(
            _readings(bands[:, :, row * width : row * width + columns * side])
            for row in (side // 4, 3 * side // 4)
        )
    )
    nearest = tf.reshape(tf.cast(nearest, tf.float32), [-1, rows, columns, side])
    nearest = tf.reduce_min(nearest, axis=-1)
    if depth_mm.dtype == tf.uint16:
        nearest += 1.0
    coarse = tf.where(nearest < _MAX_RANGE_MM, nearest, 0.0)
    # Coarse pixel i covers [i s, (i + 1) s) and stands for its middle, i s + (s - 1) / 2.
    side = tf.cast(side, tf.float32)
    middle = tf.stack([0.0, 0.0, 0.5 * (side - 1.0), 0.5 * (side - 1.0)])
    return coarse, (intrinsics - middle) / side


def _readings(depth_mm):
    """Returns the readings, with something out of range where there is none."""
    if depth_mm.dtype == tf.uint16:
        # 0 becomes 65535. (Comparing so many takes several times longer.)
        return depth_mm - tf.constant(1, tf.uint16)
    # Comparisons are False for NaN.
    return tf.where(depth_mm > 0.0, depth_mm, _MAX_RANGE_MM)


def _nearest_spot(coarse):
    """Marks the nearest pixel whose 3 x 3 neighbors all have readings, bool `[B, h * w]`.

    A single noisy reading is none. Without any such place nothing is marked.
    """
    distance = tf.where(coarse > 0.0, coarse, _MAX_RANGE_MM)
    # The farthest of the neighborhood; out of the picture does not count. (A pooling layer takes
    # five times as long for one channel.)
    padded = tf.pad(distance, [[0, 0], [1, 1], [1, 1]])
    solid = tf.maximum(tf.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    solid = tf.maximum(tf.maximum(solid[:, :, :-2], solid[:, :, 1:-1]), solid[:, :, 2:])
    solid = tf.reshape(solid, [tf.shape(coarse)[0], -1])
    nearest = tf.one_hot(tf.argmin(solid, axis=1), tf.shape(solid)[1], True, False, dtype=tf.bool)
    return nearest & (solid < _MAX_RANGE_MM)


class _Flood:
    """Spreads marks over a surface, along whole runs of rows and columns at a time."""

    def __init__(self, coarse, reachable):
        self._shape = tf.shape(reachable)
        self._reachable = reachable
        image = tf.reshape(reachable, tf.shape(coarse))
        self._runs = [tf.reshape(_runs(coarse, image, axis), [-1]) for axis in (2, 1)]
        self._count = tf.size(reachable)

    def spread(self, marked):
        """Returns all pixels connected to marked ones, bool `[B, M]` from the same."""
        marked = tf.reshape(tf.cast(marked & self._reachable, tf.int32), [-1])
        for _ in range(_SWEEPS):
            for run in self._runs:
                # Every run that has a mark is marked.
                marked = tf.gather(tf.math.unsorted_segment_max(marked, run, self._count), run)
        return tf.reshape(marked > 0, self._shape) & self._reachable


def _runs(depth, reachable, axis):
    """Numbers the runs along an axis without a jump: int32 `[B, h, w]`, fewer than B h w."""

    def neighbors(image):
        if axis == 1:
            return image[:, :-1], image[:, 1:]
        return image[:, :, :-1], image[:, :, 1:]

    before, after = neighbors(depth)
    joined = tf.logical_and(*neighbors(reachable)) & (tf.abs(after - before) <= _JUMP_MM)
    # The first pixel of a line starts no run: that is what its offset is for.
    padding = [[0, 0], [1, 0], [0, 0]] if axis == 1 else [[0, 0], [0, 0], [1, 0]]
    starts = tf.pad(1 - tf.cast(joined, tf.int32), padding)
    runs = tf.cumsum(starts, axis)
    # A line of n pixels has at most n runs.
    batch, height, width = tf.unstack(tf.shape(depth))
    length, lines = (height, width) if axis == 1 else (width, height)
    offset = tf.reshape(tf.range(batch * lines) * length, [batch, lines])
    return runs + tf.expand_dims(offset, axis)
