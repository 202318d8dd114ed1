"""Conversions of NYU that were stopped, are run again, or meet another one."""

import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_prep import records
from data_prep.nyu import calibration, command, frame_converter, recording_files, split_conversion
from data_prep.nyu.conversion_plan import ConversionPlan
from data_prep.records.shards import EncodedFrame
from tests.data_prep.nyu_conversions import FRAMES, convert, read, stop
from tfhand import files
from tfhand.geometry import camera, crop

ROOT = Path(__file__).parents[2]


def test_waiting_shards_of_other_cameras_are_made_again(source, tmp_path, monkeypatch):
    """Killed after a shard; then the annotation, and with it the cameras, changes a little."""
    out = tmp_path / "out"
    write_shard = split_conversion.write_shard

    def stop_after_the_first(path, frames):
        if "00001-of" in path.name:
            raise KeyboardInterrupt
        return write_shard(path, frames)

    monkeypatch.setattr(split_conversion, "write_shard", stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        convert(source[0], out, "--splits=train", "--every=4")
    assert len(list((out / ".train.partial").glob("*.json"))) == 1
    find_cameras = command.split_cameras.find_cameras

    def elsewhere(*arguments):
        (cameras,) = find_cameras(*arguments)
        transforms = cameras.ref_from_view.copy()
        transforms[1, 0, 3] += 5.0
        return [dataclasses.replace(cameras, ref_from_view=transforms)]

    monkeypatch.setattr(split_conversion, "write_shard", write_shard)
    monkeypatch.setattr(command.split_cameras, "find_cameras", elsewhere)
    convert(source[0], out, "--splits=train", "--every=4")
    offsets = {float(sample["ref_from_view"][1, 0, 3]) for sample in read(out, "train")}
    assert len(offsets) == 1


def test_two_conversions_do_not_write_to_one_folder(source, tmp_path):
    out = tmp_path / "out"
    with files.lock_folder(out):
        with pytest.raises(FileExistsError, match="Another process"):
            convert(source[0], out, "--splits=train", "--every=8")
    convert(source[0], out, "--splits=train", "--every=8")


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


def test_killed_it_goes_on_and_ends_alike(source, tmp_path):
    """With centers of the annotation: the process that is killed has the network for others."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    flags = ("--num_shards=12", "--splits=train", "--center=annotation")
    convert(source[0], whole, *flags)
    command = [
        sys.executable, "-m", "data_prep.nyu", f"--nyu_dir={source[0]}", f"--output_dir={out}",
        *flags, "--workers=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    first = out / ".train.partial" / "train-00000-of-00012.tfrecord.json"
    deadline = time.monotonic() + 120.0
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert first.exists()
    assert not list(out.glob("*.tfrecord")), "it finished before it was killed"
    with pytest.raises(FileNotFoundError, match="no complete data set"):
        records.read_info(out)
    waiting = first.with_suffix("").stat()
    convert(source[0], out, *flags)
    published = (out / first.stem).stat()
    assert (published.st_ino, published.st_mtime_ns) == (waiting.st_ino, waiting.st_mtime_ns)
    assert records.verify(out).splits["train"].num_samples == FRAMES
    for a, b in zip(read(out, "train"), read(whole, "train"), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert not (out / ".train.partial").exists()


def test_damaged_waiting_shards_are_made_again(source, tmp_path):
    split = recording_files.open_split(source[0], "train")
    intrinsics = np.tile(np.float32(camera.NYU_INTRINSICS), (3, 1))
    cameras = calibration.calibrate(split.joints_mm, "annotation", intrinsics)
    spec = crop.CropSpec(32)
    plan = ConversionPlan(tmp_path, "train", 2, "test", spec, 3, frames=range(1, 9))
    converter = frame_converter.FrameConverter(split, cameras, spec, "annotation", (1,))

    def fail_in_the_second_shard(frame):
        if frame == 4:
            raise KeyboardInterrupt
        return converter(frame)

    with pytest.raises(KeyboardInterrupt):
        split_conversion.convert_split(plan, fail_in_the_second_shard, workers=1)
    waiting = tmp_path / ".train.partial" / plan.shard_names[0]
    waiting.write_bytes(waiting.read_bytes()[:-10])
    info = split_conversion.convert_split(plan, converter, workers=1)
    assert info.num_samples == 8
    assert len(list(tf.data.TFRecordDataset(str(tmp_path / plan.shard_names[0])))) == 4


def test_other_settings_start_anew(source, tmp_path):
    done = []

    def problem(frame):
        done.append(frame)
        if frame == 2:
            raise KeyboardInterrupt
        return EncodedFrame(frame, problem="nothing there")

    def plan(value):
        return ConversionPlan(
            tmp_path, "train", 2, "test", crop.CropSpec(32), 3, frames=[1, 2], settings={"a": value}
        )

    for value in (1, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            split_conversion.convert_split(plan(value), problem, workers=1)
    # The second run took the first shard as it was.
    assert done == [1, 2, 2, 1, 2]
