"""Calibration of the cameras of a recording in the layout of NYU, from every source."""

import json
import shutil

import numpy as np
import pytest

from data_prep import records
from data_prep.nyu import calibration_file
from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import change_joints, convert, keep_frames, read, stop
from tfhand import inference
from tfhand.hand import skeleton

# Depth is stored in whole mm, and the transforms are fitted to annotation without noise.
TRANSFORM_MM = 0.05


def test_cameras_from_annotation(converted, source):
    expected = np.linalg.inv(source[1].view_from_ref)
    for sample in read(converted, "train"):
        np.testing.assert_allclose(
            sample["ref_from_view"][:, :3, :3], expected[:, :3, :3], atol=1e-4
        )
        np.testing.assert_allclose(
            sample["ref_from_view"][:, :3, 3], expected[:, :3, 3], atol=TRANSFORM_MM
        )
    extra = records.read_info(converted).splits["train"].extra["calibration"]
    assert extra["source"] == "annotation"
    assert max(extra["residual_mm"][1:]) < 0.1


def test_cameras_without_any_label(source, converted):
    described = records.read_info(converted).splits["test"].extra["calibration"]
    assert described["source"] == "hands found in the depth"
    # The true cameras of the test split, from the seed they were drawn with.
    truth = np.linalg.inv(nyu_layout.motion.place_cameras(np.random.default_rng(12)))
    estimate = np.array(described["ref_from_view"])
    rotation = np.einsum("vij,vik->vjk", estimate[:, :3, :3], truth[:, :3, :3])
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    hand = np.array([0.0, 0.0, 780.0, 1.0])
    in_views = np.linalg.inv(truth) @ hand
    offset = np.linalg.norm(np.einsum("vij,vj->vi", estimate, in_views)[:, :3] - hand[:3], axis=1)
    # Twenty-four frames; hundreds do better.
    assert angle.max() < 15.0
    assert offset.max() < 30.0


def test_a_file_of_wrong_cameras_is_refused(source, tmp_path):
    transforms = np.tile(np.eye(4), (3, 1, 1))
    (tmp_path / "cameras.json").write_text(json.dumps({"ref_from_view": transforms.tolist()}))
    for split in ("train", "test"):
        with pytest.raises(ValueError, match="View 2 does not fit view 1"):
            convert(
                source[0], tmp_path / "out", f"--splits={split}",
                f"--calibration={tmp_path / 'cameras.json'}",
            )  # fmt: skip


def test_cameras_from_a_file(source, converted, tmp_path):
    found = records.read_info(converted).splits["test"].extra["calibration"]
    (tmp_path / "cameras.json").write_text(
        json.dumps(
            {"ref_from_view": found["ref_from_view"], "intrinsics": [[580, 581, 320, 240]] * 3}
        )
    )
    convert(
        source[0], tmp_path / "out", "--splits=test", "--every=6",
        f"--calibration={tmp_path / 'cameras.json'}",
    )  # fmt: skip
    samples = read(tmp_path / "out", "test")
    assert [int(s["frame"]) for s in samples] == [1, 7, 13, 19]
    np.testing.assert_array_equal(samples[0]["intrinsics"], [[580, 581, 320, 240]] * 3)
    measured = records.read_info(tmp_path / "out").splits["test"].extra["calibration"]
    assert all(share >= 0.4 for share in measured["inlier_share"][1:])
    np.testing.assert_allclose(samples[0]["ref_from_view"], found["ref_from_view"], rtol=1e-6)


class Estimates:
    """Stands in for a network that knows the joints, but for noise and some bad frames."""

    def __init__(self, scene):
        self.joints, self.frame = scene.joints_mm, 0
        self.rng = np.random.default_rng(5)

    def __call__(self, network, depth_mm, intrinsics, left_hand):
        spheres = np.full([3, 41, 3], np.nan, np.float32)
        spheres[:, skeleton.SPHERE_FROM_JOINT] = self.joints[:, self.frame]
        spheres += self.rng.normal(0.0, 8.0, spheres.shape).astype(np.float32)
        if self.frame % 5 == 0:
            spheres[1] += 150.0
        found = np.array([True, True, self.frame != 3])
        spheres[~found] = np.nan
        self.frame += 1
        return inference.Hands(found, None, spheres, None, None)


def test_cameras_from_estimates(source, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "load_network", lambda path: None)
    monkeypatch.setattr(inference, "estimate_hands", Estimates(source[1]))
    convert(
        source[0], tmp_path / "out", "--splits=train", "--every=4", "--calibration=predictions",
        "--model=pose.keras",
    )  # fmt: skip
    expected = np.linalg.inv(source[1].view_from_ref)
    found = read(tmp_path / "out", "train")[0]["ref_from_view"]
    # 36 joints in 24 frames with 8 mm of noise an axis.
    np.testing.assert_allclose(found[:, :3, :3], expected[:, :3, :3], atol=0.02)
    np.testing.assert_allclose(found[:, :3, 3], expected[:, :3, 3], atol=15.0)
    extra = records.read_info(tmp_path / "out").splits["train"].extra["calibration"]
    assert extra["source"] == "estimates of a network"
    assert 8.0 < extra["residual_mm"][2] < 25.0


