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
    "find_next_surface",
    "masked_extreme",
    "masked_mean",
    "masked_sum",
    "squared_distance",
]

# The image is reduced as far as its longer side keeps this many pixels.
_COARSE_SIDE = 52
# Readings beyond are never the hand, mm.
_MAX_RANGE_MM = 2000.0
# Neighboring coarse pixels (12 mm apart at arm's length) with a larger jump are two surfaces, mm.
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
# Takes values out of question.
_LOWEST = 1e9


class NearestSurface(NamedTuple):
    """Coarse pixels of B images, M = h * w each, row by row.

    Attributes:
        depth_mm: float32 `[B, h, w]`, 0: no reading.
        intrinsics: float32 `[B, 4]`, of the reduced images.
        u, v: float32 `[B, 1, w]` and `[B, h, 1]`, x / z and y / z of the rays through the pixels.
        whole: bool `[B, M]`, the surface connected to the nearest spot.
        pixels: int64 `[K]`, those of the M that belong to the cluster in any image, and a few more:
            work on the cluster alone is several times faster.
        points_mm: float32 `[B, 3, K]`, camera frame; in this order work on them is fastest.
        area_mm2: float32 `[B, K]`, what each pixel covers at its depth.
        cluster: bool `[B, K]`, the surface without a body behind.
    """

    depth_mm: tf.Tensor
    intrinsics: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor
    whole: tf.Tensor
    pixels: tf.Tensor
    points_mm: tf.Tensor
    area_mm2: tf.Tensor
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
    return _find(*_reduce(depth_mm, intrinsics))


def find_next_surface(surface) -> NearestSurface:
    """Finds the nearest surface of what a `NearestSurface` leaves; `whole` is both of them then.

    What is left of a wall is thus still known as a part of one.
    """
    is_left = (surface.depth_mm > 0.0) & ~tf.reshape(surface.whole, tf.shape(surface.depth_mm))
    found = _find(tf.where(is_left, surface.depth_mm, _MAX_RANGE_MM), surface.intrinsics)
    return found._replace(whole=found.whole | surface.whole)


def _find(distance, intrinsics):
    """Finds the nearest surface of what `_reduce` returns."""
    coarse = distance * tf.cast(distance < _MAX_RANGE_MM, tf.float32)
    batch, height, width = tf.unstack(tf.shape(coarse))
    focal, principal = tf.split(tf.expand_dims(intrinsics, 1), 2, axis=2)
    (focal_u, focal_v), (cu, cv) = (tf.unstack(pair, axis=2) for pair in (focal, principal))
    u = tf.expand_dims((tf.range(width, dtype=tf.float32) - cu) / focal_u, 1)
    v = tf.expand_dims((tf.range(height, dtype=tf.float32) - cv) / focal_v, 2)
    points = tf.reshape(tf.stack([coarse * u, coarse * v, coarse], axis=1), [batch, 3, -1])
    z = points[:, 2]
    # The pixel at distance z covers z^2 / (fx fy).
    area = z * z / (focal_u * focal_v)
    spot, seed = _nearest_spot(distance, points)
    squared = squared_distance(points, seed)
    reachable = (z > 0.0) & (z < seed[:, 2:] + _CLUSTER_DEPTH_MM)
    reachable &= squared < _CLUSTER_REACH_MM**2
    flood = _Flood(coarse, reachable)
    whole = flood.spread(spot)
    size = masked_sum(area, whole)
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
    is_body = masked_sum(area, whole) > _BODY_MM2
    cluster = whole & ((squared < _BODY_REACH_MM**2) | ~is_body)
    pixels = tf.reshape(tf.where(tf.reduce_any(cluster, axis=0)), [-1])
    # Never fewer than `masked_extreme` needs, and nothing of the cluster twice.
    cluster = tf.pad(tf.gather(cluster, pixels, axis=1), [[0, 0], [0, _NOISE_PIXELS + 1]])
    pixels = tf.pad(pixels, [[0, _NOISE_PIXELS + 1]])
    points, area = tf.gather(points, pixels, axis=2), tf.gather(area, pixels, axis=1)
    return NearestSurface(coarse, intrinsics, u, v, whole, pixels, points, area, cluster)


def masked_extreme(values, mask) -> tf.Tensor:
    """Returns the largest of the masked values but for a few, which may be noise.

    Args:
        values: float32 `[B, M]`, M more than 4, of a size below 1e6.
        mask: bool `[B, M]`.

    Returns:
        float32 `[B, 1]`; below -1e8 where the mask has only few elements.
    """
    # Sums, here and below: a selection takes several times longer.
    values += (tf.cast(mask, tf.float32) - 1.0) * _LOWEST
    return tf.math.top_k(values, _NOISE_PIXELS + 1).values[:, -1:]


def masked_mean(points, mask):
    """Averages masked points.

    Args:
        points: float32 `[B, N, M]`, M points.
        mask: bool `[B, M]`.

    Returns:
        (mean float32 `[B, N]`, zero where the mask is empty; size of the mask, float32 `[B, 1]`).
    """
    weight = tf.cast(tf.expand_dims(mask, 1), tf.float32)
    size = tf.reduce_sum(weight, axis=2)
    # A sum of products: starting a product of matrices takes longer than this.
    mean = tf.reduce_sum(points * weight, axis=2) / tf.maximum(size, 1.0)
    return mean, size


def masked_sum(values, mask) -> tf.Tensor:
    """Adds up masked values `[B, M]`, all finite: `[B, 1]`."""
    return tf.reduce_sum(values * tf.cast(mask, tf.float32), axis=1, keepdims=True)


