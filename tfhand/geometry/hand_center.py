"""Finds the center of the hand from the depth alone. Not in the paper, whose code crops at labels.

The hand is taken to be the end of the nearest connected surface
(`nearest_surface.find_nearest_surface`). The free end of that is told from the end where the arm
goes on, and the center is the mean of what lies within a hand's length of the free end. With
several calibrated views, the views that can tell the arm decide; around their median the surfaces
of all views become one, on which the center is found once more. All of it runs in the graph.
"""

import tensorflow as tf

from tfhand.geometry import nearest_surface, rigid

__all__ = ["find_hand_center", "find_hand_in_views", "fuse_centers"]

# A smaller surface is no hand, mm^2. (A fist measures some 5,000, a hand seen from the tips 3,000.)
_NO_HAND_MM2 = 1200.0
# Beyond this distance from the middle of a hand there is only arm, mm. A hand has hardly
# anything there: where more than this share of the ring is filled, it is a wall or a table.
_HAND_REACH_MM, _ARM_REACH_MM = 120.0, 200.0
_WALL_SHARE = 0.75
_HAND_LENGTH_MM = 150.0
# The ends of the cluster are what lies within this distance of the extremes, mm.
_END_MM = 40.0
# An end is the arm's if it touches the border by so much more than the other, as shares of it. A
# surface shorter than this has no arm to speak of, mm.
_BORDER_SHARE, _NO_ARM_MM = 0.1, 230.0
# The middle of a hand lies behind the middle of the surface that a camera sees of it, mm.
_BEHIND_SURFACE_MM = 15.0
# A view whose center is farther than this from that of all does not show the hand, mm.
_VIEWS_AGREE_MM = 120.0


def find_hand_center(depth_mm, intrinsics):
    """Finds the hand in depth images, each by itself.

    Args:
        depth_mm: float32 or uint16 [B, H, W], mm along the camera axis; 0, negative or non-finite
            values are no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.

    Returns:
        (center_mm float32 [B, 3], camera frame, about the middle of the hand; has_hand bool [B],
        False where the nearest surface is too small for a hand, or a wall: the center is zero
        then).
    """
    _, center, has_hand, _ = _find(depth_mm, intrinsics)
    return center, has_hand


def find_hand_in_views(depth_mm, intrinsics, ref_from_view):
    """Finds the hand in depth images of several calibrated cameras.

    Args:
        depth_mm: float32 or uint16 [B, V, H, W], mm along the camera axis; 0, negative or
            non-finite values are no reading.
        intrinsics: float32 [B, V, 4], fx, fy, cx, cy in px.
        ref_from_view: float32 [B, V, 4, 4].

    Returns:
        (center_mm float32 [B, V, 3], camera frames, the same point of space in all views, zero
        where no view shows a hand; has_hand bool [B, V], whether a view shows one by itself;
        away_mm float32 [B, V], distance of its own center from the common one, 0 where it shows
        none).
    """
    depth_mm = tf.convert_to_tensor(depth_mm)
    intrinsics = tf.convert_to_tensor(intrinsics, tf.float32)
    ref_from_view = tf.convert_to_tensor(ref_from_view, tf.float32)
    batch, views = tf.shape(depth_mm)[0], tf.shape(depth_mm)[1]
    surface, center, has_hand, is_certain = _find(
        tf.reshape(depth_mm, tf.concat([[batch * views], tf.shape(depth_mm)[2:]], axis=0))
        if depth_mm.shape[2] is None or depth_mm.shape[3] is None
        else tf.reshape(depth_mm, [-1, *depth_mm.shape[2:]]),
        tf.reshape(intrinsics, [-1, 4]),
    )

    def by_view(values):
        return tf.reshape(values, tf.concat([[batch, views], tf.shape(values)[1:]], axis=0))

    center, has_hand, is_certain = by_view(center), by_view(has_hand), by_view(is_certain)
    # Views that tell the arm from the hand decide, if there are any.
    is_certain &= has_hand
    decides = tf.where(tf.reduce_any(is_certain, axis=1, keepdims=True), is_certain, has_hand)
    fused = fuse_centers(center, decides, ref_from_view)
    agrees = has_hand & (tf.norm(center - fused, axis=-1) < _VIEWS_AGREE_MM)
    # The surfaces of the views that show the hand, as one cloud.
    cluster = by_view(surface.cluster) & agrees[..., tf.newaxis]
    points = by_view(surface.points_mm)
    points = tf.matmul(ref_from_view[..., :3, :3], points) + ref_from_view[..., :3, 3:]
    points = tf.reshape(tf.transpose(points, [0, 2, 1, 3]), [batch, 3, -1])
    cluster = tf.reshape(cluster, [batch, -1])
    middle = rigid.apply(ref_from_view, fused[:, :, tf.newaxis])[:, 0, 0]
    refined = _move_to_end(points, cluster, middle)
    middle = tf.where(tf.reduce_any(agrees, axis=1, keepdims=True), refined, middle)
    common = rigid.apply(rigid.inverse(ref_from_view), middle[:, tf.newaxis, tf.newaxis])[:, :, 0]
    common = tf.where(tf.reduce_any(has_hand, axis=1)[:, tf.newaxis, tf.newaxis], common, 0.0)
    away = tf.where(has_hand, tf.norm(center - common, axis=-1), 0.0)
    return common, has_hand, away


