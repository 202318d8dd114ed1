"""Cameras from points: exact, with noise and outliers, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from data_prep.nyu import calibration, calibration_file
from tests import rotations

# Float64 all the way; distances of a metre.
EXACT_MM = 1e-6


def transform(seed):
    """A camera that looks at the same place from somewhere else, [4, 4] float64."""
    rotation = rotations.random_rotation(1, seed=[seed, 3])[0].numpy().astype(np.float64)
    u, _, vt = np.linalg.svd(rotation)
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = u @ vt, np.random.default_rng(seed).normal(0, 400.0, 3)
    return result


def move(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.fixture
def points():
    """Hands of 36 points in 50 frames, moving about, view 1."""
    rng = np.random.default_rng(1)
    middle = rng.normal([0.0, 0.0, 750.0], 80.0, (50, 1, 3))
    return middle + rng.normal(0.0, 45.0, (50, 36, 3))


def test_exact_points_give_the_exact_transform(points):
    expected = transform(4)
    found, residual, share = calibration.fit_rigid_robustly(
        points.reshape(-1, 3), move(expected, points).reshape(-1, 3)
    )
    np.testing.assert_allclose(found, expected, atol=EXACT_MM)
    assert residual < EXACT_MM
    assert share == 1.0


def test_a_mirror_image_is_no_rotation(points):
    found, _, _ = calibration.fit_rigid_robustly(
        points.reshape(-1, 3), (points * np.array([-1.0, 1.0, 1.0])).reshape(-1, 3)
    )
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0)


def test_noise_outliers_and_unknown_points(points):
    rng, expected = np.random.default_rng(2), transform(5)
    other = move(expected, points) + rng.normal(0.0, 4.0, points.shape)
    other[:15] += rng.normal(0.0, 200.0, (15, 1, 3))
    other[20, :, 1] = np.nan
    source = points.copy()
    source[30:33] = np.inf
    found, residual, share = calibration.fit_rigid_robustly(source, other)
    # 1100 good points with 4 mm of noise pin a transform down to far less than that.
    moved = move(found, points[15:20])
    assert np.abs(moved - move(expected, points[15:20])).max() < 1.5
    assert 4.0 < residual < 9.0
    assert 0.6 < share < 0.75


def test_calibrate_takes_the_first_view_as_reference(points):
    view_from_ref = np.stack([np.eye(4), transform(6), transform(7)])
    seen = np.stack([move(matrix, points) for matrix in view_from_ref])
    seen[1, :5] = np.nan
    result = calibration.calibrate(seen, "annotation")
    np.testing.assert_allclose(result.ref_from_view @ view_from_ref, [np.eye(4)] * 3, atol=1e-5)
    assert np.isnan(result.residual_mm[0])
    assert (result.residual_mm[1:] < EXACT_MM).all()
    described = json.loads(json.dumps(result.to_dict()))
    assert described["residual_mm"][0] is None
    assert described["inlier_share"][1:] == [1.0, 1.0]


def test_a_view_of_something_else_is_refused(points):
    rng = np.random.default_rng(3)
    seen = np.stack([points, move(transform(6), points), rng.normal(0.0, 100.0, points.shape)])
    with pytest.raises(ValueError, match=r"View 3 does not fit view 1.*did no camera move"):
        calibration.calibrate(seen, "annotation")


@pytest.mark.parametrize("spread_mm", [(15.0, 15.0, 15.0), (100.0, 4.0, 4.0)])
def test_points_that_do_not_pin_down_a_rotation_are_refused(spread_mm):
    rng = np.random.default_rng(4)
    points = rng.normal([0.0, 0.0, 750.0], spread_mm, (14, 1, 3))
    noisy = move(transform(6), points) + rng.normal(0.0, 12.0, points.shape)
    with pytest.raises(ValueError, match=r"rotation of view 2 is known .* degrees only"):
        calibration.calibrate(np.stack([points, noisy]), "hands", inlier_mm=50.0)


def test_spread_of_the_rotation_is_that_of_many_trials():
    errors, said = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        points = rng.normal(0.0, [80.0, 30.0, 30.0], (40, 3))
        noisy = points + rng.normal(0.0, 6.0, points.shape)
        found, _, _ = calibration.fit_rigid_robustly(points, noisy, inlier_mm=100.0)
        # The least certain axis is the long one, x: its angle is in the y-z block.
        errors.append(np.degrees(np.arctan2(found[2, 1], found[1, 1])))
        said.append(calibration.rotation_stddev_deg(points, noisy, found, 100.0))
    # Sixty trials know a standard deviation to 9 %.
    assert np.median(said) == pytest.approx(np.std(errors), rel=0.3)


def test_check_measures_given_cameras(points):
    view_from_ref = np.stack([np.eye(4), transform(6)])
    seen = np.stack([move(matrix, points) for matrix in view_from_ref])
    unknown = np.full(2, np.nan)
    right = calibration.Calibration(np.linalg.inv(view_from_ref), None, unknown, unknown, "file")
    measured = calibration.check(seen, right, "annotation")
    assert measured.residual_mm[1] < 1e-6 and measured.inlier_share[1] == 1.0
    wrong = dataclasses.replace(right, ref_from_view=view_from_ref)
    with pytest.raises(ValueError, match="View 2 does not fit view 1"):
        calibration.check(seen, wrong, "annotation")
    # Too few points say nothing.
    few = calibration.check(seen[:, :1, :5], wrong, "annotation")
    assert np.isnan(few.residual_mm).all()


def test_too_few_points(points):
    seen = np.stack([points, np.full_like(points, np.nan)])
    with pytest.raises(ValueError, match=r"View 2.*at least 12 points.*found 0"):
        calibration.calibrate(seen, "annotation")


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"\[V, n, J, 3\].*\[2, 3\]"):
        calibration.calibrate(np.zeros([2, 3]), "annotation")


@pytest.fixture
def stored(tmp_path):
    transforms = np.stack([np.eye(4), transform(8)])
    unknown = np.full(2, np.nan)
    intrinsics = np.array([[500.0, 501.0, 320.0, 240.0]] * 2)
    value = calibration.Calibration(transforms, intrinsics, unknown, unknown, "test")
    calibration_file.save_calibration(tmp_path / "cameras.json", value)
    return tmp_path / "cameras.json", value


def test_file_round_trip(stored):
    path, value = stored
    read = calibration_file.load_calibration(path, 2)
    np.testing.assert_array_equal(read.ref_from_view, value.ref_from_view)
    np.testing.assert_array_equal(read.intrinsics, value.intrinsics)
    assert read.source == "cameras.json"
    assert [p.name for p in path.parent.iterdir()] == ["cameras.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("ref_from_view"), "KeyError"),
        (lambda v: v["ref_from_view"].pop(), r"\[2, 4, 4\]"),
        (lambda v: v["ref_from_view"][1][0].__setitem__(0, 2.0), "rigid"),
        (lambda v: v["ref_from_view"][0][3].__setitem__(0, 1.0), "rigid"),
        (lambda v: v["intrinsics"][0].__setitem__(0, 0.0), "positive"),
        (lambda v: v["intrinsics"].pop(), "intrinsics of shape"),
        (lambda v: v.update(ref_from_view="here"), "ValueError"),
    ],
)
def test_bad_files(stored, change, message):
    path, _ = stored
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        calibration_file.load_calibration(path, 2)


def test_recordings_of_two_cameras_are_refused(stored):
    path, value = stored
    read = calibration_file.load_recorded_intrinsics(path.parent, 2)
    np.testing.assert_array_equal(read, value.intrinsics)
    with pytest.raises(ValueError, match="recording of 3 cameras, found 2"):
        calibration_file.load_recorded_intrinsics(path.parent, 3)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        calibration_file.load_calibration(tmp_path / "nothing.json", 3)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ValueError, match=r"text\.json"):
        calibration_file.load_calibration(tmp_path / "text.json", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1" + "0" * 400, "OverflowError|rigid"),
        ("1e300", "rigid"),
        ("NaN", "rigid"),
        ("[" * 200000, "Expected JSON"),
    ],
)
def test_numbers_that_damage_makes(stored, text, message):
    path, value = stored
    number = repr(float(value.ref_from_view[1, 0, 3]))
    assert number in path.read_text()
    path.write_text(path.read_text().replace(number, text))
    with pytest.raises(ValueError, match=message) as refused:
        calibration_file.load_calibration(path, 2)
    assert "cameras.json" in str(refused.value)
