"""The 41 spheres and the denser surface: places, radii, and how well they cover the skin."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.hand import pose_sampling, skeleton, spheres, surface, template

# float32 sums of a few hundred mm.
TOLERANCE_MM = 1e-3
# Section 2 of the design: reachable by 41 spheres.
MAX_SKIN_DISTANCE_MM = 1.7


def hand(count, seed=3, scale=1.0):
    rng = tf.random.Generator.from_seed(seed)
    return pose_sampling.sample_angles(rng, count), pose_sampling.sample_shape(rng, count, scale)


def rest(count=1):
    return np.zeros((count, 23), np.float32), np.zeros(
        (count, len(template.SHAPE_NAMES)), np.float32
    )


def hand_skin(count=3000):
    """Points of the skin without the forearm, as features, and which they are."""
    skin = surface.sample_skin(count)
    features = surface.skinning_features(skin)
    arm = skin.blend_weights[:, template.BONE_INDEX["FOREARM"]]
    return features[arm < 0.4]


def mean_skin_distance(features, centers, radii, angles, shape):
    """Mean distance from the skin to the union of the spheres, [B], float64."""
    points = np.transpose(surface.pose_points(tf.constant(features), angles, shape), [0, 2, 1])
    away = np.linalg.norm(points[:, :, None] - np.asarray(centers, float)[:, None], axis=-1)
    return np.abs((away - np.asarray(radii, float)[:, None]).min(axis=2)).mean(axis=1)


def test_rest_pose_returns_the_asset():
    model = spheres.load()
    centers, radii = spheres.pose_spheres(*rest())
    np.testing.assert_allclose(centers[0], model.centers_mm, atol=TOLERANCE_MM)
    np.testing.assert_allclose(radii[0], model.radii_mm, atol=TOLERANCE_MM)


def test_each_sphere_belongs_to_the_bone_of_its_name():
    model = spheres.load()
    for name, bone in zip(skeleton.SPHERE_NAMES, model.bones, strict=True):
        finger, knuckle = name.split("_")[:2]
        expected = "PALM" if finger == "PALM" else f"{finger}_{knuckle[-1]}"
        assert template.BONES[bone].name == expected


def test_spheres_lie_where_their_names_say():
    centers = spheres.load().centers_mm
    for finger in skeleton.FINGERS:
        chain = centers[skeleton.FINGER_SPHERES[finger]]
        along = np.linalg.norm(chain - chain[0], axis=-1)
        assert (np.diff(along) > 5.0).all(), f"{finger} does not read from root to tip"
    assert (
        centers[skeleton.sphere_index("PALM_1"), 0]
        < 0
        < centers[skeleton.sphere_index("PALM_2"), 0]
    )


def test_radii_are_those_of_an_adult():
    radii = spheres.load().radii_mm
    fingers = np.concatenate([skeleton.FINGER_SPHERES[f] for f in skeleton.FINGERS[:4]])
    assert (radii > 4.0).all() and (radii < 24.0).all()
    assert radii[fingers].max() < 15.5
    for finger in skeleton.FINGERS:
        chain = radii[skeleton.FINGER_SPHERES[finger]]
        assert chain[-1] < chain[0], f"{finger} does not taper"


def test_spheres_lie_on_the_skin_at_rest():
    angles, shape = rest()
    centers, radii = spheres.pose_spheres(angles, shape)
    assert mean_skin_distance(hand_skin(), centers, radii, angles, shape) <= MAX_SKIN_DISTANCE_MM


def test_spheres_lie_on_the_skin_in_other_poses_and_shapes():
    angles, shape = hand(12)
    centers, radii = spheres.pose_spheres(angles, shape)
    distance = mean_skin_distance(hand_skin(), centers, radii, angles, shape)
    assert distance.mean() <= MAX_SKIN_DISTANCE_MM
    # Single poses: linear blending thins the skin at sharply bent joints.
    assert distance.max() <= 1.5 * MAX_SKIN_DISTANCE_MM


def test_denser_surface_lies_closer_to_the_skin():
    features = hand_skin()
    angles, shape = hand(4)
    few = spheres.pose_spheres(angles, shape)
    many = spheres.dense_spheres(*few)
    dense = mean_skin_distance(features, *many, angles, shape)
    assert (dense < 0.8 * mean_skin_distance(features, *few, angles, shape)).all()


def test_denser_surface_starts_with_the_41_and_is_linear():
    model = spheres.load()
    np.testing.assert_array_equal(model.dense_weights[:41], np.eye(41, dtype=np.float32))
    np.testing.assert_allclose(model.dense_weights.sum(axis=1), 1.0, atol=1e-6)
    assert (model.dense_weights >= 0).all() and (model.dense_radius_factors > 0.5).all()
    centers, radii = spheres.pose_spheres(*hand(2))
    dense, dense_radii = spheres.dense_spheres(centers, radii)
    np.testing.assert_allclose(dense[:, :41], centers, atol=TOLERANCE_MM)
    moved, _ = spheres.dense_spheres(centers + [10.0, -20.0, 30.0], radii)
    np.testing.assert_allclose(moved, dense + [10.0, -20.0, 30.0], atol=10 * TOLERANCE_MM)
    assert dense_radii.shape == (2, len(model.dense_weights))


def test_denser_surface_takes_any_leading_axes_and_shared_radii():
    centers = tf.zeros([2, 3, 41, 3])
    dense, radii = spheres.dense_spheres(centers, spheres.load().radii_mm)
    count = len(spheres.load().dense_weights)
    assert dense.shape == (2, 3, count, 3) and radii.shape == (count,)


def test_joints_are_picked_by_name():
    centers, _ = spheres.pose_spheres(*hand(2))
    joints = spheres.joints_from_spheres(centers[:, None])
    assert joints.shape == (2, 1, 36, 3)
    tip = skeleton.sphere_index("THUMB_KNU3_A")
    np.testing.assert_array_equal(joints[:, 0, skeleton.joint_index("TH_KNU3_A")], centers[:, tip])


def test_size_scales_everything():
    angles, shape = hand(2, scale=0.0)
    larger = shape.numpy()
    larger[:, template.shape_index("SIZE")] = np.log(1.2)
    centers, radii = spheres.pose_spheres(angles, shape)
    big_centers, big_radii = spheres.pose_spheres(angles, larger)
    # The wrist, the origin, stays; knuckles hang on the palm by offsets that are scaled too.
    np.testing.assert_allclose(big_centers, 1.2 * centers, atol=10 * TOLERANCE_MM)
    np.testing.assert_allclose(big_radii, 1.2 * radii, atol=TOLERANCE_MM)


def test_gradients_are_finite_in_a_graph_and_reach_every_parameter():
    angles, shape = hand(3)

    @tf.function(autograph=False)
    def gradients(angles, shape):
        with tf.GradientTape() as tape:
            tape.watch([angles, shape])
            centers, radii = spheres.dense_spheres(*spheres.pose_spheres(angles, shape))
            weight = tf.sin(tf.range(tf.size(centers), dtype=tf.float32))
            value = tf.reduce_sum(tf.reshape(centers, [-1]) * weight) + tf.reduce_sum(radii)
        return tape.gradient(value, [angles, shape])

    by_angle, by_shape = gradients(angles, shape)
    assert np.isfinite(by_angle).all() and np.isfinite(by_shape).all()
    # The wrist moves the forearm alone, which carries no sphere; its thickness likewise.
    wrist = [template.angle_index(n) for n in ("WRIST_FLEX", "WRIST_ABDUCT")]
    moving = np.setdiff1d(np.arange(23), wrist)
    assert (np.abs(by_angle.numpy()[:, moving]) > 0).all()
    assert (by_angle.numpy()[:, wrist] == 0).all()
    arm = template.shape_index("FOREARM_THICKNESS")
    assert (np.abs(np.delete(by_shape.numpy(), arm, axis=1)) > 0).all()


@pytest.mark.parametrize("count", [1, 5])
def test_graph_with_unknown_batch_equals_eager(count):
    signature = [tf.TensorSpec([None, 23]), tf.TensorSpec([None, len(template.SHAPE_NAMES)])]
    graph = tf.function(spheres.pose_spheres, input_signature=signature, autograph=False)
    angles, shape = hand(count)
    for a, b in zip(graph(angles, shape), spheres.pose_spheres(angles, shape), strict=True):
        assert a.dtype == tf.float32
        np.testing.assert_allclose(a, b, atol=0.01)
