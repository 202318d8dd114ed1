"""Forward kinematics against a slow float64 oracle that knows nothing of TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.hand import kinematics, template

# float32 against float64 over chains of four rotations of points up to 350 mm away.
TOLERANCE_MM = 2e-3
# The same for entries of matrices of order 1.
TOLERANCE = 2e-5

NUM_ANGLES, NUM_SHAPES = len(template.ANGLE_NAMES), len(template.SHAPE_NAMES)


def random_hands(rng, count):
    low, high = template.ANGLE_RANGES_RAD.T
    angles = rng.uniform(low, high, (count, NUM_ANGLES)).astype(np.float32)
    shape = (rng.normal(size=(count, NUM_SHAPES)) * template.SHAPE_STDDEV).astype(np.float32)
    return angles, shape


def _rotation(axis, angle):
    """Rodrigues' formula, float64."""
    axis = axis / np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def _factors(name, shape):
    """Factors along x, y, z of one bone, from the meaning of the shape parameters."""
    value = dict(zip(template.SHAPE_NAMES, shape, strict=True))
    if name == "PALM":
        logs = [value["PALM_WIDTH"], value["PALM_LENGTH"], value["PALM_THICKNESS"]]
    elif name == "FOREARM":
        logs = [value["FOREARM_THICKNESS"], 0.0, value["FOREARM_THICKNESS"]]
    else:
        finger, number = name.split("_")
        along = value[f"{finger}_LENGTH"] + value[f"{name}_LENGTH"]
        along += 0.0 if finger == "THUMB" else value[f"BONE_{number}_LENGTH"]
        across = value["FINGER_THICKNESS"]
        across += value["THUMB_THICKNESS"] if finger == "THUMB" else 0.0
        logs = [across, along, across]
    return np.exp(np.array(logs) + value["SIZE"])


def _place(name, shape):
    """Factors along x, y, z of a joint's place in the palm before the palm's own."""
    value = dict(zip(template.SHAPE_NAMES, shape, strict=True))
    if name == "THUMB_1":
        return np.exp([value["THUMB_BASE_ACROSS"], value["THUMB_BASE_ALONG"], 0.0])
    if name in ("INDEX_1", "RING_1", "PINKY_1"):
        return np.exp([0.0, value[f"{name[:-2]}_METACARPAL_LENGTH"], 0.0])
    return np.ones(3)


def _turn(name, angles, x, y, z):
    """Turn of a bone about its joint in the hand frame at rest, about its axes x, y, z."""
    value = dict(zip(template.ANGLE_NAMES, angles, strict=True))
    if name == "FOREARM":
        return _rotation(z, value["WRIST_ABDUCT"]) @ _rotation(x, value["WRIST_FLEX"])
    turn = _rotation(z, -value.get(f"{name}_ABDUCT", 0.0)) @ _rotation(x, value[f"{name}_FLEX"])
    return turn @ _rotation(y, value.get(f"{name}_TWIST", 0.0))


def oracle(angles, shape):
    """Affine motion (matrix, offset) of every bone of one hand, by name, float64."""
    motions = {}
    for bone in template.BONES:
        y = np.array(bone.direction, float) / np.linalg.norm(bone.direction)
        z = np.array(bone.palmar, float) - np.dot(bone.palmar, y) * y
        z /= np.linalg.norm(z)
        axes = np.stack([np.cross(y, z), y, z], axis=1)
        if bone.parent is None:
            origin, turn, posed = np.array(bone.origin_mm, float), np.eye(3), np.zeros(3)
        else:
            parent = motions[bone.parent]
            origin = bone.origin_mm
            if origin is None:
                origin = parent["origin"] + parent["axes"][:, 1] * parent["length"]
            origin = np.array(origin, float)
            # The joint is a material point of the parent, but for its person's own place.
            place = _place(bone.name, shape) * (origin - parent["origin"]) + parent["origin"]
            posed = parent["matrix"] @ place + parent["offset"]
            turn = parent["turn"] @ _turn(bone.name, angles, *axes.T)
        matrix = turn @ axes @ np.diag(_factors(bone.name, shape)) @ axes.T
        motions[bone.name] = {
            "origin": origin,
            "axes": axes,
            "length": bone.length_mm,
            "turn": turn,
            "matrix": matrix,
            "offset": posed - matrix @ origin,
        }
    return motions


