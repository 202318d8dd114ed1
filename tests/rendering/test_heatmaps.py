"""Targets of equation 3: their place, height and extent, and that they integrate to the center."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.rendering import heatmaps

CUBE_MM = 300.0
SIZE = 16
CELL_MM = CUBE_MM / SIZE

# float32 of coordinates up to 150 mm, after an exponential.
VALUE_TOLERANCE = 1e-5
# A Gaussian of one cell, cut at three, sampled at cell centers: its center of mass is off by this
# much at most. Without the half cell it would be off by 9 mm.
CENTER_TOLERANCE_MM = 0.35


def _loop_oracle(spheres_mm, sigma_px):
    """Target heatmaps in float64, cell by cell."""
    num_hands, num_spheres, _ = spheres_mm.shape
    expected = np.zeros((num_hands, SIZE, SIZE, num_spheres))
    for m, row, column, n in np.ndindex(*expected.shape):
        x = (column + 0.5) * CELL_MM - CUBE_MM / 2
        y = (row + 0.5) * CELL_MM - CUBE_MM / 2
        distance = np.hypot(x - spheres_mm[m, n, 0], y - spheres_mm[m, n, 1]) / CELL_MM / sigma_px
        expected[m, row, column, n] = np.exp(-0.5 * distance**2) if distance <= 3 else 0.0
    return expected


@pytest.mark.parametrize("sigma_px", [0.7, 1.0, 2.0])
def test_matches_loop_oracle(rng, sigma_px):
    spheres_mm = rng.uniform(-160, 160, (2, 3, 3)).astype(np.float32)
    actual = heatmaps.target_heatmaps(spheres_mm, SIZE, CUBE_MM, sigma_px)
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, _loop_oracle(spheres_mm, sigma_px), atol=VALUE_TOLERANCE)


def test_center_on_a_cell_is_one_there():
    center = (4.5 * CELL_MM - CUBE_MM / 2, 9.5 * CELL_MM - CUBE_MM / 2, 20.0)
    heatmap = heatmaps.target_heatmaps([[center]], SIZE, CUBE_MM)[0, :, :, 0].numpy()
    assert np.unravel_index(np.argmax(heatmap), heatmap.shape) == (9, 4)
    np.testing.assert_allclose(heatmap[9, 4], 1.0, atol=VALUE_TOLERANCE)
    np.testing.assert_allclose(heatmap[9, 5], np.exp(-0.5), atol=VALUE_TOLERANCE)


def test_center_of_mass_is_the_sphere(rng):
    # Away from the border, where a heatmap is cut off by the crop.
    spheres_mm = rng.uniform(-85, 85, (8, 41, 3)).astype(np.float32)
    heatmap = heatmaps.target_heatmaps(spheres_mm, SIZE, CUBE_MM).numpy()
    cells_mm = (np.arange(SIZE) + 0.5) * CELL_MM - CUBE_MM / 2
    mass = heatmap.sum(axis=(1, 2))
    x = np.einsum("mrcn,c->mn", heatmap, cells_mm) / mass
    y = np.einsum("mrcn,r->mn", heatmap, cells_mm) / mass
    np.testing.assert_allclose(np.stack([x, y], -1), spheres_mm[..., :2], atol=CENTER_TOLERANCE_MM)


def test_sphere_far_outside_the_crop_has_no_target():
    heatmap = heatmaps.target_heatmaps([[[400.0, 0.0, 0.0]]], SIZE, CUBE_MM)
    np.testing.assert_array_equal(heatmap, 0.0)


def test_graph_with_unknown_batch_equals_eager(rng):
    spheres_mm = tf.constant(rng.uniform(-150, 150, (3, 5, 3)), tf.float32)
    graph = tf.function(
        lambda x: heatmaps.target_heatmaps(x, SIZE, CUBE_MM),
        input_signature=[tf.TensorSpec([None, 5, 3], tf.float32)],
        autograph=False,
    )
    np.testing.assert_allclose(
        graph(spheres_mm), heatmaps.target_heatmaps(spheres_mm, SIZE, CUBE_MM), atol=VALUE_TOLERANCE
    )
