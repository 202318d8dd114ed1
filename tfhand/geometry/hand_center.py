"""Finds the center of the hand from the depth alone. Not in the paper, whose code crops at labels.

The hand is taken to be the end of the nearest connected surface. The nearest solid spot seeds a
flood over neighboring readings without a jump in depth, so that a body behind the hand stays out;
the free end of what it reached is told from the end where the arm goes on; and the center is the
mean of what lies within a hand's length of that end. All of it runs in the graph, on the image
reduced to some eighty pixels a side.
"""

import tensorflow as tf

from tfhand.geometry import camera, rigid

__all__ = ["find_hand_center", "fuse_centers"]

# The image is reduced until its longer side has no more pixels than this.
_COARSE_SIDE = 80
# Readings beyond are never the hand, mm.
_MAX_RANGE_MM = 2000.0
# Neighboring coarse pixels (10 mm apart at arm's length) with a larger jump are two surfaces, mm.
_JUMP_MM = 40.0
# How far behind the nearest surface the cluster may lie, and how far from the seed, mm.
_CLUSTER_DEPTH_MM, _CLUSTER_REACH_MM = 380.0, 420.0
# A flood along rows and columns that turns around more corners than this is stopped.
_SWEEPS = 4
# A smaller surface is a finger before the palm and takes in what is near it; a smaller one still
# is no hand, mm^2. (A fist measures some 5,000, a hand seen from the tips 3,000.)
_FINGER_MM2, _NO_HAND_MM2 = 3000.0, 1200.0
_FINGER_REACH_MM = 100.0
# A larger one is the person's body with the arm: only what is near the seed is kept then, mm^2.
_BODY_MM2, _BODY_REACH_MM = 75000.0, 200.0
# Beyond this distance from the middle of a hand there is only arm, mm. A hand has hardly
# anything there: where more than this share of the ring is filled, it is a wall or a table.
_HAND_REACH_MM, _ARM_REACH_MM = 120.0, 200.0
_WALL_SHARE = 0.75
_HAND_LENGTH_MM = 150.0
# The ends of the cluster are what lies within this distance of the extremes, mm.
_END_MM = 40.0


def _masked_mean(points, mask):
    """Returns the mean of points [B, M, 3] in a mask [B, M] and the size of the mask [B]."""
    weight = tf.cast(mask, tf.float32)[..., None]
    total = tf.reduce_sum(weight, axis=1)
    return tf.reduce_sum(points * weight, axis=1) / tf.maximum(total, 1.0), total[:, 0]


def _quantile(values, mask, share):
    """Value below which `share` of the masked values lie, [B]; halves the range nine times."""
    low = tf.reduce_min(tf.where(mask, values, values.dtype.max), axis=1)
    high = tf.reduce_max(tf.where(mask, values, values.dtype.min), axis=1)
    wanted = share * tf.reduce_sum(tf.cast(mask, tf.float32), axis=1)
    for _ in range(9):
        middle = 0.5 * low + 0.5 * high
        below = tf.cast(mask & (values <= middle[:, None]), tf.float32)
        enough = tf.reduce_sum(below, axis=1) >= wanted
        low, high = tf.where(enough, low, middle), tf.where(enough, middle, high)
    return high


def find_hand_center(depth_mm, intrinsics):
    """Finds the hand in depth images.

    Args:
        depth_mm: float32 [B, H, W], mm along the camera axis; 0, negative or non-finite values
            are no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.

    Returns:
        (center_mm float32 [B, 3], camera frame, about the middle of the hand's surface;
        found bool [B], False where the nearest surface is too small for a hand, or a wall: the
        center is zero then).
    """
    depth_mm = tf.convert_to_tensor(depth_mm, tf.float32)
    intrinsics = tf.convert_to_tensor(intrinsics, tf.float32)
    coarse, intrinsics = _reduce(depth_mm, intrinsics)
    shape = tf.shape(coarse)
    points = tf.reshape(camera.depth_to_points(coarse, intrinsics), [shape[0], -1, 3])
    z = points[..., 2]
    # mm^2 that a coarse pixel covers.
    area = z * z / (intrinsics[:, 0] * intrinsics[:, 1])[:, None]
    seed, nearest = _nearest_spot(coarse, points)
    distance = tf.norm(points - seed[:, None], axis=-1)
    reachable = (z > 0.0) & (z < nearest[:, None] + _CLUSTER_DEPTH_MM)
    reachable &= distance < _CLUSTER_REACH_MM
    flood = _Flood(coarse, tf.reshape(reachable, shape))
    cluster = flood.spread(reachable & (distance == 0.0))
    is_finger = _sum(area, cluster) < _FINGER_MM2
    around = reachable & (distance < _FINGER_REACH_MM) & is_finger[:, None]
    cluster = flood.spread(cluster | around)
    is_body = _sum(area, cluster) > _BODY_MM2
    whole, cluster = cluster, cluster & ((distance < _BODY_REACH_MM) | ~is_body[:, None])
    center = _free_end(points, cluster, _near_border(coarse))
    for _ in range(2):
        center = _move_to_end(points, cluster, center)
    distance = tf.norm(points - center[:, None], axis=-1)
    found = _sum(area, cluster & (distance < _HAND_REACH_MM)) >= _NO_HAND_MM2
    found &= _ring_share(coarse, intrinsics, whole, center) < _WALL_SHARE
    return tf.where(found[:, None], center, 0.0), found


