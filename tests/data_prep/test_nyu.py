"""From a recording in NYU's layout to records: frames, centers, cameras, skips, resuming."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from data_prep import (
    calibration,
    calibration_file,
    frame_converter,
    nyu,
    nyu_source,
    records,
    shard_parts,
    split_conversion,
    split_plan,
)
from tests.data_prep import nyu_layout
from tfhand import commands, inference
from tfhand.geometry import camera, crop, rigid
from tfhand.hand import skeleton

ROOT = Path(__file__).parents[2]
FRAMES = 24
# Depth is stored in whole mm, and the transforms are fitted to annotation without noise.
TRANSFORM_MM = 0.05


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small recording: annotated training frames, and test frames without annotation."""
    root = tmp_path_factory.mktemp("nyu") / "dataset"
    train = nyu_layout.write_split(root / "train", FRAMES, seed=11)
    nyu_layout.write_split(root / "test", FRAMES, seed=12, annotation=False)
    return root, train


def convert(root, out, *more):
    argv = ["nyu.py", f"--nyu_dir={root}", f"--output_dir={out}", "--num_shards=3", *more]
    return nyu.main(commands.parse(nyu.define_flags, argv))


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    convert(source[0], out)
    return out


def read(out, split):
    return sorted(
        records.load_dataset(out, split).as_numpy_iterator(), key=lambda sample: sample["frame"]
    )


def test_every_frame_becomes_a_sample(converted):
    info = records.verify(converted)
    assert info.num_views == 3 and info.spec == crop.CropSpec(64, 300.0)
    for split, labelled in (("train", FRAMES), ("test", 0)):
        described = info.splits[split]
        assert (described.num_samples, described.num_labelled) == (FRAMES, labelled)
        assert described.num_skipped == 0 and len(described.shards) == 3
        assert [s["frame"] for s in read(converted, split)] == list(range(1, FRAMES + 1))
    # Order on disk is the order of the frames too.
    frames = [int(s["frame"]) for s in records.load_dataset(converted, "train")]
    assert frames == sorted(frames)


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
    found = np.array(described["ref_from_view"])
    turn = np.einsum("vij,vik->vjk", found[:, :3, :3], truth[:, :3, :3])
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    hand = np.array([0.0, 0.0, 780.0, 1.0])
    there = np.linalg.inv(truth) @ hand
    offset = np.linalg.norm(np.einsum("vij,vj->vi", found, there)[:, :3] - hand[:3], axis=1)
    print("turned by", angle.round(1), "degrees; the hand's place moves", offset.round(1), "mm")
    # Twenty-four frames: what hundreds do better.
    assert angle.max() < 15.0
    assert offset.max() < 30.0


def test_joints_are_those_of_the_file_with_y_down(converted, source):
    joints = source[1].joints_mm
    for sample in read(converted, "train"):
        frame = int(sample["frame"]) - 1
        np.testing.assert_allclose(sample["joints_mm"], joints[:, frame], atol=1e-2)
        assert sample["joint_mask"].all()


def test_joints_lie_in_the_crops_on_the_surface(converted):
    for sample in read(converted, "train"):
        relative = sample["joints_mm"] - sample["center_mm"][:, None]
        inside = (np.abs(relative) < 150.0).all(axis=-1)
        assert inside.mean() > 0.97
        palm = relative[:, skeleton.joint_index("PALM_3")]
        column, row = (np.floor((palm[:, i] + 150.0) * 64 / 300).astype(int) for i in (0, 1))
        depth = sample["depth_mm"][np.arange(3), row, column]
        ahead = palm[:, 2] - depth
        # The palm, or a finger before it, is nearer than its middle.
        assert (ahead[depth < 149.0] > -2.0).all()


def test_what_the_centers_are_like_is_kept(converted):
    extra = records.read_info(converted).splits["train"].extra
    assert 5.0 < extra["median_center_to_palm_mm"] < 60.0
    assert extra["annotated_frames"] == FRAMES
    assert 0.0 < extra["median_center_disagreement_mm"] < 40.0
    assert not extra["notes"]
    notes = records.read_info(converted).splits["test"].extra["notes"]
    assert notes == {"no annotation": {"count": FRAMES, "first_frames": list(range(1, 21))}}


def test_centers_at_the_palm(source, tmp_path):
    convert(source[0], tmp_path, "--splits=train", "--center=annotation")
    palm = skeleton.joint_index("PALM_3")
    for sample in read(tmp_path, "train"):
        np.testing.assert_allclose(sample["center_mm"], sample["joints_mm"][:, palm], atol=1e-2)


