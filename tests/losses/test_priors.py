import numpy as np
import pytest
import tensorflow as tf

from tfhand.losses import priors

# Squares of tens of mm in float32, and an epsilon of 1e-6 mm^2 under the root.
RTOL = 1e-4


def chain(lengths):
    """Spheres along x with these gaps, `[1, 1, N, 3]`."""
    x = np.concatenate([[0.0], np.cumsum(lengths)])
    return np.stack([x, 0 * x, 0 * x], axis=-1)[np.newaxis, np.newaxis].astype(np.float32)


def loop_bone_length(spheres, bones, low, high):
    result = np.zeros(len(spheres))
    for b, v, k in np.ndindex(*spheres.shape[:2], len(bones)):
        j, m = bones[k]
        d = np.linalg.norm(spheres[b, v, j] - spheres[b, v, m])
        result[b] += max(d - high[k], 0) ** 2 + max(low[k] - d, 0) ** 2
    return result / (spheres.shape[1] * len(bones))


def loop_collision(spheres, pairs, bound):
    result = np.zeros(len(spheres))
    for b, v, k in np.ndindex(*spheres.shape[:2], len(pairs)):
        j, m = pairs[k]
        result[b] += max(bound[k] - np.linalg.norm(spheres[b, v, j] - spheres[b, v, m]), 0)
    return result / (spheres.shape[1] * len(pairs))


def test_bone_length_closed_form():
    # 10 in [12, 20]: 4; 25 in [12, 20]: 25; 15: 0.
    value = priors.bone_length(
        chain([10.0, 25.0, 15.0]), [[0, 1], [1, 2], [2, 3]], [12.0] * 3, [20.0] * 3
    )
    np.testing.assert_allclose(value, [29.0 / 3], rtol=RTOL)


def test_collision_closed_form():
    # 10 below 12 by 2; 25 not.
    value = priors.collision(chain([10.0, 25.0]), [[0, 1], [1, 2]], [12.0, 12.0])
    np.testing.assert_allclose(value, [1.0], rtol=RTOL)


@pytest.fixture
def problem(rng):
    pairs = np.array([[0, 1], [1, 2], [0, 4], [3, 4]])
    return (
        rng.normal(size=[2, 3, 5, 3]) * 20.0,
        pairs,
        rng.uniform(20, 30, 4),
        rng.uniform(30, 40, 4),
    )


def test_values_match_loops(problem):
    spheres, pairs, low, high = problem
    np.testing.assert_allclose(
        priors.bone_length(spheres, pairs, low, high),
        loop_bone_length(spheres, pairs, low, high),
        rtol=RTOL,
    )
    np.testing.assert_allclose(
        priors.collision(spheres, pairs, high), loop_collision(spheres, pairs, high), rtol=RTOL
    )


def test_gradients_match_finite_differences_of_the_loops(problem, rng):
    spheres, pairs, low, high = problem
    direction = rng.normal(size=spheres.shape)
    tensor, step = tf.constant(spheres, tf.float32), 1e-5
    for term, loop in [
        (
            lambda s: priors.bone_length(s, pairs, low, high),
            lambda s: loop_bone_length(s, pairs, low, high),
        ),
        (lambda s: priors.collision(s, pairs, high), lambda s: loop_collision(s, pairs, high)),
    ]:
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = tf.reduce_sum(term(tensor))
        actual = np.sum(tape.gradient(value, tensor).numpy() * direction)
        numeric = loop(spheres + step * direction) - loop(spheres - step * direction)
        np.testing.assert_allclose(actual, np.sum(numeric) / (2 * step), rtol=1e-3)


def test_gradient_is_finite_where_spheres_coincide():
    # Far from the origin, and in a graph: an epsilon on the difference would be lost here.
    spheres = tf.fill([2, 3, 4, 3], 700.123)

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(spheres)
            bone = priors.bone_length(spheres, [[0, 1], [2, 3]], [10.0] * 2, [20.0] * 2)
            value = bone + priors.collision(spheres, [[0, 2], [1, 3]], [10.0] * 2)
        return tape.gradient(value, spheres)

    assert np.all(np.isfinite(gradients()))


def test_pose_prior_is_the_mean_over_all_views(rng):
    spheres = rng.normal(size=[2, 3, 5, 3]).astype(np.float32)
    value = priors.pose_prior(spheres, lambda s: tf.reduce_sum(tf.square(s), axis=[1, 2]))
    np.testing.assert_allclose(value, np.square(spheres).sum((2, 3)).mean(1), rtol=RTOL)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_every_view_counts_and_samples_are_independent(problem, view):
    spheres, pairs, low, high = problem
    moved = spheres.copy()
    moved[0, view] *= 0.5
    for term in (
        lambda s: priors.bone_length(s, pairs, low, high),
        lambda s: priors.collision(s, pairs, high),
        lambda s: priors.pose_prior(s, lambda x: tf.reduce_sum(tf.square(x), axis=[1, 2])),
    ):
        before, after = term(spheres), term(moved)
        assert abs(before[0] - after[0]) > 1e-3
        assert before[1] == after[1]


def test_unknown_batch_in_a_graph(problem):
    spheres, pairs, low, high = problem

    def terms(s):
        return (
            priors.bone_length(s, pairs, low, high),
            priors.collision(s, pairs, high),
            priors.pose_prior(s, lambda x: tf.reduce_sum(x, axis=[1, 2])),
        )

    graph = tf.function(terms, input_signature=[tf.TensorSpec([None, 3, 5, 3])], autograph=False)
    spheres = tf.constant(spheres, tf.float32)
    for actual, expected in zip(graph(spheres), terms(spheres)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_spheres_without_a_view_axis_are_rejected():
    with pytest.raises(ValueError, match="spheres"):
        priors.collision(np.zeros([3, 5, 3]), [[0, 1]], [1.0])
