"""The depth crop against a float64 loop and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import camera, crop, rigid

# Depth passes through one float32 subtraction at about 1000 mm.
MM_TOLERANCE = 2e-4
INTRINSICS = np.array([[140.0, 150.0, 39.5, 29.5]], np.float32)


def crop_by_loop(depth, intrinsics, center, spec, split=1):
    """One reading after the other, in float64."""
    half, size = spec.cube_mm / 2, spec.image_size
    fx, fy, cx, cy = intrinsics.astype(np.float64)
    image = np.full((size, size), half)
    offsets = (np.arange(split) + 0.5) / split - 0.5
    for row, column in np.ndindex(depth.shape):
        d = float(depth[row, column])
        if not np.isfinite(d) or d <= 0 or not -half <= d - center[2] < half - 0.05:
            continue
        for dv, du in np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2):
            x = (column + du - cx) * d / fx - center[0]
            y = (row + dv - cy) * d / fy - center[1]
            i, j = (
                int(np.floor((y + half) / spec.pixel_mm)),
                int(np.floor((x + half) / spec.pixel_mm)),
            )
            if 0 <= i < size and 0 <= j < size:
                image[i, j] = min(image[i, j], d - center[2])
    return image


def bumpy_frame(rng, height=60, width=80):
    """A smooth surface in front of a wall, with spikes."""
    v, u = np.mgrid[:height, :width]
    depth = 700 + 60 * np.sin(u / 9.0) + 40 * np.cos(v / 7.0) + rng.normal(size=u.shape)
    return np.where(u + v > 100, 1500.0, depth).astype(np.float32)


@pytest.mark.parametrize("center", [(0, 0, 700), (-80, 60, 730), (150, -90, 610), (0, 0, 1500)])
def test_matches_a_loop_over_readings(center):
    depth = bumpy_frame(np.random.default_rng(0))
    spec = crop.CropSpec(image_size=12, cube_mm=250.0)
    result = crop.crop_depth(depth[None], INTRINSICS, [center], spec)[0]
    expected = crop_by_loop(depth, INTRINSICS[0], np.array(center, float), spec)
    assert result.dtype == tf.float32
    # A reading on the edge between two pixels may fall to either side in float32.
    assert np.mean(np.abs(result - expected) > MM_TOLERANCE) <= 0.02


def test_pixels_are_split_as_the_loop_splits_them():
    depth = bumpy_frame(np.random.default_rng(0))
    spec = crop.CropSpec(image_size=64, cube_mm=250.0)
    center = np.array([10.0, -20.0, 700.0])
    # (700 + 125) / 140 = 5.9 mm a source pixel against 3.9 mm a crop pixel, times 1.25.
    expected = crop_by_loop(depth, INTRINSICS[0], center, spec, split=2)
    result = crop.crop_depth(depth[None], INTRINSICS, center[None], spec)[0]
    assert np.mean(np.abs(result - expected) > MM_TOLERANCE) <= 0.02


@pytest.mark.parametrize("image_size", [64, 96, 128, 256])
@pytest.mark.parametrize("distance", [600.0, 900.0, 1600.0])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_surface_has_no_pinholes(image_size, distance, slope):
    fx, _, cx, _ = camera.NYU_INTRINSICS
    u = np.arange(640)
    # The plane z = distance + slope x, seen through every column.
    plane = distance / (1 - slope * (u - cx) / fx)
    depth = np.broadcast_to(plane, (480, 640)).astype(np.float32)
    spec = crop.CropSpec(image_size)
    result = crop.crop_depth(
        depth[None], [camera.NYU_INTRINSICS], [[0.0, 0.0, distance]], spec
    ).numpy()[0]
    x = crop.pixel_centers_mm(spec).numpy()
    inside = np.abs(slope * x) < spec.far_mm - 2 * spec.pixel_mm
    assert np.asarray(crop.foreground_mask(result, spec.cube_mm))[2:-2, inside].all()
    # Nearest of the readings in a pixel: half a pixel of slope, and a source pixel's own size.
    allowed = slope * (spec.pixel_mm + (distance + 150) / fx) + MM_TOLERANCE
    np.testing.assert_allclose(
        result[2:-2, inside],
        np.broadcast_to(slope * x[inside], result[2:-2, inside].shape),
        atol=allowed,
    )


def test_pixel_centers_are_half_a_pixel_inside():
    centers = crop.pixel_centers_mm(crop.CropSpec(64, 300.0)).numpy()
    assert centers[0] == pytest.approx(-150 + 300 / 128)
    assert centers[-1] == pytest.approx(150 - 300 / 128)
    np.testing.assert_allclose(centers, -centers[::-1], atol=1e-5)


@pytest.mark.parametrize("row, column", [(0, 0), (3, 7), (31, 32), (63, 63)])
def test_a_reading_at_a_pixel_center_comes_back_where_it_was(row, column):
    """Half pixel right on both sides: `points_from_crop` undoes `crop_depth`."""
    spec = crop.CropSpec()
    center = np.array([[37.0, -21.0, 812.0]])
    x, y = (crop.pixel_centers_mm(spec).numpy()[index] for index in (column, row))
    point = np.array([x, y, 20.0]) + center[0]
    # A camera with its principal point where the point is seen: one reading, exactly there.
    fx = 500.0
    intrinsics = [[fx, fx, 5 - fx * point[0] / point[2], 4 - fx * point[1] / point[2]]]
    depth = np.zeros((1, 9, 11), np.float32)
    depth[0, 4, 5] = point[2]
    result = crop.crop_depth(depth, intrinsics, center, spec)
    mask = np.asarray(crop.foreground_mask(result, spec.cube_mm))
    assert np.argwhere(mask).tolist() == [[0, row, column]]
    recovered = crop.points_from_crop(result, spec)[mask.reshape(1, -1)]
    np.testing.assert_allclose(recovered[0] + center[0], point, atol=MM_TOLERANCE)


def see_ball(center_in_camera, radius, intrinsics, height=480, width=640):
    """Depth image of a ball, by intersecting every pixel's ray with it; 0 beside it."""
    fx, fy, cx, cy = intrinsics
    v, u = np.mgrid[:height, :width].astype(np.float64)
    ray = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)
    # |d ray - center|^2 = radius^2, the smaller root.
    a = np.sum(ray**2, axis=-1)
    b = ray @ center_in_camera
    root = b**2 - a * (np.sum(center_in_camera**2) - radius**2)
    return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0.0).astype(np.float32)


