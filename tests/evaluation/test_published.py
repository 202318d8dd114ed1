"""Text files of the community, and the numbers published for five methods."""

import os
import pathlib

import numpy as np
import pytest

from tfhand.evaluation import published

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RESULTS = pathlib.Path(os.environ.get("TFHAND_NYU_RESULTS", REPOSITORY.parent / "shared" / "nyu"))
# File name, mean error over 14 joints (mm), frames whose worst joint is within 20 mm (%).
PUBLISHED = [
    ("ICCVW17_NYU_DeepPrior++", 12.24, 44.72),
    ("CVPR18_NYU_V2V_PoseNet", 8.42, 71.24),
    ("JVCI18_NYU_REN_9x6x6", 12.69, 45.88),
    ("IJCAI16_NYU_DeepModel", 17.04, 18.97),
    ("CVPR18_NYU_denseReg", 10.21, 56.42),
]
# The published numbers have two decimals.
PUBLISHED_TOLERANCE = 0.01


@pytest.mark.skipif(not RESULTS.is_dir(), reason=f"no NYU results in {RESULTS}")
@pytest.mark.parametrize(("name", "mean_mm", "within_20"), PUBLISHED)
def test_published_numbers_are_reproduced(name, mean_mm, within_20):
    scores = published.score_files(
        RESULTS / "nyu_test_groundtruth_label.txt", [RESULTS / "predictions" / f"{name}.txt"]
    )
    assert list(scores) == [name]
    assert scores[name].num_frames == 8252
    assert scores[name].mean_joint_error_mm == pytest.approx(mean_mm, abs=PUBLISHED_TOLERANCE)
    assert 100 * scores[name].success_rate[20] == pytest.approx(within_20, abs=PUBLISHED_TOLERANCE)


def write(path, uvd):
    np.savetxt(path, np.reshape(uvd, (len(uvd), -1)), fmt="%.3f")
    return path


@pytest.fixture
def uvd(rng):
    return rng.uniform([100, 100, 500], [500, 400, 900], (5, 14, 3)).round(3)


def test_file_round_trip(tmp_path, uvd):
    path = write(tmp_path / "labels.txt", uvd)
    # Values are written with three decimals, which text keeps exactly.
    np.testing.assert_allclose(published.read_joints_uvd(path), uvd, atol=1e-9)


def test_back_projection_is_the_closed_form():
    point = published.xyz_from_uvd([320 + 58.803, 240 - 58.707, 1000.0])
    np.testing.assert_allclose(point, [100.0, -100.0, 1000.0], rtol=1e-12)


def test_depth_error_counts_along_the_ray(tmp_path, uvd):
    uvd[...] = [320.0, 240.0, 700.0]
    labels = write(tmp_path / "labels.txt", uvd)
    uvd[..., 2] += 12.5
    predictions = write(tmp_path / "method.txt", uvd)
    scores = published.score_files(labels, [predictions])["method"]
    assert scores.mean_joint_error_mm == pytest.approx(12.5, abs=1e-9)
    assert scores.success_rate[12] == 0 and scores.success_rate[13] == 1


def test_blank_lines_are_no_frames(tmp_path, uvd):
    path = write(tmp_path / "labels.txt", uvd)
    path.write_text("\n" + path.read_text() + "\n\n")
    assert published.read_joints_uvd(path).shape == (5, 14, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("1 2 3\n", "42 numbers .* found 3 in line 1"),
        (" ".join(["1"] * 41 + ["x"]), "finite numbers, found others in line 1"),
        (" ".join(["1"] * 41 + ["nan"]), "finite numbers, found others in line 1"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        published.read_joints_uvd(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        published.read_joints_uvd(tmp_path / "nowhere.txt")


def test_another_number_of_frames_is_refused(tmp_path, uvd):
    labels = write(tmp_path / "labels.txt", uvd)
    predictions = write(tmp_path / "method.txt", uvd[:4])
    with pytest.raises(ValueError, match=r"Expected 5 frames .* found 4"):
        published.score_files(labels, [predictions])


def test_two_methods_of_one_name_are_refused(tmp_path, uvd):
    labels = write(tmp_path / "labels.txt", uvd)
    with pytest.raises(ValueError, match="labels twice"):
        published.score_files(labels, [labels, labels])


def test_written_files_are_read_and_gaps_are_filled(tmp_path, rng):
    uvd = rng.uniform(10.0, 700.0, (4, 14, 3))
    path = tmp_path / "ours.txt"
    assert published.write_joints_uvd(path, uvd, np.array([6, 2, 3, 5])) == 2
    found = published.read_joints_uvd(path)
    # Frames 1 to 6: 1 and 4 have no estimate.
    np.testing.assert_allclose(found, uvd[[1, 1, 2, 2, 3, 0]], atol=5e-4)
    assert published.write_joints_uvd(path, uvd, np.arange(4)) == 0
    np.testing.assert_allclose(published.read_joints_uvd(path), uvd, atol=5e-4)
    with pytest.raises(ValueError, match="one estimate a frame"):
        published.write_joints_uvd(path, uvd, np.array([1, 2, 2, 3]))


@pytest.mark.parametrize("word", ["1e300", "nan", "inf", "x", "1e999", "99999999999999999999"])
def test_numbers_that_damage_makes(tmp_path, word):
    path = tmp_path / "method.txt"
    row = ["100.0"] * 42
    path.write_text("\n".join([" ".join(row), " ".join([*row[1:], word])]))
    with pytest.raises(ValueError, match=r"finite numbers, .* in line 2 of .*method\.txt"):
        published.read_joints_uvd(path)