def _find(depth_mm, intrinsics):
    """Returns (`NearestSurface`, center [B, 3], has_hand [B], whether the arm is certain [B])."""
    intrinsics = tf.convert_to_tensor(intrinsics, tf.float32)
    surface = nearest_surface.find_nearest_surface(tf.convert_to_tensor(depth_mm), intrinsics)
    points, cluster = surface.points_mm, surface.cluster
    near_border = tf.gather(_near_border(surface.depth_mm), surface.pixels, axis=1)
    center, is_certain = _free_end(points, cluster, near_border)
    center = _move_to_end(points, cluster, center)
    near = cluster & (nearest_surface.squared_distance(points, center) < _HAND_REACH_MM**2)
    has_hand = nearest_surface.masked_sum(surface.area_mm2, near)[:, 0] >= _NO_HAND_MM2
    has_hand &= _ring_share(surface, center) < _WALL_SHARE
    center *= 1.0 + _BEHIND_SURFACE_MM / tf.maximum(tf.norm(center, axis=1, keepdims=True), 1.0)
    return surface, tf.where(has_hand[:, None], center, 0.0), has_hand, is_certain


def _ring_share(surface, center):
    """Returns the filled share of the ring around the center, as far as the picture shows it."""
    # Where the rays meet the plane of the center.
    x, y, z = tf.split(tf.expand_dims(center, 2), 3, axis=1)
    squared = tf.math.squared_difference(surface.u * z, x)
    squared += tf.math.squared_difference(surface.v * z, y)
    squared = tf.reshape(squared, tf.shape(surface.whole))
    ring = (squared > _HAND_REACH_MM**2) & (squared < _ARM_REACH_MM**2)
    return _share(ring, surface.whole)[:, 0]


def _share(mask, other):
    """Returns the share of a mask [B, M] where another is set too: [B, 1], 0 of an empty one."""
    size, both = (
        tf.reduce_sum(tf.cast(m, tf.float32), axis=1, keepdims=True) for m in (mask, mask & other)
    )
    return tf.math.divide_no_nan(both, size)


def _near_border(image):
    """Marks the pixels of [B, H, W] within two pixels of the border, bool [1, H * W]."""

    def at_ends(size):
        middle = 0.5 * tf.cast(size - 1, tf.float32)
        return tf.abs(tf.range(size, dtype=tf.float32) - middle) > middle - 2.0

    height, width = tf.shape(image)[1], tf.shape(image)[2]
    return tf.reshape(at_ends(height)[:, tf.newaxis] | at_ends(width), [1, -1])


