"""Random hand poses, shapes and viewpoints, in the graph (section 3.3, after its reference [33]).

A pose is drawn in four steps. A *hand shape* is a gesture, or a state of its own for each finger
that its neighbor may share, or uniform over the ranges. A pose lies on the way between two hand
shapes, as hands in motion do. Some close the thumb and a finger to a pinch. Neighbors drag each
other along, every angle gets noise and is clipped to its anatomical range. Of a few candidates
the result is the one whose spheres collide least.
"""

import numpy as np
import tensorflow as tf

from tfhand.geometry import rigid
from tfhand.hand import skeleton, spheres, template

__all__ = [
    "FINGER_STATES",
    "GESTURES",
    "GESTURE_SHARE",
    "THUMB_STATES",
    "sample_angles",
    "sample_rotation",
    "sample_shape",
]

# What a finger does on its own, with its share among such fingers: flexion of knuckle, middle and
# end joint, degrees. The lumbricals bend the knuckle and straighten the rest ("table": the
# intrinsic-plus hand); without them the long flexors make a "hook" or "claw" (intrinsic minus).
FINGER_STATES = {
    # name: (share, (1_FLEX, 2_FLEX, 3_FLEX))
    "straight": (0.18, (-4.0, 3.0, 2.0)),
    "lifted": (0.06, (-22.0, 3.0, 0.0)),
    "relaxed": (0.14, (22.0, 28.0, 14.0)),
    "half": (0.10, (46.0, 52.0, 28.0)),
    "lean": (0.11, (42.0, 6.0, 4.0)),
    "table": (0.11, (78.0, 8.0, 4.0)),
    "claw": (0.06, (-12.0, 62.0, 36.0)),
    "hook": (0.06, (6.0, 92.0, 56.0)),
    "loose": (0.07, (62.0, 80.0, 42.0)),
    "fist": (0.11, (84.0, 102.0, 62.0)),
}
# The same of the thumb: flexion, abduction and twist at its root, flexion of knuckle and end joint.
THUMB_STATES = {
    "out": (0.16, (-20.0, 6.0, -5.0, 0.0, -4.0)),
    "up": (0.08, (-22.0, -14.0, -14.0, -4.0, -14.0)),
    "beside": (0.14, (-2.0, -31.0, -12.0, 8.0, 5.0)),
    "relaxed": (0.20, (5.0, -6.0, 6.0, 14.0, 14.0)),
    "opposed": (0.12, (14.0, 16.0, 20.0, 12.0, 10.0)),
    "front": (0.08, (-8.0, 28.0, 14.0, 4.0, 0.0)),
    "across": (0.12, (42.0, -16.0, 6.0, 30.0, 14.0)),
    "over": (0.10, (28.0, 0.0, 19.0, 38.0, 44.0)),
}
# States of index, middle, ring, pinky and thumb. Counting, pointing, grasping, and shapes of
# finger alphabets that are not among them already.
GESTURES = {
    # name: (share, states)
    "flat": (0.04, "straight straight straight straight beside"),
    "five": (0.05, "straight straight straight straight out"),
    "four": (0.04, "straight straight straight straight across"),
    "lifted": (0.02, "lifted lifted lifted lifted out"),
    "relaxed": (0.08, "relaxed relaxed relaxed relaxed relaxed"),
    "grasp": (0.05, "half half half half opposed"),
    "duck": (0.03, "lean lean lean lean front"),
    "table": (0.03, "table table table table beside"),
    "beak": (0.03, "table table table table opposed"),
    "hook": (0.02, "hook hook hook hook beside"),
    "claw": (0.04, "claw claw claw claw opposed"),
    "fist": (0.08, "fist fist fist fist over"),
    "fist_thumb_beside": (0.04, "fist fist fist fist beside"),
    "fist_thumb_in": (0.02, "loose loose loose loose across"),
    "thumb_up": (0.04, "fist fist fist fist up"),
    "one": (0.04, "straight fist fist fist over"),
    "point": (0.04, "straight loose loose loose relaxed"),
    "gun": (0.03, "straight fist fist fist out"),
    "two": (0.04, "straight straight fist fist over"),
    "three": (0.02, "straight straight straight fist across"),
    "three_with_thumb": (0.03, "straight straight fist fist out"),
    "last_three": (0.02, "fist straight straight straight across"),
    "last_two": (0.01, "fist fist straight straight across"),
    "middle_alone": (0.01, "fist straight fist fist over"),
    "ring_alone": (0.01, "fist fist straight fist over"),
    "pinky_alone": (0.02, "fist fist fist straight over"),
    "horns": (0.02, "straight fist fist straight over"),
    "horns_with_thumb": (0.02, "straight fist fist straight out"),
    "call": (0.02, "fist fist fist straight out"),
    "key": (0.02, "half fist fist fist beside"),
    "index_hook": (0.01, "hook fist fist fist over"),
    "index_circle": (0.01, "straight half half half opposed"),
    "two_levels": (0.01, "straight table fist fist front"),
    "three_folded": (0.01, "table table table loose across"),
}
GESTURE_SHARE, _UNIFORM_SHARE, _PINCH_SHARE = 0.35, 0.10, 0.15
# Share of fingers that do as their neighbor does.
_FOLLOW_SHARE = 0.6
# Angles between neighbors whose sides touch (fingers taper) and between spread ones, and how far
# all of them turn to one side (standard deviation), degrees.
_CLOSED_GAP_DEG, _OPEN_GAP_DEG = (-3.0, -3.0, -3.0), (24.0, 16.0, 25.0)
_SWAY_DEG = 5.0
# Flexion that each finger takes over from the others (rows): tendon junctions and the common deep
# flexor tie middle, ring and little finger; the index is the most independent and the ring finger
# the least (the order of Haeger-Ross and Schieber, Journal of Neuroscience 20(22), 2000).
_ENSLAVING = (
    (0.93, 0.07, 0.00, 0.00),
    (0.06, 0.84, 0.10, 0.00),
    (0.01, 0.11, 0.76, 0.12),
    (0.00, 0.03, 0.11, 0.86),
)
# One finger's three flexions and the thumb, with touching pulps: round, with straight end joints
# that are pressed together, and with a straight finger bent at its knuckle; degrees.
_PINCH_DEG = {
    "INDEX": (
        ((43.0, 61.0, 33.0), (17.0, -20.0, 11.0, 16.0, 12.0)),
        ((60.0, 40.0, -6.0), (26.0, -5.0, 5.0, 11.0, 1.0)),
        ((75.0, 22.0, 2.0), (26.0, 4.0, -3.0, 15.0, 6.0)),
    ),
    "MIDDLE": (
        ((45.0, 62.0, 33.0), (31.0, -28.0, 9.0, 14.0, 8.0)),
        ((64.0, 42.0, -5.0), (39.0, -15.0, 11.0, 11.0, 4.0)),
        ((78.0, 24.0, 3.0), (39.0, -4.0, 2.0, 16.0, 2.0)),
    ),
    "RING": (
        ((46.0, 62.0, 33.0), (36.0, -33.0, -4.0, 21.0, 7.0)),
        ((64.0, 43.0, -5.0), (46.0, -23.0, 3.0, 19.0, 2.0)),
        ((78.0, 24.0, 3.0), (46.0, -9.0, -3.0, 23.0, 4.0)),
    ),
    "PINKY": (
        ((46.0, 61.0, 32.0), (35.0, -33.0, -22.0, 40.0, 12.0)),
        ((62.0, 40.0, -7.0), (46.0, -31.0, -14.0, 26.0, 8.0)),
        ((77.0, 22.0, 2.0), (46.0, -18.0, -14.0, 34.0, 9.0)),
    ),
}
_PINCHES_OF_FINGER = (0.4, 0.25, 0.2, 0.15)
# Standard deviations: flexions of a finger, abduction, the thumb, flexion and abduction at the
# wrist, degrees. A pinch is a touch: more noise would take the tips apart.
_FLEX_NOISE_DEG, _ABDUCT_NOISE_DEG, _THUMB_NOISE_DEG = (8.0, 8.0, 7.0), 3.0, 7.0
_WRIST_DEG = (16.0, 8.0)
_PINCH_NOISE = 0.4
_FLEX_NAMES = [f"{finger}_{i}_FLEX" for finger in skeleton.FINGERS[:4] for i in (1, 2, 3)]
_THUMB_NAMES = [name for name in template.ANGLE_NAMES if name.startswith("THUMB")]
# Share of end joints that something presses back.
_PRESSED_SHARE = 0.08
# The lowest cosine between the fingers' direction and that to the camera.
_FROM_BEHIND = -0.8


