"""Finds the hand in depth images. Not in the paper, whose code crops at labels.

The hand is taken to be an end of the nearest connected surface
(`nearest_surface.find_nearest_surface`). Where the border of the picture cuts one end off, that is
the arm's, and the hand is the other. Where it does not tell, both ends are candidates, and where
none of them looks like a hand, so are those of the next surface. What judges them is a function
of the caller, usually the pose network (`models.frame_model`): it knows where a hand is, and how
sure it is of that. All of it runs in the graph.

Letters: B images, V views of a sample, C candidates, K points of a surface.
"""

from typing import NamedTuple

import tensorflow as tf

from tfhand.geometry import nearest_surface, rigid, views

__all__ = ["HandInViews", "LARGE_DOUBT", "find_hand", "find_hand_in_views", "fuse_centers"]

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
# Doubt is the mean logarithm of how far the maps of a judge spread, mm. One hand in a hundred has
# more than this.
LARGE_DOUBT = 3.97
# An end that the border cuts has so much more; a view that shows nothing at a place speaks against
# it as much as an arm does.
_BORDER_DOUBT, _UNSEEN_DOUBT = 0.3, 4.3
# Centers of one hand in two views are nearer to each other, mm.
_VIEWS_AGREE_MM = 120.0


class HandInViews(NamedTuple):
    """The hand in the views of B samples.

    Attributes:
        center_mm: float32 `[B, V, 3]`, camera frames, the same point of space in all views of a
            sample: about the middle of the hand; zero where no view shows one.
        own_center_mm: float32 `[B, V, 3]`, camera frames, what each view finds by itself; zero
            where that is nothing.
        has_hand: bool `[B, V]`, whether a view finds a hand by itself.
        agrees: bool `[B, V]`, whether a view shows the hand at the common center.
    """

    center_mm: tf.Tensor
    own_center_mm: tf.Tensor
    has_hand: tf.Tensor
    agrees: tf.Tensor


def find_hand(depth_mm, intrinsics, judge):
    """Finds the hand in depth images, each by itself.

    Args:
        depth_mm: float32 or uint16 [B, H, W], mm along the camera axis; 0, negative or non-finite
            values are no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        judge: Function of center_mm float32 [B, 3], camera frame, one an image, to a dict of
            tensors [B, ...]: `middle_mm` [B, 3], the middle of the hand there, camera frame;
            `doubt` [B], the smaller the better, infinite where there is nothing; and others.

    Returns:
        The dict for the best candidate, and in it `center_mm` float32 [B, 3], the center that was
        judged, and `has_hand` bool [B], False where there is no candidate: `center_mm` and
        `middle_mm` are zero then.
    """
    judged = _judge_candidates(depth_mm, intrinsics, judge)
    best = tf.argmin(judged["doubt"], axis=1)
    hand = {name: tf.gather(values, best, batch_dims=1) for name, values in judged.items()}
    hand["has_hand"] = hand["doubt"] < float("inf")
    for name in ("center_mm", "middle_mm"):
        hand[name] = tf.where(hand["has_hand"][:, tf.newaxis], hand[name], 0.0)
    return hand


def find_hand_in_views(depth_mm, intrinsics, ref_from_view, judge) -> HandInViews:
    """Finds the hand in depth images of several calibrated cameras.

    Of the candidates of all views, that is taken which is least in doubt over all views. The
    center is the median of where the views that show it see its middle.

    Args:
        depth_mm: float32 or uint16 [B, V, H, W], mm along the camera axis; 0, negative or
            non-finite values are no reading.
        intrinsics: float32 [B, V, 4], fx, fy, cx, cy in px.
        ref_from_view: float32 [B, V, 4, 4].
        judge: As for `find_hand`, of B * V images, views of a sample one after the other.
    """
    ref_from_view = tf.convert_to_tensor(ref_from_view, tf.float32)
    num_views = ref_from_view.shape[1]
    judged = _judge_candidates(views.fold_views(depth_mm), views.fold_views(intrinsics), judge)
    middle, doubt = (views.unfold_views(judged[name], num_views) for name in ("middle_mm", "doubt"))
    own = tf.argmin(doubt, axis=2)
    has_hand = tf.reduce_min(doubt, axis=2) < float("inf")
    own_mm = tf.where(has_hand[..., tf.newaxis], tf.gather(middle, own, batch_dims=2), 0.0)

    points = tf.reshape(rigid.apply(ref_from_view, middle), [-1, num_views * doubt.shape[2], 3])
    apart = points[:, :, tf.newaxis] - points[:, tf.newaxis]
    is_near = tf.reduce_sum(apart * apart, axis=-1) < _VIEWS_AGREE_MM**2
    # For each candidate of any view, the doubt of those of each view that lie near it.
    flat = tf.reshape(doubt, [-1, num_views * doubt.shape[2]])
    near = tf.where(is_near, flat[:, tf.newaxis], float("inf"))
    near = tf.reshape(near, [-1, flat.shape[1], num_views, doubt.shape[2]])
    least = tf.reduce_min(near, axis=3)
    total = tf.reduce_sum(tf.minimum(least, _UNSEEN_DOUBT), axis=2)
    best = tf.argmin(tf.where(flat < float("inf"), total, float("inf")), axis=1)
    agrees = tf.gather(least, best, batch_dims=1) < float("inf")
    of_view = tf.argmin(tf.gather(near, best, batch_dims=1), axis=2)
    center = fuse_centers(tf.gather(middle, of_view, batch_dims=2), agrees, ref_from_view)
    return HandInViews(center, own_mm, has_hand, agrees)