def test_bones_move_as_the_oracle_says(rng):
    angles, shape = random_hands(rng, 6)
    motion = kinematics.bone_motion(angles, shape)
    for b in range(6):
        expected = oracle(angles[b].astype(float), shape[b].astype(float))
        for k, bone in enumerate(template.BONES):
            want = expected[bone.name]
            np.testing.assert_allclose(motion.matrices[b, k], want["matrix"], atol=TOLERANCE)
            np.testing.assert_allclose(motion.offsets_mm[b, k], want["offset"], atol=TOLERANCE_MM)


def test_rest_pose_is_the_identity():
    motion = kinematics.bone_motion(np.zeros((2, NUM_ANGLES)), np.zeros((2, NUM_SHAPES)))
    eye = np.broadcast_to(np.eye(3), motion.matrices.shape)
    np.testing.assert_allclose(motion.matrices, eye, atol=TOLERANCE)
    np.testing.assert_allclose(motion.offsets_mm, 0.0, atol=TOLERANCE_MM)
    np.testing.assert_allclose(motion.thickness, 1.0, atol=TOLERANCE)


def test_rest_axes_are_right_handed_and_bones_chain():
    rest = kinematics.rest_pose()
    for k, bone in enumerate(template.BONES):
        np.testing.assert_allclose(rest.axes[k].T @ rest.axes[k], np.eye(3), atol=TOLERANCE)
        assert np.linalg.det(rest.axes[k]) > 0.99
        assert rest.parents[k] < k, "parents come before their children"
        if bone.origin_mm is None:
            p = rest.parents[k]
            end = rest.origins_mm[p] + rest.axes[p][:, 1] * rest.lengths_mm[p]
            np.testing.assert_allclose(rest.origins_mm[k], end, atol=TOLERANCE_MM)


@pytest.mark.parametrize("finger", ["INDEX", "RING", "THUMB"])
def test_bone_lengths_scale_as_the_shape_says(rng, finger):
    angles, _ = random_hands(rng, 1)
    shape = np.zeros((1, NUM_SHAPES), np.float32)
    for name, value in (("SIZE", 0.1), (f"{finger}_LENGTH", -0.2), (f"{finger}_2_LENGTH", 0.3)):
        shape[0, template.shape_index(name)] = value
    motion = kinematics.bone_motion(angles, shape)
    rest = kinematics.rest_pose()
    for number, log_factor in ((1, -0.1), (2, 0.2), (3, -0.1)):
        k = template.BONE_INDEX[f"{finger}_{number}"]
        ends = np.stack(
            [rest.origins_mm[k], rest.origins_mm[k] + rest.axes[k][:, 1] * rest.lengths_mm[k]]
        )
        moved = ends @ motion.matrices[0, k].numpy().T + motion.offsets_mm[0, k].numpy()
        length = np.linalg.norm(moved[1] - moved[0])
        expected = rest.lengths_mm[k] * np.exp(log_factor)
        np.testing.assert_allclose(length, expected, atol=TOLERANCE_MM)


def test_flexion_bends_fingers_towards_the_palm():
    for finger in ("INDEX", "MIDDLE", "RING", "PINKY"):
        angles = np.zeros((1, NUM_ANGLES), np.float32)
        angles[0, template.angle_index(f"{finger}_1_FLEX")] = np.radians(90.0)
        motion = kinematics.bone_motion(angles, np.zeros((1, NUM_SHAPES)))
        rest, k = kinematics.rest_pose(), template.BONE_INDEX[f"{finger}_1"]
        along = motion.matrices[0, k].numpy() @ rest.axes[k][:, 1]
        np.testing.assert_allclose(along, [0.0, 0.0, 1.0], atol=TOLERANCE)


