"""The z-buffer against a loop over points."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.synthesis import depth


def loop_nearest(depth_mm, pixel, valid, num_pixels, empty):
    image = np.full((len(depth_mm), num_pixels), np.inf)
    for b in range(len(depth_mm)):
        for z, p, ok in zip(depth_mm[b], pixel[b], valid[b], strict=True):
            if ok:
                image[b, p] = min(image[b, p], z)
    return np.where(np.isinf(image), empty, image).astype(np.float32)


def test_nearest_depth_agrees_with_a_loop(rng):
    depth_mm = rng.normal(0, 50, (3, 400)).astype(np.float32)
    pixel = rng.integers(0, 60, (3, 400)).astype(np.int32)
    valid = rng.random((3, 400)) < 0.4
    nearest = depth.nearest_depth(tf.constant(depth_mm), pixel, valid, 60, 150.0)
    np.testing.assert_array_equal(nearest, loop_nearest(depth_mm, pixel, valid, 60, 150.0))


def test_without_points_everything_is_empty():
    nearest = depth.nearest_depth(
        tf.zeros([2, 5]), tf.zeros([2, 5], tf.int32), tf.zeros([2, 5], tf.bool), 9, 0.0
    )
    np.testing.assert_array_equal(nearest, np.zeros((2, 9)))


@pytest.mark.parametrize("size", [1, 16, 64])
def test_point_on_the_ray_of_a_pixel_lands_in_it(size):
    spec = crop.CropSpec(image_size=size)
    centers = crop.pixel_centers_mm(spec).numpy()
    row, column = size // 3, size // 2
    point = np.array([centers[column], centers[row], -12.5], np.float32)
    image = depth.splat_orthographic(point[None, :, None], spec).numpy()[0]
    assert image[row, column] == -12.5
    image[row, column] = spec.far_mm
    assert (image == spec.far_mm).all()


def test_orthographic_splat_agrees_with_a_loop(rng):
    spec = crop.CropSpec(image_size=16)
    points = rng.uniform(-190, 190, (2, 3, 300)).astype(np.float32)
    image = depth.splat_orthographic(tf.constant(points), spec).numpy()
    expected = np.full((2, 16, 16), 150.0, np.float32)
    for b in range(2):
        for x, y, z in points[b].T:
            u, v = int(np.floor((x + 150) / 18.75)), int(np.floor((y + 150) / 18.75))
            if 0 <= u < 16 and 0 <= v < 16 and -150 <= z < 149.95:
                expected[b, v, u] = min(expected[b, v, u], z)
    np.testing.assert_array_equal(image, expected)


def test_points_just_before_the_far_face_are_background():
    spec = crop.CropSpec(image_size=8)
    points = np.array([[0.0, 0.0, 149.97], [40.0, 0.0, 149.9]], np.float32).T[None]
    mask = crop.foreground_mask(depth.splat_orthographic(points, spec), spec.cube_mm)
    assert np.count_nonzero(mask) == 1


INTRINSICS = np.array([[500.0, 480.0, 10.0, 8.0], [400.0, 410.0, 9.5, 7.0]], np.float32)


def splat_pixels(pixels, closing):
    """Draws points of 700 mm at pixels (u, v), whose integer coordinates are centers, [20, 24]."""
    u, v = np.array(pixels, np.float32).T
    z = np.full(len(u), 700.0, np.float32)
    points = np.stack([(u - 10) * z / 500, (v - 8) * z / 480, z])[None]
    image = depth.splat_perspective(points, INTRINSICS[:1], 20, 24, closing=closing)
    return image.numpy()[0]


@pytest.mark.parametrize("closing", [1, 2, 3])
def test_perspective_splat_closes_gaps_and_widens_nothing(closing):
    every = range(4, 16, closing)
    image = splat_pixels([(u, v) for u in every for v in every], closing)
    last = every[-1] + 1
    assert (image[4:last, 4:last] == 700.0).all()
    image[4:last, 4:last] = 0.0
    assert not image.any()
    # At the image's corner as well.
    assert np.argwhere(splat_pixels([(0, 0)], closing)).tolist() == [[0, 0]]


def test_perspective_splat_agrees_with_a_loop(rng):
    low, high = [-20, -15, -50], [20, 15, 900]
    points = rng.uniform(low, high, (2, 500, 3)).astype(np.float32)
    image = depth.splat_perspective(points.transpose(0, 2, 1), INTRINSICS, 16, 20).numpy()
    expected = np.zeros((2, 16, 20), np.float32)
    for b in range(2):
        fx, fy, cx, cy = INTRINSICS[b]
        for x, y, z in points[b]:
            if z <= 1:
                continue
            u, v = int(np.floor(fx * x / z + cx + 0.5)), int(np.floor(fy * y / z + cy + 0.5))
            if 0 <= u < 20 and 0 <= v < 16 and (expected[b, v, u] == 0 or z < expected[b, v, u]):
                expected[b, v, u] = z
    np.testing.assert_array_equal(image, expected)


def test_points_behind_the_camera_leave_no_trace():
    point = np.array([[0.0, 0.0, -500.0]], np.float32).T[None]
    assert not depth.splat_perspective(point, INTRINSICS[:1], 16, 20).numpy().any()


def test_pinholes_are_closed_and_gaps_are_not():
    image = np.full((1, 9, 9), 150.0, np.float32)
    image[0, 1:8, 1:8] = np.arange(7)  # a slanted surface
    image[0, 3, 3] = 60.0  # the far side shows
    image[0, 5, 5] = 150.0  # the background shows
    gap = image.copy()
    gap[0, 2:7, 4] = 150.0  # between two fingers
    closed = depth.fill_pinholes(tf.constant(image)).numpy()
    assert closed[0, 3, 3] == 3.0 and closed[0, 5, 5] == 5.0
    image[0, 3, 3], image[0, 5, 5] = 3.0, 5.0
    np.testing.assert_array_equal(closed, image)
    np.testing.assert_array_equal(depth.fill_pinholes(tf.constant(gap))[0, 2:7, 4], gap[0, 2:7, 4])


def test_small_pits_and_border_pixels_are_no_pinholes(rng):
    image = rng.uniform(0, 9, (2, 12, 12)).astype(np.float32)
    image[:, 0, 5] = 150.0
    np.testing.assert_array_equal(depth.fill_pinholes(tf.constant(image)), image)


def test_a_pixel_takes_in_points_within_reach_of_its_edges(rng):
    spec = crop.CropSpec(image_size=8, cube_mm=80.0)
    x, y = rng.uniform(-45, 45, (2, 1, 400)).astype(np.float32)
    z = rng.uniform(-30, 30, (1, 400)).astype(np.float32)
    for reach in (-2.0, 0.0, 3.0):
        (u, has_u), (v, has_v) = (depth.strips(t, tf.fill([1, 400], reach), spec) for t in (x, y))
        image = depth.nearest_depth(tf.constant(z), v * 17 + u, has_u & has_v, 17 * 17, 40.0)
        image = depth.nearest_of_strips(tf.reshape(image, [1, 17, 17])).numpy()[0]
        for i in range(8):
            for j in range(8):
                low_x, low_y = 10.0 * j - 40.0 - reach, 10.0 * i - 40.0 - reach
                size = 10.0 + 2.0 * reach
                hit = (low_x < x) & (x < low_x + size) & (low_y < y) & (y < low_y + size)
                assert image[i, j] == z[hit].min(initial=40.0)


@pytest.mark.parametrize("tangent", [0.0, 0.3])
def test_a_surface_hides_what_lies_behind_it_along_the_rays(tangent):
    center_mm = np.float32([[tangent * 600.0, 0.0, 600.0]])
    grid = np.stack(np.meshgrid(np.arange(-60, 60, 2.0), np.arange(-60, 60, 2.0)), -1)
    x, y = grid.reshape(-1, 2).T
    # A half plane 100 mm before a plane; its edge at x = 0 throws a shadow to x z / (z - 100).
    near, far = (np.stack([x, y, np.full_like(x, z)]) for z in (-50.0, 50.0))
    near = near[:, near[0] < 0.0]
    points = np.concatenate([near, far], axis=1).astype(np.float32)[None]
    seen = points + center_mm[..., None]
    cell, inside, corner = depth.ray_cells(seen, center_mm)
    assert inside.numpy().all()
    nearest = depth.nearest_depth(tf.constant(seen[:, 2]), cell, inside, depth.RAY_CELLS**2, 1e9)
    table = depth.occluder_table(nearest)
    hidden = (seen[:, 2] > tf.gather(table, corner, batch_dims=1).numpy() + 12.0)[0]
    assert not hidden[: near.shape[1]].any()
    edge = (tangent * 600.0) * (650.0 / 550.0) - tangent * 600.0
    expected = far[0] < edge
    # Cells of rays are 5 mm.
    wrong = hidden[near.shape[1] :] != expected
    inner = np.abs(y) < 40.0
    # The half plane ends at x = -60.
    inner &= far[0] > -25.0
    assert not wrong[inner & (np.abs(far[0] - edge) > 8.0)].any()