def _judge_candidates(depth_mm, intrinsics, judge):
    """Returns what `judge` does, with `center_mm`, for the four ends of two surfaces: [B, 4, ...].

    The doubt of those that need not be looked at is infinite.
    """
    intrinsics = tf.convert_to_tensor(intrinsics, tf.float32)
    surface = nearest_surface.find_nearest_surface(tf.convert_to_tensor(depth_mm), intrinsics)
    (first_end, other_end), is_certain = _find_ends(surface)
    first = _judge_end(surface, first_end, judge)
    other = _where(~is_certain, lambda: _judge_end(surface, other_end, judge), first)

    def judge_next():
        following = nearest_surface.find_next_surface(surface)
        ends, is_certain = _find_ends(following)
        results = [_judge_end(following, end, judge) for end in ends]
        results[1]["doubt"] = tf.where(is_certain, float("inf"), results[1]["doubt"])
        return {name: tf.stack([r[name] for r in results], axis=1) for name in first}

    judged = {name: tf.stack([first[name], other[name]], axis=1) for name in first}
    is_doubtful = tf.reduce_min(judged["doubt"], axis=1) > LARGE_DOUBT
    following = _where(is_doubtful, judge_next, judged)
    return {name: tf.concat([judged[name], following[name]], axis=1) for name in judged}


def _where(wanted, function, like):
    """Returns `function()`, whose doubt is infinite but where wanted [B]; its values are `like`."""
    results = tf.cond(
        tf.reduce_any(wanted),
        function,
        lambda: {name: tf.zeros_like(values) for name, values in like.items()},
    )
    wanted = tf.reshape(wanted, [-1] + [1] * (results["doubt"].shape.rank - 1))
    return {**results, "doubt": tf.where(wanted, results["doubt"], float("inf"))}


def _judge_end(surface, end, judge):
    """Returns what `judge` does of an end (distance from it [B, K], at the border bool [B])."""
    from_end, at_border = end
    points, cluster = surface.points_mm, surface.cluster
    center, _ = nearest_surface.masked_mean(points, cluster & (from_end < _HAND_LENGTH_MM))
    center = _move_to_end(points, cluster, center)
    near = cluster & (nearest_surface.squared_distance(points, center) < _HAND_REACH_MM**2)
    is_hand = nearest_surface.masked_sum(surface.area_mm2, near)[:, 0] >= _NO_HAND_MM2
    is_hand &= _ring_share(surface, center) < _WALL_SHARE
    center *= 1.0 + _BEHIND_SURFACE_MM / tf.maximum(tf.norm(center, axis=1, keepdims=True), 1.0)
    center = tf.where(is_hand[:, tf.newaxis], center, 0.0)
    judged = judge(center)
    doubt = judged["doubt"] + _BORDER_DOUBT * tf.cast(at_border, tf.float32)
    return {**judged, "center_mm": center, "doubt": tf.where(is_hand, doubt, float("inf"))}


def _ring_share(surface, center):
    """Returns the filled share of the ring around the center, as far as the picture shows it."""
    # Where the rays meet the plane of the center.
    x, y, z = tf.split(tf.expand_dims(center, 2), 3, axis=1)
    squared = tf.math.squared_difference(surface.u * z, x)
    squared += tf.math.squared_difference(surface.v * z, y)
    squared = tf.reshape(squared, tf.shape(surface.whole))
    ring = (squared > _HAND_REACH_MM**2) & (squared < _ARM_REACH_MM**2)
    return _share(ring, surface.whole)


def _share(mask, other):
    """Returns the share of a mask [B, M] where another is set too: [B], 0 of an empty one."""
    size, both = (tf.reduce_sum(tf.cast(m, tf.float32), axis=1) for m in (mask, mask & other))
    return tf.math.divide_no_nan(both, size)


def _near_border(image):
    """Marks the pixels of [B, H, W] within two pixels of the border, bool [1, H * W]."""

    def at_ends(size):
        middle = 0.5 * tf.cast(size - 1, tf.float32)
        return tf.abs(tf.range(size, dtype=tf.float32) - middle) > middle - 2.0

    height, width = tf.shape(image)[1], tf.shape(image)[2]
    return tf.reshape(at_ends(height)[:, tf.newaxis] | at_ends(width), [1, -1])


def _find_ends(surface):
    """Finds both ends of a surface along its longest direction.

    An arm and its hand are a long cluster; the arm's end is the one cut by the border. Where the
    border does not tell, the higher end comes first.

    Returns:
        (two pairs, the hand's end first if that is certain: distance from the end float32 [B, K],
        whether the border cuts it bool [B]; whether the border tells, or there is no arm, bool
        [B]).
    """
    points, cluster = surface.points_mm, surface.cluster
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
    near_border = tf.gather(_near_border(surface.depth_mm), surface.pixels, axis=1)
    high_share = _share(cluster & (along > high - _END_MM), near_border)
    low_share = _share(cluster & (along < low + _END_MM), near_border)
    is_low = high_share - low_share > _BORDER_SHARE
    from_high, from_low = high - along, along - low
    first = tf.where(is_low[:, tf.newaxis], from_low, from_high)
    other = tf.where(is_low[:, tf.newaxis], from_high, from_low)
    first_share = tf.where(is_low, low_share, high_share)
    other_share = tf.where(is_low, high_share, low_share)
    ends = [(first, first_share > _BORDER_SHARE), (other, other_share > _BORDER_SHARE)]
    is_certain = tf.abs(high_share - low_share) > _BORDER_SHARE
    return ends, is_certain | ((high - low)[:, 0] < _NO_ARM_MM)


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
