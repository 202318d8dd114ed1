"""Recordings in the layout of NYU whose pictures or joints are missing or damaged."""

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from data_prep import records
from data_prep.nyu import recording_files
from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import FRAMES, change_joints, convert, read


def test_faults_are_counted_and_named(copy, tmp_path):
    train = copy / "train"
    (train / "depth_2_0000003.png").unlink()
    cut = train / "depth_3_0000007.png"
    cut.write_bytes(cut.read_bytes()[:20000])
    (train / "depth_1_0000008.png").write_bytes(b"")
    for view in (1, 2, 3):
        nyu_layout.write_picture(train / f"depth_{view}_0000010.png", np.zeros([480, 640]))
    nyu_layout.write_picture(train / "depth_2_0000012.png", np.full([240, 320], 900.0))
    (train / "notes.txt").write_text("not a picture")
    convert(copy, tmp_path / "out", "--splits=train")
    split = records.read_info(tmp_path / "out").splits["train"]
    skipped = {reason: skips.first_frames for reason, skips in split.skipped.items()}
    assert skipped == {
        "no picture of view 2": [3],
        "damaged picture of view 3": [7],
        "damaged picture of view 1": [8],
        "no hand found": [10],
        "pictures of different sizes": [12],
    }
    assert split.num_samples == FRAMES - 5


def test_gaps_between_frames_are_counted(copy, tmp_path):
    for view in (1, 2, 3):
        (copy / "train" / f"depth_{view}_0000009.png").unlink()
    convert(copy, tmp_path / "out", "--splits=train")
    (reason,) = records.read_info(tmp_path / "out").splits["train"].skipped.items()
    assert reason[0] == "no picture of view 1, 2, 3"
    assert reason[1].first_frames == [9]


def test_pictures_of_another_kind_are_named(copy, tmp_path):
    picture = copy / "train" / "depth_2_0000002.png"
    Image.open(picture).convert("RGBA").save(picture)
    convert(copy, tmp_path / "out", "--splits=train")
    assert list(records.read_info(tmp_path / "out").splits["train"].skipped) == [
        "unsupported picture of view 2"
    ]


def test_frames_from_zero_and_a_view_that_is_absent(copy, tmp_path):
    train = copy / "train"
    nyu_layout.write_picture(train / "depth_1_0000000.png", np.zeros([480, 640]))
    with pytest.raises(ValueError, match="numbered from 0000001"):
        convert(copy, tmp_path / "out", "--splits=train")
    for path in train.glob("depth_3_*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="none of view 3"):
        convert(copy, tmp_path / "out", "--splits=train")


def test_intrinsics_of_other_pictures_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match=r"640 x 480 px.*--intrinsics"):
        convert(source[0], tmp_path / "out", "--splits=train", "--intrinsics=900,900,960,540")
    assert not (tmp_path / "out").exists()


def test_annotation_with_holes_and_an_early_end(copy, tmp_path):
    def change(joints):
        joints[1, 4, 7] = np.nan
        joints[:, 5] = np.nan
        return joints[:, :20]

    change_joints(copy / "train" / "joint_data.mat", change)
    convert(copy, tmp_path / "out", "--splits=train")
    split = records.read_info(tmp_path / "out").splits["train"]
    assert split.num_samples == FRAMES
    assert split.num_labelled == 19
    assert split.extra["notes"] == {
        "no annotation": {"count": 5, "first_frames": [6, 21, 22, 23, 24]},
        "some joints are not annotated": {"count": 1, "first_frames": [5]},
    }
    sample = read(tmp_path / "out", "train")[4]
    assert sample["joint_mask"].sum() == 3 * 36 - 1 and sample["joint_mask"][1, 7] == 0
    assert np.isfinite(sample["joints_mm"]).all()


def test_joints_in_another_order_are_sorted_by_name(copy):
    path = copy / "train" / "joint_data.mat"
    before = recording_files.read_joint_data(path)
    values = scipy.io.loadmat(path)
    order = np.random.default_rng(0).permutation(36)
    scipy.io.savemat(
        path,
        {
            "joint_xyz": values["joint_xyz"][:, :, order],
            "joint_names": values["joint_names"][:, order],
        },
    )
    np.testing.assert_array_equal(recording_files.read_joint_data(path), before)


def test_joints_in_whole_millimetres(copy):
    path = copy / "train" / "joint_data.mat"
    joints = np.round(scipy.io.loadmat(path)["joint_xyz"])
    scipy.io.savemat(path, {"joint_xyz": joints.astype(np.int16)})
    read = recording_files.read_joint_data(path)
    np.testing.assert_array_equal(read, joints * np.array([1.0, -1.0, 1.0]))


def test_annotation_without_any_joint_is_none(copy):
    path = copy / "train" / "joint_data.mat"
    scipy.io.savemat(path, {"joint_xyz": np.full([3, FRAMES, 36, 3], np.nan)})
    assert recording_files.open_split(copy, "train").joints_mm is None


def test_joints_of_a_matlab_7_3_file(copy):
    path = copy / "train" / "joint_data.mat"
    before = recording_files.read_joint_data(path)
    joints = scipy.io.loadmat(path)["joint_xyz"]
    path.unlink()
    with h5py.File(path, "w") as file:
        file["joint_xyz"] = joints.T
    np.testing.assert_array_equal(recording_files.read_joint_data(path), before)


def test_joint_data_that_claims_any_size(tmp_path):
    path = tmp_path / "joint_data.mat"
    with h5py.File(path, "w") as file:
        shape = (3, 36, 10**9, 3)
        file.create_dataset("joint_xyz", shape, chunks=(3, 36, 16, 3), compression="gzip")
    with pytest.raises(ValueError, match=r"joint_data\.mat.*more than the file holds"):
        recording_files.read_joint_data(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(600), b"MATLAB 5.0" * 40])
def test_joint_data_that_is_damaged(tmp_path, content):
    (tmp_path / "joint_data.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read .*joint_data\.mat"):
        recording_files.read_joint_data(tmp_path / "joint_data.mat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Cannot read"),
        (b"MATLAB 5.0 MAT-file" + bytes(200), "Cannot read|found none"),
        ({"other": np.zeros(3)}, "joint_xyz.*found none"),
        ({"joint_xyz": np.zeros([3, 5, 14, 3])}, r"\[3, frames, 36, 3\].*14"),
    ],
)
def test_bad_joint_data(copy, tmp_path, content, message, capsys):
    path = copy / "train" / "joint_data.mat"
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        convert(copy, tmp_path / "out", "--splits=train")
    assert not (tmp_path / "out").exists()