def _uniform(rng, shape, low=0.0, high=1.0):
    return rng.uniform(shape, low, high, dtype=tf.float32)


def _choose(rng, shape, shares):
    """Draws indices into `shares`."""
    edges = np.cumsum(shares)[:-1] / np.sum(shares)
    flat = tf.reshape(_uniform(rng, shape), [-1])
    index = tf.searchsorted(tf.constant(edges, tf.float32), flat, side="right")
    return tf.reshape(index, shape)


def _state_table(states):
    """Returns shares [S] and degrees [S, n]."""
    share, degrees = zip(*states.values(), strict=True)
    return np.array(share, np.float32), np.array(degrees, np.float32)


def _gesture_table():
    """Returns shares [G], states of the four fingers [G, 4] and of the thumb [G]."""
    share, words = zip(*GESTURES.values(), strict=True)
    words = [w.split() for w in words]
    fingers = [[list(FINGER_STATES).index(name) for name in w[:4]] for w in words]
    thumb = [list(THUMB_STATES).index(w[4]) for w in words]
    return np.array(share), np.array(fingers, np.int32), np.array(thumb, np.int32)


def _end_joint_limit_deg(middle_joint_deg):
    return 12.0 + 0.9 * tf.nn.relu(middle_joint_deg)


def _gestures(rng, batch):
    """Draws states of the four fingers [B, 4] and of the thumb [B] that belong together."""
    share, fingers, thumb = _gesture_table()
    gesture = _choose(rng, [batch], share)
    return tf.gather(tf.constant(fingers), gesture), tf.gather(tf.constant(thumb), gesture)