def fit_ball(points):
    """Least squares: |p|^2 = 2 p.c + (r^2 - |c|^2)."""
    design = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(design, np.sum(points**2, axis=1), rcond=None)
    return solution[:3]


def test_crops_with_distant_centers_show_one_ball_in_one_place():
    """Crop, lift, move to the other crop's frame: a ball ends up where it is, in every pair."""
    spec = crop.CropSpec()
    radius, ball = 60.0, np.array([30.0, -20.0, 750.0])
    angle = 0.9
    ref_from_view = np.tile(np.eye(4), (1, 2, 1, 1))
    ref_from_view[0, 1, :3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    ref_from_view[0, 1, :3, 3] = [-650.0, 40.0, 200.0]
    in_camera = [(np.linalg.inv(matrix) @ [*ball, 1])[:3] for matrix in ref_from_view[0]]
    centers = np.stack([in_camera[0] + [45, -30, 20], in_camera[1] + [-50, 25, -35]])
    assert np.linalg.norm(centers[0] - centers[1]) > 150
    depth = np.stack([see_ball(position, radius, camera.NYU_INTRINSICS) for position in in_camera])
    intrinsics = np.tile([camera.NYU_INTRINSICS], (2, 1))
    crops = crop.crop_depth(depth, intrinsics, centers, spec)
    masks = np.asarray(crop.foreground_mask(crops, spec.cube_mm)).reshape(2, -1)
    points = crop.points_from_crop(crops, spec)
    crop_j_from_i = rigid.crop_j_from_crop_i(ref_from_view, centers[None])[0]
    for i, j in np.ndindex(2, 2):
        moved = rigid.apply(crop_j_from_i[i, j], points[i]).numpy()[masks[i]]
        error = fit_ball(moved.astype(np.float64)) - (in_camera[j] - centers[j])
        x, y, z = error @ crop_j_from_i[i, j, :3, :3].numpy()
        # Across the view that saw it; leaving out half a pixel would shift it by 2.3 mm.
        assert max(abs(x), abs(y)) < 0.2
        # Along it: each 4.7 mm pixel keeps its nearest reading, which steepens the rim.
        assert abs(z) < 3.0


def test_no_reading_is_no_surface():
    depth = np.full((5, 40, 40), 700.0, np.float32)
    for frame, value in enumerate([0.0, np.nan, np.inf, -np.inf, -700.0]):
        depth[frame, 10:20, 10:20] = value
    spec = crop.CropSpec(16)
    intrinsics = np.tile([[60.0, 60.0, 19.5, 19.5]], (5, 1))
    # A cube that holds the hole alone: the readings around it fall beside the cube.
    centers = np.tile([[-57.0, -57.0, 700.0]], (5, 1))
    result = crop.crop_depth(depth, intrinsics, centers, crop.CropSpec(16, 90.0)).numpy()
    np.testing.assert_array_equal(result, 45.0)
    result = crop.crop_depth(depth, intrinsics, centers * [0, 0, 1], spec).numpy()
    assert np.isfinite(result).all()
    for frame in range(1, 5):
        np.testing.assert_array_equal(result[frame], result[0])


@pytest.mark.parametrize(
    "center", [(0, 0, 2000), (5000, 0, 700), (0, 0, -700), (np.nan, 0, 700), (0, 0, np.inf)]
)
def test_all_background(center):
    depth = np.full((1, 48, 64), 700.0, np.float32)
    result = crop.crop_depth(depth, INTRINSICS, [center], crop.CropSpec(16)).numpy()
    np.testing.assert_array_equal(result, 150.0)
    assert not np.asarray(crop.foreground_mask(result, 300.0)).any()
    np.testing.assert_array_equal(crop.normalize(result, 300.0), 1.0)


def test_center_close_to_the_camera_covers_the_whole_image():
    depth = np.full((1, 48, 64), 100.0, np.float32)
    result = crop.crop_depth(depth, INTRINSICS, [[0, 0, 50]], crop.CropSpec(8)).numpy()
    assert (result == 50.0).sum() > 0 and np.isfinite(result).all()


def test_near_and_far_face():
    spec = crop.CropSpec(4, 300.0)
    values = [549.0, 550.0, 551.0, 849.9, 849.96, 850.0, 851.0]
    kept = [False, True, True, True, False, False, False]
    for value, expected in zip(values, kept, strict=True):
        depth = np.full((1, 48, 64), value, np.float32)
        result = crop.crop_depth(depth, INTRINSICS, [[0, 0, 700]], spec)
        assert bool(tf.reduce_any(crop.foreground_mask(result, 300.0))) == expected, value


def test_nearest_surface_wins():
    depth = np.zeros((1, 1, 9), np.float32)
    depth[0, 0] = np.linspace(750, 650, 9)
    # A focal length so long that all columns share one ray.
    result = crop.crop_depth(depth, [[1e6, 1e6, 4.0, 0.0]], [[0, 0, 700]], crop.CropSpec(3))[0]
    assert float(result[1, 1]) == pytest.approx(-50.0)


def test_graph_with_unknown_sizes_equals_eager_and_frames_are_independent():
    spec = crop.CropSpec(24)
    signature = [
        tf.TensorSpec([None, None, None]),
        tf.TensorSpec([None, 4]),
        tf.TensorSpec([None, 3]),
    ]
    traced = tf.function(
        lambda *values: crop.crop_depth(*values, spec), input_signature=signature, autograph=False
    )
    rng = np.random.default_rng(3)
    depth = np.stack([bumpy_frame(rng) for _ in range(3)])
    intrinsics = np.tile(INTRINSICS, (3, 1)) * np.array([[1], [1.3], [0.8]], np.float32)
    centers = np.array([[0, 0, 700], [60, -40, 650], [-100, 30, 780]], np.float32)
    result = traced(depth, intrinsics, centers)
    assert traced.get_concrete_function().output_shapes == tf.TensorShape([None, 24, 24])
    np.testing.assert_array_equal(result, crop.crop_depth(depth, intrinsics, centers, spec))
    for index in range(3):
        alone = traced(
            depth[index : index + 1], intrinsics[index : index + 1], centers[index : index + 1]
        )
        np.testing.assert_array_equal(alone[0], result[index])
    assert traced(depth[:0], intrinsics[:0], centers[:0]).shape == (0, 24, 24)


def test_normalize_scales_the_cube_to_one_and_closes_holes():
    depth = np.array([[[-150.0, 0.0], [149.9, 150.0]], [[75.0, np.nan], [149.96, np.inf]]])
    expected = np.array([[[-1.0, 0.0], [149.9 / 150, 1.0]], [[0.5, 1.0], [1.0, 1.0]]])
    result = crop.normalize(depth, 300.0)
    assert result.shape == (2, 2, 2, 1) and result.dtype == tf.float32
    np.testing.assert_allclose(result[..., 0], expected, atol=1e-6)


def test_points_from_crop_runs_row_by_row():
    spec = crop.CropSpec(2, 100.0)
    points = crop.points_from_crop([[[1.0, 2.0], [3.0, 50.0]]], spec)
    expected = [[[-25, -25, 1], [25, -25, 2], [-25, 25, 3], [25, 25, 50]]]
    np.testing.assert_allclose(points, expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 300.0), "image_size must be at least 1, received 0"),
        ((64.5, 300.0), "image_size must be an integer, received 64.5"),
        ((64, 0.0), "cube_mm must be positive and finite, received 0.0"),
        ((64, float("nan")), "cube_mm must be positive and finite, received nan"),
    ],
)
def test_spec_rejects_impossible_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        crop.CropSpec(*arguments)


def test_crop_rejects_a_single_image():
    with pytest.raises(ValueError, match=r"\[batch, height, width\], received \(48, 64\)"):
        crop.crop_depth(np.zeros((48, 64)), INTRINSICS, [[0, 0, 700]], crop.CropSpec())
