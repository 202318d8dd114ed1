"""Rigid motion against float64 oracles."""

import numpy as np
import pytest
import tensorflow as tf

from tests import rotations
from tfhand.geometry import rigid

# float32 at coordinates of about 1000 mm resolves 6e-5 mm; a few operations add up.
MM_TOLERANCE = 2e-3
UNIT_TOLERANCE = 2e-6


def random_transforms(rng, *batch):
    transforms = np.zeros((*batch, 4, 4))
    transforms[..., :3, :3], _ = np.linalg.qr(rng.normal(size=(*batch, 3, 3)))
    transforms[..., 0] *= np.linalg.det(transforms[..., :3, :3])[..., None]
    transforms[..., :3, 3] = rng.uniform(-800, 800, size=(*batch, 3))
    transforms[..., 3, 3] = 1
    return transforms


def exponential(vector):
    """exp(K): the power series at 1/1024 of the vector, squared ten times."""
    x, y, z = np.asarray(vector) / 1024
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + cross @ (np.eye(3) + cross @ (np.eye(3) + cross / 3) / 2)
    return np.linalg.matrix_power(rotation, 1024)


def horn(source, target, weights):
    """Best rotation as the largest eigenvector of Horn's 4 x 4 matrix (a quaternion)."""
    s = (weights[:, None] * source).T @ target
    difference = np.array([s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]])
    matrix = np.empty((4, 4))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = np.trace(s), difference, difference
    matrix[1:, 1:] = s + s.T - np.trace(s) * np.eye(3)
    w, *v = np.linalg.eigh(matrix)[1][:, -1]
    return exponential(2 * np.arccos(w) * np.array(v) / np.linalg.norm(v))


def test_apply_matches_a_loop(rng):
    transforms = random_transforms(rng, 2, 3)
    points = rng.uniform(-200, 200, size=(2, 3, 5, 3))
    expected = np.empty_like(points)
    for index in np.ndindex(2, 3, 5):
        a_from_b = transforms[index[:2]]
        expected[index] = a_from_b[:3, :3] @ points[index] + a_from_b[:3, 3]
    moved = rigid.apply(transforms, points)
    assert moved.dtype == tf.float32
    np.testing.assert_allclose(moved, expected, atol=MM_TOLERANCE)


def test_inverse_and_compose_are_matrix_inverse_and_product(rng):
    a, b = random_transforms(rng, 2, 4)
    np.testing.assert_allclose(rigid.inverse(a), np.linalg.inv(a), atol=MM_TOLERANCE)
    np.testing.assert_allclose(rigid.compose(a, b), a @ b, atol=MM_TOLERANCE)


def test_transform_there_and_back_is_the_identity(rng):
    transform = random_transforms(rng, 6)
    points = rng.uniform(-200, 200, size=(6, 7, 3))
    back = rigid.apply(rigid.inverse(transform), rigid.apply(transform, points))
    np.testing.assert_allclose(back, points, atol=MM_TOLERANCE)


def test_from_rotation_translation_broadcasts_and_keeps_static_shape():
    transform = rigid.from_rotation_translation(np.eye(3), np.ones((2, 5, 3)))
    assert transform.shape == (2, 5, 4, 4)
    np.testing.assert_array_equal(transform[1, 3, 3], [0, 0, 0, 1])
    np.testing.assert_array_equal(transform[1, 3, :3, 3], [1, 1, 1])


def test_rotation_from_axis_angle_matches_the_matrix_exponential(rng):
    vectors = rng.normal(size=(50, 3)) * rng.uniform(1e-6, 2.0, size=(50, 1))
    expected = np.stack([exponential(vector) for vector in vectors])
    np.testing.assert_allclose(
        rigid.rotation_from_axis_angle(vectors), expected, atol=UNIT_TOLERANCE
    )


def test_rotation_from_axis_angle_at_zero_is_exact_with_exact_gradient():
    @tf.function(autograph=False)
    def value_and_jacobian(vector):
        with tf.GradientTape() as tape:
            tape.watch(vector)
            rotation = rigid.rotation_from_axis_angle(vector)
        return rotation, tape.jacobian(rotation, vector)

    rotation, jacobian = value_and_jacobian(tf.zeros([3]))
    # d R_ij / d v_k = -epsilon_ijk, the generators of rotations.
    levi_civita = np.zeros((3, 3, 3))
    for i, j, k in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        levi_civita[i, j, k], levi_civita[j, i, k] = 1, -1
    np.testing.assert_array_equal(rotation, np.eye(3))
    np.testing.assert_allclose(jacobian, -levi_civita, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-8, 1e-5, 1e-3, 0.3, 3.0])