def _hand_shapes(rng, batch, gesture_share):
    """Draws flexions [B, 4, 3] and the thumb [B, 5], degrees."""
    finger_share, finger_deg = _state_table(FINGER_STATES)
    thumb_share, thumb_deg = _state_table(THUMB_STATES)
    fingers = tf.unstack(_choose(rng, [batch, 4], finger_share), axis=1)
    follows = _uniform(rng, [batch, 3]) < _FOLLOW_SHARE
    for i in range(1, 4):
        fingers[i] = tf.where(follows[:, i - 1], fingers[i - 1], fingers[i])
    fingers, thumb = tf.stack(fingers, axis=1), _choose(rng, [batch], thumb_share)
    of_gesture, thumb_of_gesture = _gestures(rng, batch)
    family = _uniform(rng, [batch, 1])
    is_gesture = family < gesture_share
    is_uniform = (family > 1.0 - _UNIFORM_SHARE) & ~is_gesture
    fingers = tf.where(is_gesture, of_gesture, fingers)
    thumb = tf.where(is_gesture[:, 0], thumb_of_gesture, thumb)
    low, high = np.array([template.ANGLES[n] for n in _FLEX_NAMES + _THUMB_NAMES], np.float32).T
    uniform = low + (high - low) * _uniform(rng, [batch, len(low)])
    flex = tf.where(
        is_uniform[..., None],
        tf.reshape(uniform[:, :12], [batch, 4, 3]),
        tf.gather(tf.constant(finger_deg), fingers),
    )
    return flex, tf.where(is_uniform, uniform[:, 12:], tf.gather(tf.constant(thumb_deg), thumb))


def _hands_in_motion(rng, batch, gesture_share):
    """Draws flexions [B, 4, 3] and the thumb [B, 5] on the way between two hand shapes, degrees."""
    flex, thumb = _hand_shapes(rng, 2 * batch, gesture_share)
    # Half of the poses are hand shapes, the others lie between two; no finger is quite in step.
    way = tf.nn.relu(_uniform(rng, [batch, 1], -0.5, 0.5))
    way = tf.where(way > 0, way + _uniform(rng, [batch, 5], -0.15, 0.15), way)
    flex = flex[:batch] + (flex[batch:] - flex[:batch]) * way[:, :4, None]
    thumb = thumb[:batch] + (thumb[batch:] - thumb[:batch]) * way[:, 4:]
    # flex[b,f,i] = enslaving[f,g] flex[b,g,i]
    return tf.einsum("fg,bgi->bfi", tf.constant(_ENSLAVING), flex), thumb