@pytest.mark.parametrize("form", ["xyz", "xyz_up", "uvd"])
def test_centers_from_a_file(source, tmp_path, form):
    root, scene = source
    centers = scene.joints_mm[0, :, skeleton.joint_index("PALM_3")].astype(np.float64)
    rows = centers
    if form == "xyz_up":
        rows = centers * np.array([1.0, -1.0, 1.0])
    if form == "uvd":
        rows = camera.project(centers, np.array(camera.NYU_INTRINSICS)).numpy()
    lines = [" ".join(f"{v:.5f}" for v in row) for row in rows]
    lines[4] = "invalid"
    (tmp_path / "centers.txt").write_text("\n".join(lines[:20]))
    convert(
        root, tmp_path / "out", "--splits=train", f"--center={tmp_path / 'centers.txt'}",
        f"--center_form={form}",
    )  # fmt: skip
    (reason,) = records.read_info(tmp_path / "out").splits["train"].skipped.items()
    assert reason[0] == "the file of centers has none"
    assert reason[1].first_frames == [5, 21, 22, 23, 24]
    for sample in read(tmp_path / "out", "train"):
        frame = int(sample["frame"]) - 1
        np.testing.assert_allclose(sample["center_mm"][0], centers[frame], atol=1e-2)
        in_ref = rigid.apply(sample["ref_from_view"], sample["center_mm"][:, None])[:, 0]
        np.testing.assert_allclose(in_ref, np.tile(in_ref[:1], (3, 1)), atol=0.05)


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


@pytest.fixture
def copy(source, tmp_path):
    shutil.copytree(source[0], tmp_path / "dataset")
    return tmp_path / "dataset"


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


def change_joints(path, change):
    values = scipy.io.loadmat(path)
    joints = values["joint_xyz"].copy()
    values = {"joint_xyz": change(joints), "joint_names": values["joint_names"]}
    scipy.io.savemat(path, values)


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
    before = nyu_source.read_joint_data(path)
    values = scipy.io.loadmat(path)
    order = np.random.default_rng(0).permutation(36)
    scipy.io.savemat(
        path,
        {
            "joint_xyz": values["joint_xyz"][:, :, order],
            "joint_names": values["joint_names"][:, order],
        },
    )
    np.testing.assert_array_equal(nyu_source.read_joint_data(path), before)


def test_joints_in_whole_millimetres(copy):
    path = copy / "train" / "joint_data.mat"
    joints = np.round(scipy.io.loadmat(path)["joint_xyz"])
    scipy.io.savemat(path, {"joint_xyz": joints.astype(np.int16)})
    read = nyu_source.read_joint_data(path)
    np.testing.assert_array_equal(read, joints * np.array([1.0, -1.0, 1.0]))


def test_annotation_without_any_joint_is_none(copy):
    path = copy / "train" / "joint_data.mat"
    scipy.io.savemat(path, {"joint_xyz": np.full([3, FRAMES, 36, 3], np.nan)})
    assert nyu_source.open_split(copy, "train").joints_mm is None


def test_joints_of_a_matlab_7_3_file(copy):
    path = copy / "train" / "joint_data.mat"
    before = nyu_source.read_joint_data(path)
    joints = scipy.io.loadmat(path)["joint_xyz"]
    path.unlink()
    with h5py.File(path, "w") as file:
        file["joint_xyz"] = joints.T
    np.testing.assert_array_equal(nyu_source.read_joint_data(path), before)


class Estimates:
    """Stands in for a network that knows the joints, but for noise and some bad frames."""

    def __init__(self, scene):
        self.joints, self.frame = scene.joints_mm, 0
        self.rng = np.random.default_rng(5)

    def __call__(self, network, depth_mm, intrinsics, spec, left_hand):
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
    monkeypatch.setattr(inference, "crop_spec_of", lambda network: None)
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


def test_joint_data_that_claims_any_size(tmp_path):
    path = tmp_path / "joint_data.mat"
    with h5py.File(path, "w") as file:
        shape = (3, 36, 10**9, 3)
        file.create_dataset("joint_xyz", shape, chunks=(3, 36, 16, 3), compression="gzip")
    with pytest.raises(ValueError, match=r"joint_data\.mat.*more than the file holds"):
        nyu_source.read_joint_data(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(600), b"MATLAB 5.0" * 40])
def test_joint_data_that_is_damaged(tmp_path, content):
    (tmp_path / "joint_data.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read .*joint_data\.mat"):
        nyu_source.read_joint_data(tmp_path / "joint_data.mat")


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