def _sum(values, mask):
    return tf.reduce_sum(tf.where(mask, values, 0.0), axis=1)


def _ring_share(coarse, intrinsics, cluster, center):
    """Share of the ring around the center, as far as it lies in the picture, that is filled."""
    rays = camera.depth_to_points(tf.ones_like(coarse), intrinsics)[..., :2]
    # Where the rays meet the plane of the center.
    lateral = center[:, None, None, 2:] * rays - center[:, None, None, :2]
    distance = tf.reshape(tf.norm(lateral, axis=-1), tf.shape(cluster))
    ring = (distance > _HAND_REACH_MM) & (distance < _ARM_REACH_MM)
    size = tf.reduce_sum(tf.cast(ring, tf.float32), axis=1)
    filled = tf.reduce_sum(tf.cast(ring & cluster, tf.float32), axis=1)
    return tf.math.divide_no_nan(filled, size)


def _reduce(depth_mm, intrinsics):
    """Reduces images: the nearest reading of each square; 0 where it has none.

    Returns:
        (depth_mm [B, h, w], intrinsics [B, 4] of the smaller images).
    """
    longer = max(depth_mm.shape[1] or 640, depth_mm.shape[2] or 640)
    stride = -(-longer // _COARSE_SIDE)
    valid = (depth_mm > 0.0) & (depth_mm < _MAX_RANGE_MM)
    # -_MAX_RANGE_MM marks "no reading"; comparisons are False for NaN.
    nearness = tf.where(valid, -depth_mm, -_MAX_RANGE_MM)[..., None]
    nearness = tf.nn.max_pool2d(nearness, stride, stride, "VALID")[..., 0]
    coarse = tf.where(nearness > -_MAX_RANGE_MM, -nearness, 0.0)
    # Coarse pixel i covers [i s, (i + 1) s) and stands for its middle, i s + (s - 1) / 2.
    offset = tf.constant([0.0, 0.0, 1.0, 1.0]) * (0.5 * (stride - 1))
    return coarse, (intrinsics - offset) / float(stride)


def _nearest_spot(coarse, points):
    """Returns the nearest place whose 3 x 3 neighbors all have readings: [B, 3], depth [B].

    A single noisy reading is none. Without any such place the depth is `_MAX_RANGE_MM`.
    """
    distance = tf.where(coarse > 0.0, coarse, _MAX_RANGE_MM)
    # The farthest of the neighborhood; out of the picture does not count.
    solid = tf.nn.max_pool2d(distance[..., None], 3, 1, "SAME")[..., 0]
    solid = tf.reshape(solid, [tf.shape(coarse)[0], -1])
    index = tf.argmin(solid, axis=1, output_type=tf.int32)
    seed = tf.gather(points, index, batch_dims=1)
    return seed, tf.where(tf.reduce_min(solid, axis=1) < _MAX_RANGE_MM, seed[:, 2], 0.0)


class _Flood:
    """Spreads marks over a surface, along whole runs of rows and columns at a time."""

    def __init__(self, coarse, reachable):
        self._shape = tf.shape(coarse)
        self._reachable = reachable
        self._rows = _runs(coarse, reachable)
        self._columns = _runs(_transpose(coarse), _transpose(reachable))

    def spread(self, marked):
        """Returns all pixels connected to marked ones, bool [B, H * W] from the same."""
        marked = tf.cast(tf.reshape(marked, self._shape) & self._reachable, tf.int32)
        for _ in range(_SWEEPS):
            marked = _fill(marked, *self._rows)
            marked = _transpose(_fill(_transpose(marked), *self._columns))
        marked = tf.cast(marked, tf.bool) & self._reachable
        return tf.reshape(marked, [self._shape[0], -1])


def _transpose(x):
    return tf.transpose(x, [0, 2, 1])


def _runs(depth, reachable):
    """Numbers the runs of each row without a jump: (int32 [B * H * W], number of runs)."""
    jump = tf.abs(depth[:, :, 1:] - depth[:, :, :-1]) > _JUMP_MM
    apart = jump | ~reachable[:, :, 1:] | ~reachable[:, :, :-1]
    # Every row starts a run of its own.
    starts = tf.pad(apart, [[0, 0], [0, 0], [1, 0]], constant_values=True)
    runs = tf.cumsum(tf.reshape(tf.cast(starts, tf.int32), [-1])) - 1
    return runs, tf.size(runs)


def _fill(marked, runs, count):
    """Marks every run that has a mark."""
    filled = tf.math.unsorted_segment_max(tf.reshape(marked, [-1]), runs, count)
    return tf.reshape(tf.gather(filled, runs), tf.shape(marked))


def _near_border(image):
    """Whether each pixel of [B, H, W] lies within two pixels of the border, bool [1, H * W]."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    v, u = tf.range(height)[:, None], tf.range(width)[None, :]
    edge = tf.minimum(tf.minimum(v, height - 1 - v), tf.minimum(u, width - 1 - u))
    return tf.reshape(edge < 2, [1, -1])


def _free_end(points, cluster, near_border):
    """Returns the middle of the end of the cluster that is not an arm coming into the picture.

    An arm and its hand are a long cluster; the arm's end is the one cut by the border. Where the
    border does not tell, the higher end is taken: hands are held up.
    """
    weight = tf.cast(cluster, tf.float32)[..., None]
    middle, total = _masked_mean(points, cluster)
    away = (points - middle[:, None]) * weight
    spread = tf.matmul(away, away, transpose_a=True) / tf.maximum(total, 1.0)[:, None, None]
    axis = tf.linalg.eigh(spread + tf.eye(3))[1][:, :, 2]
    # The sign: y points down in the picture, so "up" is towards negative y.
    axis *= tf.where(axis[:, 1:2] > 0, -1.0, 1.0)
    along = tf.reduce_sum((points - middle[:, None]) * axis[:, None], axis=-1)
    low, high = _quantile(along, cluster, 0.02), _quantile(along, cluster, 0.98)

    def border_share(end):
        near_end = cluster & (tf.abs(along - end[:, None]) < _END_MM)
        inside = tf.reduce_sum(tf.cast(near_end & near_border, tf.float32), axis=1)
        return inside / tf.maximum(tf.reduce_sum(tf.cast(near_end, tf.float32), axis=1), 1.0)

    down = border_share(high) > border_share(low) + 0.1
    from_end = tf.where(down[:, None], along - low[:, None], high[:, None] - along)
    end, _ = _masked_mean(points, cluster & (from_end < _HAND_LENGTH_MM))
    return end


def _move_to_end(points, cluster, center):
    """Moves the center to a hand's length around the end away from the arm."""
    away = points - center[:, None]
    distance = tf.norm(away, axis=-1)
    arm, arm_size = _masked_mean(
        away, cluster & (distance > _HAND_REACH_MM) & (distance < _ARM_REACH_MM)
    )
    length = tf.norm(arm, axis=-1, keepdims=True)
    # Without an arm, or with as much on one side as on the other, the center stays.
    has_arm = (arm_size >= 5.0) & (length[:, 0] > 0.25 * _HAND_REACH_MM)
    axis = -arm / tf.maximum(length, 1.0)
    along = tf.reduce_sum(away * axis[:, None], axis=-1)
    near = cluster & (distance < _ARM_REACH_MM)
    end = _quantile(along, near, 0.985)
    hand = near & (along > end[:, None] - _HAND_LENGTH_MM)
    moved, _ = _masked_mean(points, hand)
    stay, _ = _masked_mean(points, cluster & (distance < _HAND_REACH_MM))
    return tf.where(has_arm[:, None], moved, stay)


def fuse_centers(centers_mm, found, ref_from_view):
    """Gives all views of a sample one center: the median of theirs, per coordinate.

    Args:
        centers_mm: float32 [B, V, 3], camera frames.
        found: bool [B, V], which of them to use.
        ref_from_view: float32 [B, V, 4, 4].

    Returns:
        float32 [B, V, 3], camera frames; the same point of space in all views. A sample in which
        no view found a hand gets zeros.
    """
    in_ref = rigid.apply(ref_from_view, centers_mm[:, :, None])[:, :, 0]
    # Views without a hand are sorted to the end and not counted.
    ordered = tf.sort(tf.where(found[..., None], in_ref, in_ref.dtype.max), axis=1)
    count = tf.reduce_sum(tf.cast(found, tf.int32), axis=1)
    low = tf.gather(ordered, tf.maximum(count - 1, 0) // 2, batch_dims=1)
    high = tf.gather(ordered, tf.maximum(count, 1) // 2, batch_dims=1)
    # For one view the upper middle is the lower one.
    high = tf.where((count > 1)[:, None], high, low)
    median = 0.5 * low + 0.5 * high
    in_views = rigid.apply(rigid.inverse(ref_from_view), median[:, None, None])[:, :, 0]
    return tf.where(count[:, None, None] > 0, in_views, 0.0)