def _abduction(rng, batch, knuckle_deg):
    """Draws the fingers' abduction from their flexion at the knuckle, degrees [B, 4] both."""
    closed, widest = tf.constant(_CLOSED_GAP_DEG), tf.constant(_OPEN_GAP_DEG)
    # Below 0 fingers converge or cross.
    amount = 0.6 * _uniform(rng, [batch, 1], -0.4, 1.0) + 0.4 * _uniform(rng, [batch, 3], -0.3, 1.0)
    bent = tf.clip_by_value(knuckle_deg / 90.0, 0.0, 1.0)
    # The collateral ligaments hold a bent knuckle: it can hardly spread.
    loose = 1.0 - 0.9 * tf.maximum(bent[:, 1:], bent[:, :-1])
    gap = closed + (widest - closed) * amount * tf.where(amount > 0, loose, 1.0)
    middle = _SWAY_DEG * rng.normal([batch])
    directions = tf.stack(
        [middle + gap[:, 0], middle, middle - gap[:, 1], middle - gap[:, 1] - gap[:, 2]], axis=1
    )
    bones = [template.BONES[template.BONE_INDEX[f"{f}_1"]] for f in skeleton.FINGERS[:4]]
    rest = np.degrees([np.arctan2(*bone.direction[:2]) for bone in bones])
    # Abduction turns about the palm's normal: the more a finger bends, the less it moves sideways.
    level = tf.maximum(tf.cos(0.5 * np.pi * bent), 0.5)
    return directions / level - rest * level


def _pinch(rng, batch):
    """Draws pinches: closeness [B, 1], which finger [B, 4], its flexions [B, 3], thumb [B, 5]."""
    kinds = [kind for f in skeleton.FINGERS[:4] for kind in _PINCH_DEG[f]]
    flex, thumb = (tf.constant([kind[i] for kind in kinds]) for i in (0, 1))
    per_finger = len(kinds) // 4
    kind = _choose(rng, [batch], np.repeat(_PINCHES_OF_FINGER, per_finger))
    # Two in three touch, the others are on their way.
    closeness = tf.minimum(_uniform(rng, [batch, 1], 0.3, 2.4), 1.0)
    closeness *= tf.cast(_uniform(rng, [batch, 1]) < _PINCH_SHARE, tf.float32)
    finger = tf.one_hot(kind // per_finger, 4)
    return closeness, finger, tf.gather(flex, kind), tf.gather(thumb, kind)


def _candidate(rng, batch, gesture_share):
    flex, thumb = _hands_in_motion(rng, batch, gesture_share)
    closeness, touches, pinch_flex, pinch_thumb = _pinch(rng, batch)
    touches *= closeness
    flex += touches[..., None] * (pinch_flex[:, None] - flex)
    thumb += closeness * (pinch_thumb - thumb)
    abduct = _abduction(rng, batch, flex[..., 0]) * (1.0 - touches)
    noise = rng.normal([batch, 21]) * (1.0 + (_PINCH_NOISE - 1.0) * closeness)
    flex += tf.reshape(noise[:, :12], [batch, 4, 3]) * tf.constant(_FLEX_NOISE_DEG)
    abduct += _ABDUCT_NOISE_DEG * noise[:, 12:16]
    thumb += _THUMB_NOISE_DEG * noise[:, 16:]
    knuckle, middle_joint, end_joint = tf.unstack(flex, axis=-1)
    # The end joint cannot bend far before the middle joint does, except back, when pressed.
    end_joint = tf.minimum(end_joint, _end_joint_limit_deg(middle_joint))
    is_pressed = (_uniform(rng, [batch, 4]) < _PRESSED_SHARE) & (touches < 0.5)
    end_joint = tf.where(is_pressed, _uniform(rng, [batch, 4], -25.0, 5.0), end_joint)
    fingers = tf.stack([knuckle, abduct, middle_joint, end_joint], axis=-1)
    wrist = rng.normal([batch, 2]) * tf.constant(_WRIST_DEG)
    angles = tf.concat([tf.reshape(fingers, [batch, 16]), thumb, wrist], axis=1) * (np.pi / 180.0)
    low, high = template.ANGLE_RANGES_RAD[:, 0], template.ANGLE_RANGES_RAD[:, 1]
    return tf.clip_by_value(angles, low, high)


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


def sample_angles(rng, batch, candidates=3, gesture_share=GESTURE_SHARE):
    """Draws joint angles.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of poses B, int or scalar tensor.
        candidates: Poses drawn for each one returned, the one that collides least.
        gesture_share: Share of `GESTURES` among the hand shapes.

    Returns:
        float32 [B, 23], radians, each within `template.ANGLE_RANGES_RAD`.
    """
    angles = _candidate(rng, batch * candidates, gesture_share)
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


def sample_rotation(rng, batch, upright_share=0.6, tilt_deg=50.0):
    """Draws the rotation from the hand frame to the camera's axes.

    The direction to the camera is uniform over the sphere, less a cone of 37 degrees around the
    forearm, where a camera would see little but an arm; one on the person's head is outside of
    it. The turn in the image plane is normal around fingers-up for a share of the samples and
    uniform for the rest.

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
    y = _uniform(rng, [batch], _FROM_BEHIND, 1.0)
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