def test_a_view_of_another_moment_is_refused(copy, tmp_path):
    def change(joints):
        joints[2] = np.roll(joints[2], 7, axis=0)
        return joints

    change_joints(copy / "train" / "joint_data.mat", change)
    with pytest.raises(ValueError, match="View 3 does not fit view 1"):
        convert(copy, tmp_path / "out", "--splits=train")


def stop(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        commands.run(nyu.main, nyu.define_flags, ["nyu.py", *map(str, arguments)])
    assert stopped.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nyu: ")]
    return line


def keep_frames(folder, count):
    for path in folder.glob("depth_*.png"):
        if int(path.stem.split("_")[2]) > count:
            path.unlink()


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


def test_waiting_shards_of_other_cameras_are_made_again(source, tmp_path, monkeypatch):
    """Killed after a shard; then the annotation, and with it the cameras, changes a little."""
    out = tmp_path / "out"
    made = []
    original = split_conversion._write_shard

    def stop_after_the_first(plan, index, *rest):
        if index == 1:
            raise KeyboardInterrupt
        made.append(index)
        return original(plan, index, *rest)

    monkeypatch.setattr(split_conversion, "_write_shard", stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        convert(source[0], out, "--splits=train", "--every=4")
    assert made == [0] and list((out / ".train.partial").glob("*.json"))
    moved = nyu.nyu_cameras.find_cameras

    def elsewhere(*arguments):
        (cameras,) = moved(*arguments)
        transforms = cameras.ref_from_view.copy()
        transforms[1, 0, 3] += 5.0
        return [dataclasses.replace(cameras, ref_from_view=transforms)]

    monkeypatch.setattr(split_conversion, "_write_shard", original)
    monkeypatch.setattr(nyu.nyu_cameras, "find_cameras", elsewhere)
    convert(source[0], out, "--splits=train", "--every=4")
    offsets = {float(sample["ref_from_view"][1, 0, 3]) for sample in read(out, "train")}
    assert len(offsets) == 1


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


def test_left_hands_are_mirrored(source, tmp_path):
    """A mirrored recording of left hands gives the samples of the recording itself."""
    mirrored = tmp_path / "dataset" / "train"
    mirrored.mkdir(parents=True)
    for path in (source[0] / "train").glob("depth_*.png"):
        Image.fromarray(np.asarray(Image.open(path))[:, ::-1]).save(mirrored / path.name)
    joints = source[1].joints_mm * np.float32([-1.0, 1.0, 1.0])
    nyu_layout.write_joint_data(mirrored / "joint_data.mat", joints)
    # Column u of the picture is 639 - u of the mirrored one.
    convert(
        mirrored.parent, tmp_path / "left", "--splits=train", "--hand=left", "--center=annotation",
        "--intrinsics=588.04,587.08,319,240",
    )  # fmt: skip
    convert(source[0], tmp_path / "right", "--splits=train", "--center=annotation")
    for left, right in zip(
        read(tmp_path / "left", "train"), read(tmp_path / "right", "train"), strict=True
    ):
        for name in ("center_mm", "intrinsics", "ref_from_view", "joints_mm"):
            np.testing.assert_allclose(left[name], right[name], atol=0.01, err_msg=name)
        # A reading on the border of two pixels may fall on the other side.
        assert (np.abs(left["depth_mm"] - right["depth_mm"]) < 0.2).mean() > 0.995


def test_two_conversions_do_not_write_to_one_folder(source, tmp_path):
    out = tmp_path / "out"
    with split_conversion.alone_in(out):
        with pytest.raises(FileExistsError, match="Another process"):
            convert(source[0], out, "--splits=train", "--every=8")
    convert(source[0], out, "--splits=train", "--every=8")


def test_wrong_folders(tmp_path, capsys):
    out = f"--output_dir={tmp_path / 'out'}"
    assert "nowhere" in stop(capsys, f"--nyu_dir={tmp_path / 'nowhere'}", out)
    assert "'train'" in stop(capsys, f"--nyu_dir={tmp_path}", out)
    (tmp_path / "train").mkdir()
    assert "depth_" in stop(capsys, f"--nyu_dir={tmp_path}", out)
    assert not (tmp_path / "out").exists()


def test_wrong_flags(source, tmp_path, capsys):
    both = (f"--nyu_dir={source[0]}", f"--output_dir={tmp_path / 'out'}")
    assert "4 numbers" in stop(capsys, *both, "--intrinsics=1,2,3")
    assert "positive" in stop(capsys, *both, "--intrinsics=0,1,2,3")
    assert "here.txt" in stop(capsys, *both, "--splits=train", "--center=here.txt")
    assert "joint_data.mat" in stop(capsys, *both, "--splits=test", "--calibration=annotation")
    assert "--model" in stop(capsys, *both, "--calibration=predictions")
    assert "cameras.json" in stop(capsys, *both, "--calibration=cameras.json")
    assert "split must be" in stop(capsys, *both, "--splits=train/")
    assert "different names" in stop(capsys, *both, "--splits=train,train")
    assert "for each split" in stop(capsys, *both, "--center=one.txt")
    assert "ascending" in stop(capsys, *both, "--subject_starts=5,1")
    assert not (tmp_path / "out").exists()


def test_a_finished_split_is_not_overwritten(source, converted, capsys):
    before = (converted / "dataset_info.json").read_bytes()
    line = stop(
        capsys, f"--nyu_dir={source[0]}", f"--output_dir={converted}", "--num_shards=3",
        "--center=annotation",
    )  # fmt: skip
    assert "already has a split 'train'" in line
    assert (converted / "dataset_info.json").read_bytes() == before


def test_a_finished_split_with_the_same_settings_is_left_alone(source, converted, capsys):
    before = (converted / "dataset_info.json").read_bytes()
    convert(source[0], converted)
    assert "train: complete" in capsys.readouterr().out
    assert (converted / "dataset_info.json").read_bytes() == before


def test_shards_are_made_again_once_pictures_have_changed(copy, tmp_path):
    saved = tmp_path / "saved"
    saved.mkdir()
    for path in (copy / "train").glob("depth_2_*.png"):
        shutil.copy2(path, saved)
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No sample.*damaged picture of view 2': 24"):
        convert(copy, tmp_path / "out", "--splits=train")
    for path in saved.iterdir():
        shutil.copy2(path, copy / "train")
    convert(copy, tmp_path / "out", "--splits=train")
    assert records.verify(tmp_path / "out").splits["train"].num_samples == FRAMES


def test_killed_it_goes_on_and_ends_alike(source, converted, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "data_prep.nyu", f"--nyu_dir={source[0]}", f"--output_dir={out}",
        "--num_shards=3", "--splits=train", "--workers=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    first = out / ".train.partial" / "train-00000-of-00003.tfrecord.json"
    deadline = time.monotonic() + 120.0
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert first.exists()
    assert not list(out.glob("*.tfrecord")), "it finished before it was killed"
    with pytest.raises(FileNotFoundError, match="no complete data set"):
        records.read_info(out)
    kept = first.stat().st_mtime_ns
    frames = []
    original = split_conversion._write_shard

    def note(plan, index, *rest):
        frames.append(index)
        assert first.stat().st_mtime_ns == kept
        return original(plan, index, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_conversion, "_write_shard", note)
        convert(source[0], out, "--splits=train")
    assert 0 not in frames and frames
    assert records.verify(out).splits["train"].num_samples == FRAMES
    for a, b in zip(read(out, "train"), read(converted, "train"), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert not (out / ".train.partial").exists()


def test_damaged_waiting_shards_are_made_again(source, tmp_path):
    split = nyu_source.open_split(source[0], "train")
    intrinsics = np.tile(np.float32(camera.NYU_INTRINSICS), (3, 1))
    cameras = calibration.calibrate(split.joints_mm, "annotation", intrinsics)
    spec = crop.CropSpec(32)
    plan = split_plan.SplitPlan(
        tmp_path, "train", list(range(1, 9)), 2, "test", spec, 3, {"a": 1}, {}
    )
    converter = frame_converter.FrameConverter(split, cameras, spec, "annotation", (1,))

    def fail_in_the_second_shard(frame):
        if frame == 4:
            raise KeyboardInterrupt
        return converter(frame)

    with pytest.raises(KeyboardInterrupt):
        split_conversion.convert_split(plan, fail_in_the_second_shard, workers=1)
    waiting = tmp_path / ".train.partial" / plan.shard_name(0)
    waiting.write_bytes(waiting.read_bytes()[:-10])
    info = split_conversion.convert_split(plan, converter, workers=1)
    assert info.num_samples == 8
    assert len(list(tf.data.TFRecordDataset(str(tmp_path / plan.shard_name(0))))) == 4


def test_other_settings_start_anew(source, tmp_path):
    done = []

    def problem(frame):
        done.append(frame)
        if frame == 2:
            raise KeyboardInterrupt
        return shard_parts.Converted(problem="nothing there")

    def plan(value):
        return split_plan.SplitPlan(
            tmp_path, "train", [1, 2], 2, "test", crop.CropSpec(32), 3, {"a": value}, {}
        )

    for value in (1, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            split_conversion.convert_split(plan(value), problem, workers=1)
    # The second run took the first shard as it was.
    assert done == [1, 2, 2, 1, 2]