def test_a_view_of_another_moment_is_refused(copy, tmp_path):
    def change(joints):
        joints[2] = np.roll(joints[2], 7, axis=0)
        return joints

    change_joints(copy / "train" / "joint_data.mat", change)
    with pytest.raises(ValueError, match="View 3 does not fit view 1"):
        convert(copy, tmp_path / "out", "--splits=train")


def test_few_unlabeled_frames_become_single_views(copy, tmp_path):
    """Six frames do not tell where cameras stand; nothing is lost but the comparison of views."""
    for split in ("train", "test"):
        keep_frames(copy / split, 6)
    (copy / "train" / "joint_data.mat").unlink()
    nyu_layout.write_picture(copy / "train" / "depth_2_0000004.png", np.zeros([480, 640]))
    convert(copy, tmp_path / "out")
    info = records.verify(tmp_path / "out")
    assert info.num_views == 1
    train = info.splits["train"]
    assert train.num_samples == 17 and train.num_skipped == 0
    assert train.extra["calibration"]["source"] == "none"
    assert "at least 12 points" in train.extra["calibration"]["why"]
    assert train.extra["notes"]["a view shows no hand"] == {"count": 1, "first_frames": [4]}
    samples = read(tmp_path / "out", "train")
    frames = [int(sample["frame"]) for sample in samples]
    assert [frames.count(frame) for frame in range(1, 7)] == [3, 3, 3, 2, 3, 3]
    for sample in samples:
        np.testing.assert_array_equal(sample["ref_from_view"], np.eye(4)[None])
        assert (sample["depth_mm"] < 149.0).mean() > 0.05


def test_a_split_without_labels_takes_the_cameras_of_another(source, tmp_path):
    """Three frames of the training split, unlabeled, beside its annotated frames."""
    root = tmp_path / "dataset"
    shutil.copytree(source[0] / "train", root / "train")
    shutil.copytree(source[0] / "train", root / "test")
    keep_frames(root / "test", 3)
    (root / "test" / "joint_data.mat").unlink()
    convert(root, tmp_path / "out")
    info = records.verify(tmp_path / "out")
    assert info.num_views == 3 and info.splits["test"].num_samples == 3
    cameras = {name: split.extra["calibration"] for name, split in info.splits.items()}
    assert cameras["test"]["source"] == "annotation, of another split"
    assert cameras["test"]["ref_from_view"] == cameras["train"]["ref_from_view"]


def test_uncalibrated_cameras_may_be_asked_for(source, tmp_path, capsys):
    convert(source[0], tmp_path / "out", "--splits=train", "--calibration=none", "--every=8")
    info = records.read_info(tmp_path / "out")
    assert info.num_views == 1
    # Labels stay with their views.
    assert info.splits["train"].num_labelled == 9 and not info.splits["train"].extra["notes"]
    for sample in read(tmp_path / "out", "train"):
        joints = source[1].joints_mm[:, int(sample["frame"]) - 1]
        away = np.abs(joints - sample["joints_mm"]).max(axis=(1, 2))
        assert away.min() < 0.01 and sample["joint_mask"].all()
    out = f"--output_dir={tmp_path / 'other'}"
    line = stop(capsys, f"--nyu_dir={source[0]}", out, "--calibration=none", "--center=annotation")
    assert "needs calibrated cameras" in line


def test_annotation_of_few_joints_is_no_calibration(source, tmp_path):
    root = tmp_path / "dataset"
    shutil.copytree(source[0] / "train", root / "train")
    shutil.copytree(source[0] / "train", root / "test")

    def change(joints):
        joints[:, 0, 5:] = np.nan
        joints[:, 1:] = np.nan
        return joints

    change_joints(root / "test" / "joint_data.mat", change)
    convert(root, tmp_path / "out", "--every=4")
    splits = records.read_info(tmp_path / "out").splits
    assert splits["test"].extra["calibration"]["source"] == "annotation, of another split"
    assert splits["test"].num_labelled == 1


def test_found_cameras_are_written(source, converted, tmp_path):
    convert(
        source[0], tmp_path / "out", "--every=8",
        f"--calibration_output={tmp_path / 'cameras_{split}.json'}",
    )  # fmt: skip
    for split in ("train", "test"):
        found = calibration_file.load_calibration(tmp_path / f"cameras_{split}.json", 3)
        expected = records.read_info(converted).splits[split].extra["calibration"]
        np.testing.assert_allclose(found.ref_from_view, expected["ref_from_view"])