def squared_distance(points, center) -> tf.Tensor:
    """Returns squared distances of points `[B, N, M]` from points `[B, N]`: `[B, M]`."""
    return tf.reduce_sum(tf.math.squared_difference(points, tf.expand_dims(center, 2)), axis=1)


def _reduce(depth_mm, intrinsics):
    """Reduces images: the nearest reading in two rows of each square.

    Returns:
        (depth_mm `[B, h, w]`, `_MAX_RANGE_MM` where no reading is nearer; intrinsics `[B, 4]` of
        the smaller images).
    """
    height, width = (
        static or size
        for static, size in zip(depth_mm.shape[1:], tf.unstack(tf.shape(depth_mm))[1:])
    )
    side = tf.maximum(tf.maximum(height, width) // _COARSE_SIDE, 1)
    side = tf.minimum(side, tf.minimum(height, width))
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
    if depth_mm.dtype == tf.uint16:
        # In int32 the minimum of each square takes a third of the time.
        nearest = tf.cast(nearest, tf.int32)
    nearest = tf.reduce_min(tf.reshape(nearest, [-1, rows, columns, side]), axis=-1)
    nearest = tf.cast(nearest, tf.float32)
    if depth_mm.dtype == tf.uint16:
        nearest += 1.0
    nearest = tf.minimum(nearest, _MAX_RANGE_MM)
    # Coarse pixel i covers [i s, (i + 1) s) and stands for its middle, i s + (s - 1) / 2.
    side = tf.cast(side, tf.float32)
    middle = tf.stack([0.0, 0.0, 0.5 * (side - 1.0), 0.5 * (side - 1.0)])
    return nearest, (intrinsics - middle) / side


def _readings(depth_mm):
    """Returns the readings, with something out of range where there is none."""
    if depth_mm.dtype == tf.uint16:
        # 0 becomes 65535. (Comparing so many takes several times longer.)
        return depth_mm - tf.constant(1, tf.uint16)
    # Comparisons are False for NaN.
    return tf.where(depth_mm > 0.0, depth_mm, _MAX_RANGE_MM)


def _nearest_spot(distance, points):
    """Finds the nearest pixel whose 3 x 3 neighbors all have readings.

    A single noisy reading is none.

    Returns:
        (the pixel marked, bool `[B, h * w]`, nothing where there is no such place; the point there,
        or any, `[B, 3]`).
    """
    # The farthest of the neighborhood; out of the picture does not count. (A pooling layer takes
    # five times as long for one channel.)
    padded = tf.pad(distance, [[0, 0], [1, 1], [1, 1]])
    solid = tf.maximum(tf.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    solid = tf.maximum(tf.maximum(solid[:, :, :-2], solid[:, :, 1:-1]), solid[:, :, 2:])
    solid = tf.reshape(solid, [tf.shape(points)[0], -1])
    index = tf.argmin(solid, axis=1, output_type=tf.int32)
    nearest = tf.one_hot(index, tf.shape(points)[2], True, False, dtype=tf.bool)
    seed = tf.gather(points, index, axis=2, batch_dims=1)
    return nearest & (solid < _MAX_RANGE_MM), seed


class _Flood:
    """Spreads marks over a surface, along whole runs of rows and columns at a time."""

    def __init__(self, coarse, reachable):
        self._shape = tf.shape(reachable)
        self._reachable = reachable
        # Infinite where not reachable, so that no run goes there.
        depth = coarse / tf.cast(tf.reshape(reachable, tf.shape(coarse)), tf.float32)
        self._runs = [tf.reshape(_runs(depth, axis), [-1]) for axis in (2, 1)]
        self._count = tf.size(reachable)
        # Few pixels are: the spreading looks at those alone.
        self._pixels = tf.reshape(tf.where(tf.reshape(reachable, [-1])), [-1])
        self._runs_of_pixels = [tf.gather(run, self._pixels) for run in self._runs]

    def spread(self, marked):
        """Returns all pixels connected to marked ones, bool `[B, M]` from the same."""
        marked = tf.gather(tf.cast(tf.reshape(marked, [-1]), tf.int32), self._pixels)
        for _ in range(_SWEEPS):
            for run in self._runs_of_pixels:
                # Every run that has a mark is marked.
                marked_runs = tf.math.unsorted_segment_max(marked, run, self._count)
                marked = tf.gather(marked_runs, run)
        # The same once more, of all pixels.
        marked = tf.gather(marked_runs, self._runs[-1])
        return tf.reshape(marked > 0, self._shape) & self._reachable


def _runs(depth, axis):
    """Numbers the runs along an axis without a jump: int32 `[B, h, w]`, fewer than B h w."""
    batch, height, width = tf.unstack(tf.shape(depth))
    if axis == 1:
        before, after = depth[:, :-1], depth[:, 1:]
        lines, length, shape = batch * width, height, [batch, 1, width]
    else:
        before, after = depth[:, :, :-1], depth[:, :, 1:]
        lines, length, shape = batch * height, width, [batch, height, 1]
    # Not so of infinite ones, whose difference is infinite or not a number.
    joined = tf.abs(after - before) <= _JUMP_MM
    # A line of n pixels has at most n runs, whose numbers start from n times that of the line.
    first = tf.reshape(tf.range(lines) * length, shape)
    return tf.cumsum(tf.concat([first, 1 - tf.cast(joined, tf.int32)], axis), axis)
