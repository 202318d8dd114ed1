"""Sampled poses, shapes and viewpoints."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.hand import pose_sampling, skeleton, spheres, template

# float32 rotations composed of three.
TOLERANCE = 1e-5


def generator(seed=11):
    return tf.random.Generator.from_seed(seed)


@pytest.fixture(scope="module")
def angles():
    return pose_sampling.sample_angles(generator(), 4000).numpy()


def column(angles, name):
    return np.degrees(angles[:, template.angle_index(name)])


def test_angles_stay_in_their_ranges(angles):
    low, high = template.ANGLE_RANGES_RAD.T
    assert angles.shape == (4000, 23) and angles.dtype == np.float32
    assert (angles >= low).all() and (angles <= high).all()


def test_angles_use_their_ranges(angles):
    low, high = template.ANGLE_RANGES_RAD.T
    reached = np.percentile(angles, 99, axis=0) - np.percentile(angles, 1, axis=0)
    share = reached / (high - low)
    assert (share > 0.6).all(), dict(zip(template.ANGLE_NAMES, share, strict=True))


def test_fingers_move_together_but_not_in_lockstep(angles):
    index, ring = column(angles, "INDEX_2_FLEX"), column(angles, "RING_2_FLEX")
    assert 0.3 < np.corrcoef(index, ring)[0, 1] < 0.95


def test_open_closed_and_pointing_hands_are_all_there(angles):
    flex = np.stack([column(angles, f"{f}_2_FLEX") for f in ("INDEX", "MIDDLE", "RING", "PINKY")])
    assert 0.05 < (flex < 30).all(axis=0).mean() < 0.6, "open hands"
    assert (flex > 70).all(axis=0).mean() > 0.02, "closed hands"
    pointing = (flex[0] < 35) & (flex[1:] > 55).all(axis=0)
    assert pointing.mean() > 0.01, "the index alone"
    horns = (flex[[0, 3]] < 40).all(axis=0) & (flex[1:3] > 55).all(axis=0)
    assert horns.mean() > 0.005, "index and pinky"


def test_pinches_bring_the_thumb_to_a_finger(angles):
    centers, radii = spheres.pose_spheres(
        angles, np.zeros((len(angles), len(template.SHAPE_NAMES)), np.float32)
    )
    thumb = skeleton.sphere_index("THUMB_KNU3_A")
    tips = [skeleton.sphere_index(f"{f}_KNU3_A") for f in skeleton.FINGERS[:4]]
    gap = np.linalg.norm(centers.numpy()[:, tips] - centers.numpy()[:, [thumb]], axis=-1)
    gap -= radii.numpy()[:, tips] + radii.numpy()[:, [thumb]]
    assert (gap.min(axis=1) < 6.0).mean() > 0.03


def test_picking_among_candidates_lessens_collisions():
    one = pose_sampling._overlap_mm(pose_sampling.sample_angles(generator(), 1500, candidates=1))
    three = pose_sampling._overlap_mm(pose_sampling.sample_angles(generator(), 1500))
    assert np.mean(three) < 0.6 * np.mean(one)


def test_shares_sum_to_one_and_gestures_name_states():
    tables = (pose_sampling.FINGER_STATES, pose_sampling.THUMB_STATES, pose_sampling.GESTURES)
    for table in tables:
        np.testing.assert_allclose(sum(row[0] for row in table.values()), 1.0, atol=1e-9)
    for _, states in pose_sampling.GESTURES.values():
        *fingers, thumb = states.split()
        assert len(fingers) == 4 and set(fingers) <= set(pose_sampling.FINGER_STATES)
        assert thumb in pose_sampling.THUMB_STATES


def flexions(angles, joint):
    return np.stack([column(angles, f"{f}_{joint}_FLEX") for f in skeleton.FINGERS[:4]], axis=1)


def test_fingers_bend_at_the_knuckle_alone_and_below_it_alone(angles):
    knuckle, middle = flexions(angles, 1), flexions(angles, 2)
    for rare, text in (
        ((knuckle > 45) & (middle < 20), "table top"),
        ((knuckle < 20) & (middle > 60), "hook"),
    ):
        assert (rare.sum(axis=1) >= 2).mean() > 0.06, text


def test_knuckles_of_neighbors_differ_within_what_their_tendons_let(angles):
    apart = np.abs(np.diff(flexions(angles, 1), axis=1)).max(axis=1)
    assert 50 < np.percentile(apart, 95) < 85


def test_the_index_moves_alone_and_the_ring_finger_does_not(angles):
    middle = flexions(angles, 1)
    index_alone = (middle[:, 0] < 10) & (middle[:, 1] > 60)
    ring_alone = (middle[:, 2] < 10) & (np.minimum(middle[:, 1], middle[:, 3]) > 60)
    assert index_alone.mean() > 0.02 and ring_alone.mean() < 0.2 * index_alone.mean()


def test_enslaving_leaves_fingers_that_move_together():
    rows = np.array(pose_sampling._ENSLAVING)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-9)
    assert (rows >= 0).all() and np.argmin(np.diag(rows)) == 2 and np.argmax(np.diag(rows)) == 0


def test_end_joints_follow_middle_joints_unless_pressed_back(angles):
    middle, end = flexions(angles, 2), flexions(angles, 3)
    assert (end <= 12.0 + 0.9 * np.maximum(middle, 0.0) + 1e-3).all()
    assert (end[middle > 20] < -5).mean() > 0.02


def test_bent_knuckles_hardly_spread(angles):
    # Sideways angle of the proximal bone from one finger to the next, in the palm's plane.
    knuckle, rest = flexions(angles, 1), []
    for finger in skeleton.FINGERS[:4]:
        x, y, _ = template.BONES[template.BONE_INDEX[f"{finger}_1"]].direction
        rest.append(np.degrees(np.arctan2(x, y)))
    direction = np.array(rest) + np.stack(
        [column(angles, f"{f}_1_ABDUCT") for f in skeleton.FINGERS[:4]], axis=1
    )
    sideways = np.degrees(np.arcsin(np.sin(np.radians(direction)) * np.cos(np.radians(knuckle))))
    gap = sideways[:, 0] - sideways[:, 1]
    straight, bent = (knuckle[:, :2] < 20).all(axis=1), (knuckle[:, :2] > 65).all(axis=1)
    assert np.percentile(gap[straight], 95) > 15 and np.percentile(gap[bent], 95) < 12


def test_shapes_have_the_spread_of_adults_and_end_at_two_deviations():
    shape = pose_sampling.sample_shape(generator(), 5000).numpy() / template.SHAPE_STDDEV
    assert np.abs(shape).max() <= 2.0 + 1e-5
    np.testing.assert_allclose(shape.mean(axis=0), 0.0, atol=0.06)
    # A normal cut off at two deviations has a deviation of 0.88.
    np.testing.assert_allclose(shape.std(axis=0), 0.88, atol=0.04)


def test_shape_scale_scales():
    one = pose_sampling.sample_shape(generator(), 10)
    half = pose_sampling.sample_shape(generator(), 10, scale=0.5)
    np.testing.assert_allclose(half, 0.5 * one, rtol=1e-6)


def test_rotations_are_proper():
    rotation = pose_sampling.sample_rotation(generator(), 2000).numpy()
    eye = np.broadcast_to(np.eye(3), rotation.shape)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), eye, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=TOLERANCE)


def test_viewpoints_are_uniform_but_for_the_cone_behind_the_arm():
    rotation = pose_sampling.sample_rotation(generator(), 6000).numpy()
    # Direction from the hand to the camera in the hand frame: minus the camera's z axis.
    sight = -rotation[:, 2]
    assert sight[:, 1].min() >= -0.8 - TOLERANCE
    # Uniform over a sphere: every coordinate is uniform (Archimedes).
    np.testing.assert_allclose(
        np.quantile(sight[:, 1], [0.25, 0.5, 0.75]), [-0.35, 0.1, 0.55], atol=0.04
    )
    np.testing.assert_allclose(sight[:, [0, 2]].mean(axis=0), 0.0, atol=0.04)


def test_most_hands_are_upright_and_all_turns_occur():
    rotation = pose_sampling.sample_rotation(generator(), 6000).numpy()
    side = np.abs(rotation[:, 2, 1]) < 0.7  # fingers not along the line of sight
    fingers = rotation[side][:, :2, 1]
    turn = np.degrees(np.arctan2(fingers[:, 0], -fingers[:, 1]))  # 0: up in the picture
    assert (np.abs(turn) < 60).mean() > 0.55
    histogram = np.histogram(turn, 12, (-180, 180))[0] / len(turn)
    assert histogram.min() > 0.01


def test_upright_share_and_tilt_are_honored():
    rotation = pose_sampling.sample_rotation(generator(), 500, upright_share=1.0, tilt_deg=0.0)
    # Hands seen along the fingers have no up.
    rotation = rotation.numpy()[np.abs(rotation[:, 2, 1]) < 0.97]
    fingers = rotation[:, :2, 1]
    np.testing.assert_allclose(fingers[:, 0], 0.0, atol=1e-3)
    assert (fingers[:, 1] < 1e-3).all()


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("finger", skeleton.FINGERS[:4])
def test_tips_of_a_pinch_touch_without_noise(finger, kind):
    angles = np.zeros((1, 23), np.float32)
    flex, thumb = pose_sampling._PINCH_DEG[finger][kind]
    for i, degrees in enumerate(flex):
        angles[0, template.angle_index(f"{finger}_{i + 1}_FLEX")] = np.radians(degrees)
    names = ("1_FLEX", "1_ABDUCT", "1_TWIST", "2_FLEX", "3_FLEX")
    for name, degrees in zip(names, thumb, strict=True):
        angles[0, template.angle_index(f"THUMB_{name}")] = np.radians(degrees)
    low, high = template.ANGLE_RANGES_RAD.T
    assert (angles >= low).all() and (angles <= high).all()
    centers, radii = (
        v[0].numpy() for v in spheres.pose_spheres(angles, np.zeros((1, len(template.SHAPE_NAMES))))
    )
    i, j = (skeleton.sphere_index(f"{f}_KNU3_A") for f in ("THUMB", finger))
    # The pulp of a finger tip gives way by 2 mm or so.
    assert abs(np.linalg.norm(centers[i] - centers[j]) - radii[i] - radii[j]) < 2.5


@pytest.mark.parametrize(
    "sample",
    [pose_sampling.sample_angles, pose_sampling.sample_shape, pose_sampling.sample_rotation],
)
def test_samples_follow_the_seed_and_take_a_batch_known_at_run_time(sample):
    np.testing.assert_array_equal(sample(generator(5), 7), sample(generator(5), 7))
    assert (sample(generator(5), 7).numpy() != sample(generator(6), 7).numpy()).any()
    graph = tf.function(lambda batch: sample(GRAPH_GENERATOR, batch), autograph=False)
    assert graph(tf.constant(3)).shape[0] == 3


# A graph may not own a generator that is made inside of it.
GRAPH_GENERATOR = tf.random.Generator.from_seed(2)