def test_abduction_moves_fingers_to_the_side_of_the_thumb():
    rest = kinematics.rest_pose()
    for finger in ("INDEX", "MIDDLE", "RING", "PINKY"):
        angles = np.zeros((1, NUM_ANGLES), np.float32)
        angles[0, template.angle_index(f"{finger}_1_ABDUCT")] = 0.2
        motion = kinematics.bone_motion(angles, np.zeros((1, NUM_SHAPES)))
        k = template.BONE_INDEX[f"{finger}_1"]
        along = motion.matrices[0, k].numpy() @ rest.axes[k][:, 1]
        assert along[0] > rest.axes[k][0, 1] + 0.15


def test_wrist_flexion_closes_the_angle_between_palm_and_forearm():
    rest, k = kinematics.rest_pose(), template.BONE_INDEX["FOREARM"]
    angles = np.zeros((1, NUM_ANGLES), np.float32)
    angles[0, template.angle_index("WRIST_FLEX")] = 0.3
    motion = kinematics.bone_motion(angles, np.zeros((1, NUM_SHAPES)))
    along = motion.matrices[0, k].numpy() @ rest.axes[k][:, 1]
    np.testing.assert_allclose(along, [0.0, -np.cos(0.3), np.sin(0.3)], atol=TOLERANCE)


def test_gradients_agree_with_differences_in_a_graph(rng):
    angles, shape = random_hands(rng, 2)
    weight = rng.normal(size=(2, len(template.BONES), 3)).astype(np.float32)

    @tf.function(autograph=False)
    def value_and_gradients(angles, shape):
        with tf.GradientTape() as tape:
            tape.watch([angles, shape])
            motion = kinematics.bone_motion(angles, shape)
            # A point 20 mm off each bone's joint, so that matrices count too.
            points = tf.reduce_sum(20.0 * motion.matrices, axis=-1) + motion.offsets_mm
            value = tf.reduce_sum(weight * points, axis=[1, 2])
        return value, tape.gradient(value, [angles, shape])

    def oracle_value(angles, shape, b):
        motions = oracle(angles, shape)
        points = [m["matrix"].sum(axis=1) * 20.0 + m["offset"] for m in motions.values()]
        return float((weight[b] * np.array(points)).sum())

    _, (by_angle, by_shape) = value_and_gradients(tf.constant(angles), tf.constant(shape))
    assert np.isfinite(by_angle).all() and np.isfinite(by_shape).all()
    a, s, step = angles[0].astype(float), shape[0].astype(float), 1e-5
    for i in range(NUM_ANGLES):
        e = step * np.eye(NUM_ANGLES)[i]
        slope = (oracle_value(a + e, s, 0) - oracle_value(a - e, s, 0)) / (2 * step)
        # Sums of terms of some 300 mm in float32.
        np.testing.assert_allclose(by_angle[0, i], slope, rtol=1e-3, atol=0.02)
    for i in range(NUM_SHAPES):
        e = step * np.eye(NUM_SHAPES)[i]
        slope = (oracle_value(a, s + e, 0) - oracle_value(a, s - e, 0)) / (2 * step)
        np.testing.assert_allclose(by_shape[0, i], slope, rtol=1e-3, atol=0.02)


def test_samples_do_not_see_each_other(rng):
    angles, shape = random_hands(rng, 3)
    before = kinematics.bone_motion(angles, shape)
    angles[0], shape[0] = 0.1, 0.05
    after = kinematics.bone_motion(angles, shape)
    np.testing.assert_array_equal(before.offsets_mm[1:], after.offsets_mm[1:])
    assert np.abs(before.offsets_mm[0] - after.offsets_mm[0]).max() > 1.0


@pytest.mark.parametrize(
    ("angles", "shape", "message"),
    [
        ((2, 22), (2, NUM_SHAPES), r"angles of shape \[B, 23\]"),
        ((23,), (2, NUM_SHAPES), r"angles of shape \[B, 23\]"),
        ((2, 23), (2, NUM_SHAPES + 1), rf"shape of shape \[B, {NUM_SHAPES}\]"),
    ],
)
def test_wrong_sizes_are_refused(angles, shape, message):
    with pytest.raises(ValueError, match=message):
        kinematics.bone_motion(np.zeros(angles, np.float32), np.zeros(shape, np.float32))
