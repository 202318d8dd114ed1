import numpy as np
import pytest
import tensorflow as tf

from tfhand.losses import multi_view

# Squares of tens of mm in float32.
TOLERANCE_MM2 = 1e-3


def test_equals_numpy_median(rng):
    spheres = rng.normal(size=[4, 3, 5, 3]) * 20.0
    median = np.median(spheres, axis=1, keepdims=True)
    expected = np.square(spheres - median).sum(-1).mean((1, 2))
    np.testing.assert_allclose(
        multi_view.multi_view_consistency(spheres), expected, rtol=1e-5, atol=TOLERANCE_MM2
    )


@pytest.mark.parametrize("views", [1, 2, 3, 4, 5])
def test_median_for_any_number_of_views(rng, views):
    spheres = rng.normal(size=[2, views, 4, 3]).astype(np.float32)
    np.testing.assert_allclose(
        multi_view.median_over_views(spheres), np.median(spheres, axis=1), rtol=1e-6, atol=1e-6
    )


def test_outlier_does_not_move_the_median():
    # Coordinates 0, 0, 90: the median is 0, a mean would be 30. (0 + 0 + 3 * 90^2) / 3.
    spheres = np.zeros([1, 3, 1, 3])
    spheres[0, 2] = 90.0
    np.testing.assert_allclose(multi_view.multi_view_consistency(spheres), [8100.0])


def test_gradient_draws_each_view_to_the_constant_median(rng):
    spheres = tf.constant(rng.normal(size=[1, 3, 2, 3]) * 20.0, tf.float32)

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(spheres)
            value = multi_view.multi_view_consistency(spheres)
        return tape.gradient(value, spheres)

    median = np.median(spheres, axis=1, keepdims=True)
    expected = 2.0 * (spheres.numpy() - median) / (3 * 2)
    np.testing.assert_allclose(gradient(), expected, rtol=1e-5, atol=1e-5)


def test_agreement_and_a_single_view_cost_nothing(rng):
    spheres = np.tile(rng.normal(size=[2, 1, 5, 3]), [1, 3, 1, 1])
    np.testing.assert_allclose(multi_view.multi_view_consistency(spheres), [0.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(multi_view.multi_view_consistency(spheres[:, :1]), [0.0, 0.0])


@pytest.mark.parametrize("view", [0, 1, 2])
def test_every_view_counts_and_samples_are_independent(rng, view):
    spheres = rng.normal(size=[2, 3, 5, 3]).astype(np.float32) * 20.0
    moved = spheres.copy()
    moved[0, view] += 30.0
    before = multi_view.multi_view_consistency(spheres)
    after = multi_view.multi_view_consistency(moved)
    assert abs(before[0] - after[0]) > 1.0
    assert before[1] == after[1]


def test_order_of_views_does_not_matter(rng):
    spheres = rng.normal(size=[2, 3, 5, 3])
    np.testing.assert_allclose(
        multi_view.multi_view_consistency(spheres),
        multi_view.multi_view_consistency(spheres[:, [2, 0, 1]]),
        rtol=1e-5,
    )


def test_wrong_shapes_are_rejected():
    with pytest.raises(ValueError, match="spheres"):
        multi_view.multi_view_consistency(np.zeros([3, 5, 3]))
