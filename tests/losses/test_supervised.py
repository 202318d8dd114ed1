import numpy as np
import pytest
import tensorflow as tf

from tfhand.losses import supervised

RTOL = 1e-5  # means of a few dozen float32 numbers


def test_coordinate_l1(rng):
    pred, target = rng.normal(size=[2, 4, 5, 3])
    np.testing.assert_allclose(
        supervised.coordinate_l1(pred, target), np.abs(pred - target).mean((1, 2)), rtol=RTOL
    )


def test_coordinate_l1_leaves_out_masked_points_even_if_nan(rng):
    pred, target = rng.normal(size=[2, 3, 4, 3])
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    target[0, 2:] = np.nan
    pred = tf.constant(pred, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pred)
        value = supervised.coordinate_l1(pred, target, mask)
    error = np.abs(pred - target)
    expected = [error[0, :2].mean(), error[1].mean(), 0.0]
    np.testing.assert_allclose(value, expected, rtol=RTOL)
    gradient = tape.gradient(value, pred).numpy()
    assert np.all(np.isfinite(gradient)) and np.all(gradient[~mask] == 0.0)


def test_heatmap_mse_with_stacks(rng):
    pred, target = rng.normal(size=[2, 3, 2, 4, 4, 5])
    np.testing.assert_allclose(
        supervised.heatmap_mse(pred, target), np.square(pred - target).mean((1, 2, 3, 4)), rtol=RTOL
    )


def test_latent_depth_l1_counts_cells_of_the_heatmap_only(rng):
    pred, heatmaps = rng.normal(size=[3, 4, 4, 2]), np.zeros([3, 4, 4, 2])
    heatmaps[0, 1:3, 1, 0] = 0.5
    heatmaps[1, 0, 0, 1] = 1.0
    depth = rng.normal(size=[3, 2])
    expected = [
        np.abs(pred[0, 1:3, 1, 0] - depth[0, 0]).mean(),
        np.abs(pred[1, 0, 0, 1] - depth[1, 1]),
        0.0,
    ]
    np.testing.assert_allclose(
        supervised.latent_depth_l1(pred, depth, heatmaps), expected, rtol=RTOL
    )


def test_wrong_shapes_are_rejected():
    with pytest.raises(ValueError, match="coordinates"):
        supervised.coordinate_l1(np.zeros([2, 3, 3]), np.zeros([2, 4, 3]))
    with pytest.raises(ValueError, match="heatmaps"):
        supervised.heatmap_mse(np.zeros([2, 4, 4, 3]), np.zeros([2, 4, 4, 2]))
