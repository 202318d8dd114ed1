"""Point to surface distances against a float64 loop, closed forms and gradient promises."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.rendering import distance

# Coordinates of 150 mm in float32, and the search sorts to 1.2e-4 mm.
DISTANCE_TOLERANCE_MM = 5e-4
GRADIENT_TOLERANCE = 1e-3

# Surfaces as near as this to a tie may win in float32 and lose in float64.
TIE_MM = 1e-3


def loop_distance(points, centers, radii, upstream=None):
    """Equations 10 and 11 in float64: distance, and gradients of sum(upstream * distance)."""
    result = np.zeros(points.shape[:2])
    gradients = np.zeros_like(points), np.zeros_like(centers), np.zeros_like(radii)
    for b in range(len(points)):
        for k, p in enumerate(points[b]):
            lengths = np.array([np.linalg.norm(p - c) for c in centers[b]])
            j = np.argmin(np.abs(lengths - radii[b]))
            result[b, k] = abs(lengths[j] - radii[b, j])
            if upstream is not None:
                side = upstream[b, k] * np.sign(lengths[j] - radii[b, j])
                direction = (p - centers[b, j]) / lengths[j]
                gradients[0][b, k] += side * direction
                gradients[1][b, j] -= side * direction
                gradients[2][b, j] -= side
    return result, gradients


def near_tie(points, centers, radii):
    lengths = np.linalg.norm(points[:, :, None] - centers[:, None], axis=-1)
    ordered = np.sort(np.abs(lengths - radii[:, None]), axis=-1)
    ordered = np.concatenate([ordered, np.full_like(ordered[..., :1], np.inf)], axis=-1)
    return ordered[..., 1] - ordered[..., 0] < TIE_MM


def random_problem(rng, batch, count, num_points):
    points = rng.normal(size=[batch, num_points, 3]) * 60.0
    centers = rng.normal(size=[batch, count, 3]) * 40.0
    radii = rng.uniform(6.0, 20.0, size=[batch, count])
    return [x.astype(np.float32).astype(float) for x in (points, centers, radii)]


# 41 and 160 as in use; counts that are no multiple of the spheres of a pass; more than 8 bits.
@pytest.mark.parametrize("count", [1, 2, 5, 41, 300])
def test_values_match_loop(rng, count):
    problem = random_problem(rng, 2, count, 50)
    actual = distance.nearest_surface_distance(*problem)
    np.testing.assert_allclose(actual, loop_distance(*problem)[0], atol=DISTANCE_TOLERANCE_MM)
    assert actual.dtype == tf.float32


@pytest.mark.parametrize("count", [1, 6, 41, 160])
def test_gradients_match_loop(rng, count):
    problem = random_problem(rng, 2, count, 60)
    upstream = rng.normal(size=[2, 60])
    upstream[near_tie(*problem)] = 0.0
    tensors = [tf.constant(x, tf.float32) for x in problem]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = tf.reduce_sum(
            distance.nearest_surface_distance(*tensors) * tf.constant(upstream, tf.float32)
        )
    for actual, expected in zip(
        tape.gradient(value, tensors), loop_distance(*problem, upstream)[1]
    ):
        np.testing.assert_allclose(actual, expected, atol=GRADIENT_TOLERANCE)


def test_points_inside_and_outside_one_sphere():
    points = [[[30.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 0.0]]]
    actual = distance.nearest_surface_distance(points, [[[0.0, 0.0, 0.0]]], [20.0])
    np.testing.assert_allclose(actual, [[10.0, 10.0, 0.0, 20.0]], atol=1e-3)


def test_gradient_is_finite_at_the_center_and_on_the_surface():
    points = tf.constant([[[0.0, 0.0, 0.0], [20.0, 0.0, 0.0]]])
    c, r = tf.zeros([1, 1, 3]), tf.constant([20.0])

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([points, c, r])
            value = tf.reduce_sum(distance.nearest_surface_distance(points, c, r))
        return tape.gradient(value, [points, c, r])

    for gradient in gradients():
        assert np.all(np.isfinite(gradient)) and np.abs(gradient).max() <= 1.0


def test_rigid_motion_does_not_change_distances(rng):
    points, centers, radii = random_problem(rng, 1, 10, 40)
    rotation, _ = np.linalg.qr(rng.normal(size=[3, 3]))
    shift = np.array([5.0, -8.0, 3.0])
    np.testing.assert_allclose(
        distance.nearest_surface_distance(
            points @ rotation + shift, centers @ rotation + shift, radii
        ),
        distance.nearest_surface_distance(points, centers, radii),
        atol=DISTANCE_TOLERANCE_MM,
    )


def test_far_points_are_exact_for_the_sphere_they_get():
    actual = distance.nearest_surface_distance(
        [[[9000.0, 0.0, 0.0]]], np.zeros([1, 3, 3]), [10.0] * 3
    )
    np.testing.assert_allclose(actual, [[8990.0]], rtol=1e-6)


def test_nan_sphere_is_ignored(rng):
    points, centers, radii = random_problem(rng, 1, 6, 20)
    broken = centers.copy()
    broken[0, 2, 1] = np.nan
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(
        distance.nearest_surface_distance(points, broken, radii),
        distance.nearest_surface_distance(points, centers[:, kept], radii[:, kept]),
        atol=DISTANCE_TOLERANCE_MM,
    )


def test_graph_with_unknown_batch_and_points_equals_eager(rng):
    points, centers, radii = (tf.constant(x, tf.float32) for x in random_problem(rng, 3, 6, 20))

    def loss_and_gradient(p, c):
        with tf.GradientTape() as tape:
            tape.watch(c)
            value = tf.reduce_sum(distance.nearest_surface_distance(p, c, radii[0]))
        return value, tape.gradient(value, c)

    graph = tf.function(
        loss_and_gradient,
        input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, 6, 3])],
        autograph=False,
    )
    for batch, count in [(1, 20), (3, 7)]:
        arguments = points[:batch, :count], centers[:batch]
        for actual, expected in zip(graph(*arguments), loss_and_gradient(*arguments)):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


def test_wrong_shapes_are_rejected():
    with pytest.raises(ValueError, match="points"):
        distance.nearest_surface_distance(np.zeros([2, 5]), np.zeros([2, 5, 3]), np.ones(5))
    with pytest.raises(ValueError, match="radii"):
        distance.nearest_surface_distance(np.zeros([2, 5, 3]), np.zeros([2, 5, 3]), np.ones(4))
