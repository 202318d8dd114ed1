"""Random hand poses, shapes and viewpoints, in the graph (section 3.3, after its reference [33]).

A pose is drawn in three steps: a gesture says how far each finger is curled, the curl is turned
into joint angles with a balance between knuckle and middle joint of its own, and every angle gets
noise and is clipped to its anatomical range. Of a few candidates the result is
the one whose spheres collide least.
"""

import numpy as np
import tensorflow as tf

from tfhand.geometry import rigid
from tfhand.hand import skeleton, spheres, template

__all__ = ["GESTURES", "sample_angles", "sample_rotation", "sample_shape"]

# Range of the curl (0 straight, 1 closed) of index, middle, ring, pinky, thumb; "raised" fingers
# are straight while the others have the gesture's curl. Last: the gesture's share.
GESTURES = {
    # name: (curl low, curl high, raised fingers, share)
    "straight": (0.00, 0.08, (), 0.10),
    "open": (0.05, 0.30, (), 0.17),
    "half_open": (0.25, 0.65, (), 0.15),
    "closed": (0.75, 1.00, (), 0.08),
    "pinch": (0.05, 0.50, (), 0.10),
    "index_raised": (0.70, 1.00, ("INDEX",), 0.06),
    "two_raised": (0.70, 1.00, ("INDEX", "MIDDLE"), 0.06),
    "index_pinky_raised": (0.70, 1.00, ("INDEX", "PINKY"), 0.04),
    "thumb_raised": (0.75, 1.00, ("THUMB",), 0.04),
    "pinky_raised": (0.60, 1.00, ("PINKY",), 0.02),
    "middle_raised": (0.60, 1.00, ("MIDDLE",), 0.02),
    "ring_raised": (0.60, 1.00, ("RING",), 0.02),
    "random": (0.00, 1.00, (), 0.14),
}
_CURLED_DEG = {"1_FLEX": 82.0, "2_FLEX": 100.0, "3_FLEX": 62.0}
_STRAIGHT_DEG = {"1_FLEX": -6.0, "2_FLEX": 2.0, "3_FLEX": 1.0}
# How far abduction follows the one spread of the hand, degrees at full spread.
_SPREAD_DEG = {"INDEX": 12.0, "MIDDLE": 2.0, "RING": -8.0, "PINKY": -15.0}
_THUMB_OPEN_DEG = (-8.0, 4.0, 0.0, 4.0, 0.0)
_THUMB_CLOSED_DEG = (30.0, -6.0, 18.0, 36.0, 40.0)
# One finger (its three flexions) and the thumb so that their tips touch, degrees.
_PINCH_DEG = {
    "INDEX": ((54.0, 56.0, 28.0), (23.0, -5.0, 21.0, 22.0, 25.0)),
    "MIDDLE": ((63.0, 55.0, 27.0), (32.0, -12.0, 23.0, 22.0, 30.0)),
    "RING": ((55.0, 58.0, 29.0), (39.0, -24.0, 13.0, 25.0, 26.0)),
    "PINKY": ((65.0, 53.0, 26.0), (42.0, -28.0, -1.0, 35.0, 38.0)),
}
# A pinch is a touch: more noise would take the tips apart.
_NOISE_DEG, _PINCH_NOISE_DEG = 6.0, 3.0
# Share of poses whose angles are all drawn uniformly from their ranges.
_UNIFORM_SHARE = 0.10


def _uniform(rng, shape, low=0.0, high=1.0):
    return rng.uniform(shape, low, high, dtype=tf.float32)


def _choose_gesture(rng, batch):
    """Returns curl [B, 5] and whether each sample is a pinch [B]."""
    low, high, raised, share = zip(*GESTURES.values(), strict=True)
    cumulative = np.cumsum(share) / np.sum(share)
    edges = tf.constant(cumulative[:-1], tf.float32)
    gesture = tf.searchsorted(edges, _uniform(rng, [batch]), side="right")
    is_raised = np.array([[f in r for f in skeleton.FINGERS] for r in raised], np.float32)
    low, high = (tf.gather(tf.constant(v, tf.float32), gesture)[:, None] for v in (low, high))
    # Fingers of one gesture move together; "random" lets each go its own way.
    common = _uniform(rng, [batch, 1])
    own = _uniform(rng, [batch, 5])
    own_share = tf.where(gesture == list(GESTURES).index("random"), 1.0, 0.35)[:, None]
    curl = low + (high - low) * (own_share * own + (1 - own_share) * common)
    up = tf.gather(tf.constant(is_raised), gesture)
    curl = curl * (1 - up) + up * _uniform(rng, [batch, 5], 0.0, 0.15)
    return curl, tf.cast(gesture == list(GESTURES).index("pinch"), tf.float32)


