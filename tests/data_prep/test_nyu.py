"""From a recording in the layout of NYU to records: frames, joints, centers, hands, the command."""

import numpy as np
from PIL import Image

from data_prep import records
from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import FRAMES, convert, read, stop
from tfhand.geometry import camera, crop, rigid
from tfhand.hand import skeleton


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


def test_centers_from_a_file(source, tmp_path):
    root, scene = source
    centers = scene.joints_mm[0, :, skeleton.joint_index("PALM_3")].astype(np.float64)
    rows = camera.project(centers, np.array(camera.NYU_INTRINSICS)).numpy()
    lines = [" ".join(f"{v:.5f}" for v in row) for row in rows]
    lines[4] = "invalid"
    (tmp_path / "centers.txt").write_text("\n".join(lines[:20]))
    convert(
        root, tmp_path / "out", "--splits=train", f"--center={tmp_path / 'centers.txt'}",
        "--center_form=uvd",
    )  # fmt: skip
    (reason,) = records.read_info(tmp_path / "out").splits["train"].skipped.items()
    assert reason[0] == "the file of centers has none"
    assert reason[1].first_frames == [5, 21, 22, 23, 24]
    for sample in read(tmp_path / "out", "train"):
        frame = int(sample["frame"]) - 1
        np.testing.assert_allclose(sample["center_mm"][0], centers[frame], atol=1e-2)
        in_ref = rigid.apply(sample["ref_from_view"], sample["center_mm"][:, None])[:, 0]
        np.testing.assert_allclose(in_ref, np.tile(in_ref[:1], (3, 1)), atol=0.05)


def test_left_hands_are_mirrored(source, tmp_path):
    """A mirrored recording of left hands gives the samples of the recording itself."""
    mirrored = tmp_path / "dataset" / "train"
    mirrored.mkdir(parents=True)
    names = [f"depth_{view}_{frame:07d}.png" for view in (1, 2, 3) for frame in (1, 11, 21)]
    for path in (source[0] / "train" / name for name in names):
        Image.fromarray(np.asarray(Image.open(path))[:, ::-1]).save(mirrored / path.name)
    joints = source[1].joints_mm * np.float32([-1.0, 1.0, 1.0])
    nyu_layout.write_joint_data(mirrored / "joint_data.mat", joints)
    # Column u of the picture is 639 - u of the mirrored one.
    convert(
        mirrored.parent, tmp_path / "left", "--splits=train", "--hand=left", "--center=annotation",
        "--intrinsics=588.04,587.08,319,240", "--every=10",
    )  # fmt: skip
    convert(source[0], tmp_path / "right", "--splits=train", "--center=annotation", "--every=10")
    for left, right in zip(
        read(tmp_path / "left", "train"), read(tmp_path / "right", "train"), strict=True
    ):
        for name in ("center_mm", "intrinsics", "ref_from_view", "joints_mm"):
            np.testing.assert_allclose(left[name], right[name], atol=0.01, err_msg=name)
        # A reading on the border of two pixels may fall on the other side.
        assert (np.abs(left["depth_mm"] - right["depth_mm"]) < 0.2).mean() > 0.995


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