def test_rotation_gradient_matches_differences(rng, scale):
    vector = rng.normal(size=3)
    vector *= scale / np.linalg.norm(vector)
    weights = rng.normal(size=(3, 3))

    @tf.function(autograph=False)
    def gradient(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            total = tf.reduce_sum(
                tf.constant(weights, tf.float32) * rigid.rotation_from_axis_angle(value)
            )
        return tape.gradient(total, value)

    step = 1e-5
    expected = [
        (
            np.sum(weights * exponential(vector + step * axis))
            - np.sum(weights * exponential(vector - step * axis))
        )
        / (2 * step)
        for axis in np.eye(3)
    ]
    # Float32 noise of sin / theta near zero, divided by nothing small.
    np.testing.assert_allclose(gradient(tf.constant(vector, tf.float32)), expected, atol=1e-5)


def test_random_rotation_is_proper_and_uniform():
    rotation = rotations.random_rotation(4000, seed=[1, 2]).numpy()
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    # Uniform: entries have mean 0 and variance 1/3 (standard error 0.01); E[trace] = 0.
    np.testing.assert_allclose(rotation.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(rotation.var(axis=0), 1 / 3, atol=0.04)
    np.testing.assert_array_equal(rotation, rotations.random_rotation(4000, seed=[1, 2]))
    assert not np.array_equal(rotations.random_rotation(3), rotations.random_rotation(3))


def test_kabsch_recovers_a_motion_and_never_mirrors(rng):
    transform = random_transforms(rng, 4)
    source = rng.normal(size=(4, 11, 3)) * 40
    target = rigid.apply(transform, source)
    np.testing.assert_allclose(rigid.kabsch(source, target), transform, atol=MM_TOLERANCE)
    mirrored = source * [-1, 1, 1]
    rotation = rigid.kabsch(source, mirrored)[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)


def test_kabsch_is_the_best_weighted_fit(rng):
    source = rng.normal(size=(9, 3)) * 40
    target = source[:, [1, 2, 0]] + rng.normal(size=(9, 3)) * 10 + 500
    weights = rng.uniform(0.1, 2, size=9)
    source_mean = np.average(source, axis=0, weights=weights)
    target_mean = np.average(target, axis=0, weights=weights)
    rotation = horn(source - source_mean, target - target_mean, weights)
    fitted = rigid.kabsch(source, target, weights)
    np.testing.assert_allclose(fitted[:3, :3], rotation, atol=1e-4)
    np.testing.assert_allclose(fitted[:3, 3], target_mean - rotation @ source_mean, atol=1e-2)


def test_kabsch_ignores_points_of_weight_zero_and_survives_none_left(rng):
    source = rng.normal(size=(2, 6, 3)).astype(np.float32) * 40
    transform = random_transforms(rng, 2)
    target = rigid.apply(transform, source).numpy()
    target[:, 0] = np.nan
    weights = np.ones((2, 6))
    weights[:, 0] = 0
    weights[1] = 0
    fitted = rigid.kabsch(source, target, weights)
    np.testing.assert_allclose(fitted[0], transform[0], atol=MM_TOLERANCE)
    np.testing.assert_allclose(fitted[1], np.eye(4), atol=1e-6)


def test_view_j_from_view_i_indexes_source_then_target(rng):
    ref_from_view = random_transforms(rng, 2, 3)
    result = rigid.view_j_from_view_i(ref_from_view)
    for b, i, j in np.ndindex(2, 3, 3):
        expected = np.linalg.inv(ref_from_view[b, j]) @ ref_from_view[b, i]
        np.testing.assert_allclose(result[b, i, j], expected, atol=MM_TOLERANCE)


def test_crop_frames_with_distant_centers_agree_with_the_camera_frames(rng):
    ref_from_view = random_transforms(rng, 2, 3)
    centers = rng.uniform(-600, 600, size=(2, 3, 3)) + [0, 0, 1200]
    crop_j_from_i = rigid.crop_j_from_crop_i(ref_from_view, centers)
    points = rng.uniform(-150, 150, size=(2, 3, 4, 3))
    for b, i, j in np.ndindex(2, 3, 3):
        view_j_from_i = np.linalg.inv(ref_from_view[b, j]) @ ref_from_view[b, i]
        in_camera_j = (points[b, i] + centers[b, i]) @ view_j_from_i[:3, :3].T
        expected = in_camera_j + view_j_from_i[:3, 3] - centers[b, j]
        moved = rigid.apply(crop_j_from_i[b, i, j], points[b, i])
        np.testing.assert_allclose(moved, expected, atol=MM_TOLERANCE)


def test_ref_from_crop_places_the_crop_origin_at_the_center(rng):
    ref_from_view = random_transforms(rng, 2, 3)
    centers = rng.uniform(-600, 600, size=(2, 3, 3))
    points = rng.uniform(-150, 150, size=(2, 3, 4, 3))
    expected = rigid.apply(ref_from_view, points + centers[:, :, None])
    moved = rigid.apply(rigid.ref_from_crop(ref_from_view, centers), points)
    np.testing.assert_allclose(moved, expected, atol=MM_TOLERANCE)


def test_functions_trace_with_unknown_batch(rng):
    @tf.function(
        input_signature=[tf.TensorSpec([None, 3, 4, 4]), tf.TensorSpec([None, 3, 3])],
        autograph=False,
    )
    def traced(ref_from_view, centers):
        return rigid.crop_j_from_crop_i(ref_from_view, centers)

    ref_from_view = random_transforms(rng, 2, 3).astype(np.float32)
    centers = rng.uniform(-600, 600, size=(2, 3, 3)).astype(np.float32)
    result = traced(ref_from_view, centers)
    assert traced.get_concrete_function().output_shapes == tf.TensorShape([None, 3, 3, 4, 4])
    np.testing.assert_allclose(
        result, rigid.crop_j_from_crop_i(ref_from_view, centers), atol=MM_TOLERANCE
    )