def _finger_angles(rng, curl, pinched):
    """Returns degrees [B, 4, 4] of index to pinky: flex 1, abduct, flex 2, flex 3."""
    batch = tf.shape(curl)[0]
    # Balance between the knuckle and the middle joint: a hook at one end, a table at the other.
    balance = _uniform(rng, [batch, 1], -1.0, 1.0) * 0.8 + _uniform(rng, [batch, 4], -0.2, 0.2)
    curl = curl[:, :4]
    # Both ends of the range stay reachable: balance matters most half way.
    shift = 1.6 * balance * curl * (1 - curl)
    amount = {"1_FLEX": curl - shift, "2_FLEX": curl + shift, "3_FLEX": curl + 0.7 * shift}
    flex = {
        name: _STRAIGHT_DEG[name] + (_CURLED_DEG[name] - _STRAIGHT_DEG[name]) * value
        for name, value in amount.items()
    }
    # target[i,f]: flexion i of finger f.
    target = tf.constant([_PINCH_DEG[f][0] for f in skeleton.FINGERS[:4]])
    target = tf.transpose(target)
    flex = {
        name: value * (1 - pinched) + target[i] * pinched
        for i, (name, value) in enumerate(flex.items())
    }
    # Curled fingers cannot spread.
    spread = _uniform(rng, [batch, 1], -0.8, 1.1) * tf.nn.relu(1.0 - flex["1_FLEX"] / 80.0)
    abduct = spread * tf.constant([_SPREAD_DEG[f] for f in skeleton.FINGERS[:4]])
    return tf.stack([flex["1_FLEX"], abduct, flex["2_FLEX"], flex["3_FLEX"]], axis=-1)


def _thumb_angles(rng, curl, pinched):
    """Returns degrees [B, 5] of the thumb from its curl [B] and the finger it touches [B, 4]."""
    straight, curled = tf.constant(_THUMB_OPEN_DEG), tf.constant(_THUMB_CLOSED_DEG)
    # Opposition (the first three) and bending (the last two) are partly independent.
    batch = tf.shape(curl)[0]
    opposition = 0.5 * curl + 0.5 * _uniform(rng, [batch])
    bend = 0.6 * curl + 0.4 * _uniform(rng, [batch])
    amount = tf.concat([tf.tile(opposition[:, None], [1, 3]), tf.tile(bend[:, None], [1, 2])], 1)
    angles = straight + (curled - straight) * amount
    touching = tf.matmul(pinched, tf.constant([_PINCH_DEG[f][1] for f in skeleton.FINGERS[:4]]))
    return tf.where(tf.reduce_any(pinched > 0, axis=1, keepdims=True), touching, angles)


def _candidate(rng, batch):
    curl, is_pinch = _choose_gesture(rng, batch)
    finger = tf.cast(_uniform(rng, [batch]) * 4.0, tf.int32)
    pinched = tf.one_hot(finger, 4) * is_pinch[:, None]
    fingers = tf.reshape(_finger_angles(rng, curl, pinched), [batch, 16])
    thumb = _thumb_angles(rng, curl[:, 4], pinched)
    wrist = rng.normal([batch, 2]) * tf.constant([16.0, 8.0])
    noise_deg = _NOISE_DEG + (_PINCH_NOISE_DEG - _NOISE_DEG) * is_pinch
    noise = rng.normal([batch, 21]) * noise_deg[:, None]
    degrees = tf.concat([tf.concat([fingers, thumb], axis=1) + noise, wrist], axis=1)
    angles = degrees * (np.pi / 180.0)
    low, high = template.ANGLE_RANGES_RAD[:, 0], template.ANGLE_RANGES_RAD[:, 1]
    uniform = low + (high - low) * _uniform(rng, [batch, len(low)])
    is_uniform = _uniform(rng, [batch, 1]) < _UNIFORM_SHARE
    return tf.clip_by_value(tf.where(is_uniform, uniform, angles), low, high)