def _free_end(points, cluster, near_border):
    """Finds the end of the cluster that is not an arm coming into the picture.

    An arm and its hand are a long cluster; the arm's end is the one cut by the border. Where the
    border does not tell, the higher end is taken: hands are held up.

    Returns:
        (middle of that end [B, 3]; whether the border tells, or there is no arm, bool [B]).
    """
    middle, total = nearest_surface.masked_mean(points, cluster)
    away = points - tf.expand_dims(middle, 2)
    weighted = away * tf.expand_dims(tf.cast(cluster, tf.float32), 1)
    spread = tf.reduce_sum(tf.expand_dims(weighted, 2) * tf.expand_dims(away, 1), axis=3)
    spread /= tf.expand_dims(tf.maximum(total, 1.0), 2)
    axis = tf.linalg.eigh(spread + tf.eye(3))[1][:, :, 2]
    # The sign: y points down in the picture, so "up" is towards negative y.
    axis *= tf.where(axis[:, 1:2] > 0, -1.0, 1.0)
    along = tf.reduce_sum(away * tf.expand_dims(axis, 2), axis=1)
    high = nearest_surface.masked_extreme(along, cluster)
    low = -nearest_surface.masked_extreme(-along, cluster)
    difference = _share(cluster & (along > high - _END_MM), near_border)
    difference -= _share(cluster & (along < low + _END_MM), near_border)
    from_end = tf.where(difference > _BORDER_SHARE, along - low, high - along)
    end, _ = nearest_surface.masked_mean(points, cluster & (from_end < _HAND_LENGTH_MM))
    is_certain = (tf.abs(difference) > _BORDER_SHARE) | (high - low < _NO_ARM_MM)
    return end, is_certain[:, 0]


def _move_to_end(points, cluster, center):
    """Moves the center to a hand's length around the end away from the arm."""
    away = points - tf.expand_dims(center, 2)
    squared = tf.reduce_sum(away * away, axis=1)
    near = cluster & (squared < _ARM_REACH_MM**2)
    in_hand = squared < _HAND_REACH_MM**2
    arm, arm_size = nearest_surface.masked_mean(away, near & ~in_hand)
    length = tf.norm(arm, axis=1, keepdims=True)
    # Without an arm, or with as much on one side as on the other, the center stays.
    has_arm = (arm_size >= 5.0) & (length > 0.25 * _HAND_REACH_MM)
    axis = arm / tf.maximum(length, 1.0)
    along = -tf.reduce_sum(away * tf.expand_dims(axis, 2), axis=1)
    end = nearest_surface.masked_extreme(along, near)
    hand = near & tf.where(has_arm, along > end - _HAND_LENGTH_MM, in_hand)
    return nearest_surface.masked_mean(points, hand)[0]


def fuse_centers(centers_mm, has_hand, ref_from_view):
    """Gives all views of a sample one center: the median of theirs, per coordinate.

    Args:
        centers_mm: float32 [B, V, 3], camera frames.
        has_hand: bool [B, V], False for centers to leave out.
        ref_from_view: float32 [B, V, 4, 4].

    Returns:
        float32 [B, V, 3], camera frames; the same point of space in all views. A sample in which
        no view has a hand gets zeros.
    """
    in_ref = rigid.apply(ref_from_view, centers_mm[:, :, None])[:, :, 0]
    # Views without a hand are sorted to the end and not counted.
    ordered = tf.sort(tf.where(has_hand[..., None], in_ref, in_ref.dtype.max), axis=1)
    count = tf.reduce_sum(tf.cast(has_hand, tf.int32), axis=1)
    low = tf.gather(ordered, tf.maximum(count - 1, 0) // 2, batch_dims=1)
    high = tf.gather(ordered, tf.maximum(count, 1) // 2, batch_dims=1)
    # For one view the upper middle is the lower one.
    high = tf.where((count > 1)[:, None], high, low)
    median = 0.5 * low + 0.5 * high
    in_views = rigid.apply(rigid.inverse(ref_from_view), median[:, None, None])[:, :, 0]
    return tf.where(count[:, None, None] > 0, in_views, 0.0)
