"""The pinhole camera in closed form."""

import numpy as np
import tensorflow as tf

from tfhand.geometry import camera

# float32 at about 1000 mm or 600 px, a few operations.
TOLERANCE = 1e-3


def test_known_pixels():
    fx, fy, cx, cy = camera.NYU_INTRINSICS
    points = [[[0.0, 0.0, 700.0], [100.0, -50.0, 500.0]]]
    expected = [[[cx, cy, 700.0], [fx * 0.2 + cx, -fy * 0.1 + cy, 500.0]]]
    uvd = camera.project(points, [camera.NYU_INTRINSICS])
    assert uvd.dtype == tf.float32
    np.testing.assert_allclose(uvd, expected, atol=TOLERANCE)


def test_project_and_unproject_are_inverses():
    rng = np.random.default_rng(0)
    points = rng.uniform([-300, -300, 400], [300, 300, 1500], size=(2, 3, 20, 3))
    intrinsics = rng.uniform([400, 400, 100, 100], [700, 700, 300, 300], size=(2, 3, 4))
    uvd = camera.project(points, intrinsics)
    np.testing.assert_allclose(camera.unproject(uvd, intrinsics), points, atol=TOLERANCE)


def test_a_point_at_the_camera_stays_finite():
    uvd = camera.project([[[10.0, 10.0, 0.0]]], [camera.NYU_INTRINSICS])
    np.testing.assert_allclose(uvd, [[[320.0, 240.0, 0.0]]])


def test_depth_to_points_matches_unproject_pixel_by_pixel():
    rng = np.random.default_rng(1)
    depth = rng.uniform(500, 1500, size=(2, 4, 6)).astype(np.float32)
    depth[0, 1, 2] = 0.0
    depth[1, 3, 5] = np.nan
    intrinsics = rng.uniform([400, 410, 2, 1], [700, 690, 3, 2], size=(2, 4)).astype(np.float32)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None]), tf.TensorSpec([None, 4])],
        autograph=False,
    )
    def traced(depth_mm, values):
        return camera.depth_to_points(depth_mm, values)

    points = traced(depth, intrinsics).numpy()
    for b, row, column in np.ndindex(2, 4, 6):
        fx, fy, cx, cy = intrinsics[b].astype(np.float64)
        d = float(depth[b, row, column])
        expected = [(column - cx) * d / fx, (row - cy) * d / fy, d]
        np.testing.assert_allclose(points[b, row, column], expected, atol=TOLERANCE)
    np.testing.assert_array_equal(points[0, 1, 2], 0)