def _overlap_mm(angles):
    """Returns the mean overlap of spheres that must not meet, [B], mm, lowest for the best pose."""
    centers, radii = spheres.pose_spheres(
        angles, tf.zeros([tf.shape(angles)[0], len(template.SHAPE_NAMES)])
    )
    first, second = skeleton.COLLISION_PAIRS[:, 0], skeleton.COLLISION_PAIRS[:, 1]
    gap = tf.norm(tf.gather(centers, first, axis=1) - tf.gather(centers, second, axis=1), axis=-1)
    reach = tf.gather(radii, first, axis=1) + tf.gather(radii, second, axis=1)
    # Neighboring fingers touch at their sides: only deep overlap counts.
    return tf.reduce_mean(tf.nn.relu(0.85 * reach - gap), axis=1)


def sample_angles(rng, batch, candidates=3):
    """Draws joint angles.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of poses B, int or scalar tensor.
        candidates: Poses drawn for each one returned, the one that collides least.

    Returns:
        float32 [B, 23], radians, each within `template.ANGLE_RANGES_RAD`.
    """
    angles = _candidate(rng, batch * candidates)
    angles = tf.reshape(angles, [candidates, batch, len(template.ANGLE_NAMES)])
    overlap = _overlap_mm(tf.reshape(angles, [-1, len(template.ANGLE_NAMES)]))
    best = tf.argmin(tf.reshape(overlap, [candidates, batch]), axis=0, output_type=tf.int32)
    return tf.gather_nd(angles, tf.stack([best, tf.range(batch)], axis=1))


def sample_shape(rng, batch, scale=1.0):
    """Draws shape parameters, normal and cut off at two standard deviations.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of shapes B.
        scale: Factor on `template.SHAPE_STDDEV`.

    Returns:
        float32 [B, P], log factors.
    """
    draw = rng.truncated_normal([batch, len(template.SHAPE_NAMES)], dtype=tf.float32)
    return draw * (scale * template.SHAPE_STDDEV)


def sample_rotation(rng, batch, upright_share=0.7, tilt_deg=50.0):
    """Draws the rotation from the hand frame to the camera's axes.

    The direction to the camera is uniform over the sphere, less a cap around the forearm's axis
    from behind, where a camera would see only an arm. The turn in the image plane is
    normal around fingers-up for a share of the samples and uniform for the rest.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of rotations B.
        upright_share: Share of samples whose fingers point roughly up.
        tilt_deg: Standard deviation of the in-plane turn of those, degrees.

    Returns:
        float32 [B, 3, 3].
    """
    # Line of sight in the hand frame, from the hand to the camera; its y is the sine of the
    # elevation over the palm's cross-section: negative looks up the arm.
    y = _uniform(rng, [batch], -0.65, 1.0)
    around = _uniform(rng, [batch], -np.pi, np.pi)
    flat = tf.sqrt(tf.maximum(1.0 - y * y, 0.0))
    sight = tf.stack([flat * tf.sin(around), y, flat * tf.cos(around)], axis=-1)
    # Camera axes in the hand frame: z away from the camera, y down as near to -fingers as can be.
    z_axis = -sight
    fingers = tf.constant([0.0, 1.0, 0.0])
    # Seen along the fingers, up is the back of the hand or the palm: a fixed second choice.
    helper = tf.where(tf.abs(y)[:, None] > 0.98, tf.constant([0.0, 0.0, 1.0]), fingers)
    x_axis = tf.linalg.l2_normalize(tf.linalg.cross(-helper, z_axis), axis=-1)
    y_axis = tf.linalg.cross(z_axis, x_axis)
    camera_from_hand = tf.stack([x_axis, y_axis, z_axis], axis=-2)
    upright = _uniform(rng, [batch]) < upright_share
    turn = tf.where(
        upright,
        rng.normal([batch]) * float(np.radians(tilt_deg)),
        _uniform(rng, [batch], -np.pi, np.pi),
    )
    zero = tf.zeros_like(turn)
    in_plane = rigid.rotation_from_axis_angle(tf.stack([zero, zero, turn], axis=-1))
    return in_plane @ camera_from_hand
