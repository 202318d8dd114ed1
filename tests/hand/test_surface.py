"""The skin: a closed mesh, weights that sum to one, blend skinning against a loop."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.hand import kinematics, pose_sampling, surface, template

# float16 weights of the asset are divided by their sum in float32.
TOLERANCE = 1e-6
# float32 sums over 17 bones of a few hundred mm.
TOLERANCE_MM = 5e-3


def hand(count, seed=3):
    rng = tf.random.Generator.from_seed(seed)
    return pose_sampling.sample_angles(rng, count), pose_sampling.sample_shape(rng, count)


def test_mesh_is_closed_and_in_one_piece():
    mesh = surface.load_mesh()
    edges = np.sort(np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all(), "each edge lies in two faces"
    assert len(np.unique(mesh.faces)) == len(mesh.points_mm), "every point is used"
    # Euler: V - E + F = 2 for a sphere; every further piece adds 2, every handle takes 2.
    assert len(mesh.points_mm) - len(count) + len(mesh.faces) == 2
    smallest = np.arange(len(mesh.points_mm))
    for _ in range(200):
        before = smallest.copy()
        for i in range(3):
            np.minimum.at(smallest, mesh.faces[:, i], smallest[mesh.faces].min(axis=1))
        smallest = smallest[smallest]
        if (before == smallest).all():
            break
    assert (smallest == 0).all(), "one piece"


def test_normals_point_out():
    mesh = surface.load_mesh()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    back = mesh.points_mm[:, 2].argmin()
    tip = mesh.points_mm[:, 1].argmax()
    assert mesh.normals[back, 2] < -0.8 and mesh.normals[tip, 1] > 0.8


def test_hand_has_the_size_of_an_adult():
    points = surface.load_mesh().points_mm
    hand_length = points[:, 1].max()
    thumb = [template.BONE_INDEX[f"THUMB_{i}"] for i in (1, 2, 3)]
    knuckles = (np.abs(points[:, 1] - 80) < 8) & (
        surface.load_mesh().blend_weights[:, thumb].sum(axis=1) < 0.3
    )
    breadth = np.ptp(points[knuckles][:, 0])
    # Greiner 1991: men 194 +- 10 mm from the wrist crease to the tip, 90 +- 4 mm at the knuckles.
    assert 175 < hand_length < 210
    assert 76 < breadth < 100


@pytest.mark.parametrize("skin", [surface.load_mesh, lambda: surface.sample_skin(2000)])
def test_blend_weights_are_shares(skin):
    weights = skin().blend_weights
    assert weights.shape[1] == len(template.BONES)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=TOLERANCE)


def test_skin_far_from_joints_belongs_to_one_bone():
    mesh, rest = surface.load_mesh(), kinematics.rest_pose()
    for name in ("INDEX_2", "RING_2", "THUMB_2"):
        k = template.BONE_INDEX[name]
        middle = rest.origins_mm[k] + 0.5 * rest.lengths_mm[k] * rest.axes[k][:, 1]
        near = np.linalg.norm(mesh.points_mm - middle, axis=1).argmin()
        assert mesh.blend_weights[near, k] > 0.95
    elbow = mesh.points_mm[:, 1].argmin()
    assert mesh.blend_weights[elbow, template.BONE_INDEX["FOREARM"]] == 1.0


@pytest.mark.parametrize("count", [500, 9000])
def test_sampled_skin_has_the_wished_number_of_points_without_holes(count):
    skin = surface.sample_skin(count, arm_mm=150.0)
    # Documented: within 2 %, and the last halving may end just outside.
    assert abs(len(skin.points_mm) - count) < 0.03 * count
    assert skin.points_mm[:, 1].min() > -160.0
    mesh = surface.load_mesh()
    on_hand = mesh.points_mm[mesh.points_mm[:, 1] > -140.0][::97]
    gap = np.linalg.norm(on_hand[:, None] - skin.points_mm[None], axis=-1).min(axis=1)
    area_mm2 = 9.3e4  # of the hand and 150 mm of arm, a little more than it measures
    assert gap.max() < 2.5 * np.sqrt(area_mm2 / count)


def test_sampled_skin_is_reproducible():
    a, b = (surface.sample_skin.__wrapped__(300, seed=s) for s in (4, 4))
    np.testing.assert_array_equal(a.points_mm, b.points_mm)
    c = surface.sample_skin.__wrapped__(300, seed=5)
    assert a.points_mm.shape != c.points_mm.shape or (a.points_mm != c.points_mm).any()


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="count >= 1, received 0"):
        surface.sample_skin(0)


def test_skinning_agrees_with_a_loop(rng):
    skin = surface.sample_skin(400)
    angles, shape = hand(2)
    features = tf.constant(surface.skinning_features(skin))
    posed = surface.pose_points(features, angles, shape)
    motion = kinematics.bone_motion(angles, shape)
    matrices = motion.matrices.numpy().astype(float)
    offsets = motion.offsets_mm.numpy().astype(float)
    for m in rng.choice(len(skin.points_mm), 40, replace=False):
        for b in range(2):
            expected = np.zeros(3)
            for k in range(len(template.BONES)):
                weight = float(skin.blend_weights[m, k])
                expected += weight * (matrices[b, k] @ skin.points_mm[m] + offsets[b, k])
            np.testing.assert_allclose(posed[b, :, m], expected, atol=TOLERANCE_MM)


def test_rest_pose_leaves_the_skin_where_it_is():
    skin = surface.sample_skin(400)
    features = tf.constant(surface.skinning_features(skin))
    posed = surface.pose_points(
        features, np.zeros((1, 23)), np.zeros((1, len(template.SHAPE_NAMES)))
    )
    np.testing.assert_allclose(posed[0].numpy().T, skin.points_mm, atol=TOLERANCE_MM)


def test_rotation_turns_the_posed_hand():
    features = tf.constant(surface.skinning_features(surface.sample_skin(400)))
    angles, shape = hand(3)
    rotation = pose_sampling.sample_rotation(tf.random.Generator.from_seed(1), 3)
    turned = surface.pose_points(features, angles, shape, rotation)
    expected = tf.matmul(rotation, surface.pose_points(features, angles, shape))
    np.testing.assert_allclose(turned, expected, atol=TOLERANCE_MM)


def test_samples_do_not_see_each_other():
    features = tf.constant(surface.skinning_features(surface.sample_skin(200)))
    angles, shape = hand(3)
    before = surface.pose_points(features, angles, shape).numpy()
    other = np.concatenate([np.zeros((1, 23), np.float32), angles[1:]])
    after = surface.pose_points(features, other, shape).numpy()
    np.testing.assert_array_equal(before[1:], after[1:])
    assert (before[0] != after[0]).any()
