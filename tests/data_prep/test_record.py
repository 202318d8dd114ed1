"""Recordings of several cameras, made from folders, and what `data_prep.nyu` takes from them."""

import contextlib
import csv
import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from data_prep import record
from data_prep.nyu import calibration_file, command, recording_files
from tfhand import commands, files
from tfhand.cameras import folder
from tfhand.cameras.interface import CameraError, DepthFrame
from tfhand.geometry import camera, depth_image

LENS = [[60.0, 61.0, 32.0, 24.0], [62.0, 63.0, 31.0, 23.0], [64.0, 65.0, 30.0, 22.0]]


@pytest.fixture
def sources(tmp_path):
    """Three folders of five frames; frame n of view v shows 100 v + n mm."""
    folders = [tmp_path / f"camera{view}" for view in (1, 2, 3)]
    for view, path in enumerate(folders, start=1):
        path.mkdir()
        for number in range(1, 6):
            np.save(path / f"{number}.npy", np.full((48, 64), 100.0 * view + number))
    return folders


def run(sources, output_dir, *arguments):
    options = commands.parse(
        record.define_flags,
        [
            "record", "--camera=folder", f"--cameras={','.join(map(str, sources))}",
            "--countdown=0", "--intrinsics=60,61,32,24", f"--output_dir={output_dir}", *arguments,
        ],
    )  # fmt: skip
    record.main(options)


def depth_of(folder, view, number):
    return depth_image.read_depth(folder / f"depth_{view}_{number:07d}.png")


def test_a_recording_is_what_the_conversion_reads(sources, tmp_path, capsys):
    rig = tmp_path / "rig"
    run(sources, rig, "--frame_rate=0")
    split = recording_files.open_split(rig, "train")
    assert list(split.frames) == [1, 2, 3, 4, 5] and not split.missing_views
    for view in (1, 2, 3):
        assert (depth_of(rig / "train", view, 4) == 100 * view + 4).all()
    _, layout = recording_files.read_pictures(split, 1)
    assert (layout.width, layout.height) == (64, 48)
    cameras = json.loads((rig / "cameras.json").read_text())
    assert cameras["serials"] == list(map(str, sources))
    assert cameras["intrinsics"] == [[60.0, 61.0, 32.0, 24.0]] * 3
    with open(rig / "train" / "times.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert float(rows[2]["time_ms_3"]) == pytest.approx(2000.0 / 30.0, abs=1e-3)
    assert "5 samples; 15 frames read, 0 without partners" in capsys.readouterr().out


def test_the_same_command_goes_on(sources, tmp_path):
    rig = tmp_path / "rig"
    run(sources, rig, "--num_samples=2", "--frame_rate=0")
    run(sources, rig, "--num_samples=1", "--frame_rate=0")
    run(sources, rig, "--num_samples=1", "--frame_rate=0", "--split=test")
    assert (depth_of(rig / "train", 2, 3) == 201).all()
    assert list(recording_files.open_split(rig, "test").frames) == [1]
    assert len((rig / "train" / "times.csv").read_text().splitlines()) == 4
    with pytest.raises(ValueError, match=r"cameras of .*cameras\.json.*another folder"):
        run(sources[::-1], rig)


def test_samples_a_second(sources, tmp_path):
    run(sources, tmp_path / "rig", "--frame_rate=15")
    assert (depth_of(tmp_path / "rig" / "train", 1, 2) == 103).all()
    assert list(recording_files.open_split(tmp_path / "rig", "train").frames) == [1, 2, 3]


def test_killed_at_any_moment_every_picture_is_whole(sources, tmp_path, monkeypatch):
    """The process dies within the writing of each picture in turn."""

    replace = os.replace
    for count in range(1, 7):
        rig, left = tmp_path / f"rig{count}", [count + 1]  # One is cameras.json.

        def replace_or_die(source, target, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise SystemExit
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", replace_or_die)
        with pytest.raises(SystemExit):
            run(sources, rig, "--frame_rate=0")
        monkeypatch.setattr(files.os, "replace", replace)
        run(sources, rig, "--frame_rate=0", "--num_samples=1")
        for path in (rig / "train").glob("depth_*.png"):
            assert depth_image.read_depth(path).shape == (48, 64)
        split = recording_files.open_split(rig, "train")
        whole = [frame for frame in split.frames if frame not in split.missing_views]
        with open(rig / "train" / "times.csv") as file:
            timed = [int(row["frame"]) for row in csv.DictReader(file)]
        # Of the sample that was being written there may be no times, never times without pictures.
        assert set(timed) <= set(whole) and len(whole) - len(timed) <= 1


def test_signals_end_it_cleanly(sources, tmp_path, monkeypatch, capsys):
    write = record.SampleWriter.write

    def write_and_end(self, frames):
        write(self, frames)
        if self.num_samples == 3:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(record.SampleWriter, "write", write_and_end)
    run(sources, tmp_path / "rig", "--frame_rate=0")
    assert "3 samples;" in capsys.readouterr().out


def test_a_preview_a_second(sources, tmp_path, monkeypatch, capsys):
    seconds = iter(range(1000))
    monkeypatch.setattr(record.time, "monotonic", lambda: float(next(seconds)))
    run(sources, tmp_path / "rig", "--frame_rate=0")
    assert "1 samples, 0 frames dropped, nearest at 101, 201, 301 mm" in capsys.readouterr().out
    with Image.open(tmp_path / "rig" / "preview.png") as picture:
        assert picture.size == (3 * 320, 240)
        shades = [picture.getpixel((160 + 320 * view, 120)) for view in range(3)]
    assert shades[0] > shades[1] > shades[2] > 0


class Frames:
    """Stands in for a reader: frames at given times."""

    def __init__(self, *times_ms):
        self.times_ms, self.num_read, self.num_dropped = list(times_ms), 0, 0

    def get(self):
        if not self.times_ms:
            return None
        self.num_read += 1
        return record.frame_reader.ReadFrame(DepthFrame(None, self.times_ms.pop(0)), 0.0)


def test_frames_that_do_not_belong_together_are_dropped():
    readers = Frames(0, 33, 66, 100, 133), Frames(5, 71, 138), Frames(2, 35, 68, 101, 134)
    matcher = record.FrameMatcher(readers, max_apart_ms=10.0)
    times_ms = [[frame.time_ms for frame in frames] for frames in matcher]
    assert times_ms == [[0, 5, 2], [66, 71, 68], [133, 138, 134]]
    assert (matcher.num_read, matcher.num_apart) == (13, 4)


def test_an_unplugged_camera_leaves_whole_samples(sources, tmp_path, monkeypatch, capsys):
    gone = CameraError("Expected frames of test camera 1, received none.")
    poll, left = folder.FolderCamera.poll, [7]

    def poll_or_fail(self):
        left[0] -= 1
        if left[0] < 0:
            raise gone
        return poll(self)

    monkeypatch.setattr(folder.FolderCamera, "poll", poll_or_fail)
    # One camera, so that the order of threads does not matter.
    (tmp_path / "more").mkdir()
    for number in range(1, 21):
        np.save(tmp_path / "more" / f"{number}.npy", np.full((48, 64), 500.0))
    with pytest.raises(CameraError, match="test camera 1"):
        run([tmp_path / "more"], tmp_path / "rig", "--frame_rate=0")
    assert "7 samples; 7 frames read" in capsys.readouterr().out
    assert (depth_of(tmp_path / "rig" / "train", 1, 7) == 500).all()


def test_cameras_that_never_agree(sources, tmp_path, monkeypatch):
    readers = iter([Frames(0, 33, 66), Frames(15, 48, 81), Frames(0, 33, 66)])
    monkeypatch.setattr(
        record.frame_reader, "FrameReader", lambda *_: contextlib.nullcontext(next(readers))
    )
    with pytest.raises(ValueError, match=r"within 10 ms .* none; the last were 1[58] ms"):
        run(sources, tmp_path / "rig", "--max_apart_ms=10")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["camera1", "camera1"], "different --cameras"),
        (["camera1", "nowhere"], "nowhere, found none"),
    ],
)
def test_bad_cameras(names, expected, sources, tmp_path):
    with pytest.raises((ValueError, OSError), match=expected):
        run([tmp_path / name for name in names], tmp_path / "rig")


def options_for(rig, *arguments):
    return commands.parse(
        command.define_flags, ["nyu", f"--nyu_dir={rig}", f"--output_dir={rig}/out", *arguments]
    )


def test_the_conversion_takes_the_cameras_of_the_recording(tmp_path):
    path = tmp_path / "cameras.json"
    files.write_json(path, {"serials": ["a", "b", "c"], "intrinsics": LENS})
    found = command._find_intrinsics(options_for(tmp_path))
    np.testing.assert_array_equal(found, np.float32(LENS))
    assert command._calibration_method(options_for(tmp_path)) is None
    given = options_for(tmp_path, "--intrinsics=588,587,320,240")
    assert command._find_intrinsics(given)[2].tolist() == [588.0, 587.0, 320.0, 240.0]
    places = np.tile(np.eye(4), (3, 1, 1))
    files.write_json(path, {"intrinsics": LENS, "ref_from_view": places.tolist()})
    assert command._calibration_method(options_for(tmp_path)) == str(path)
    assert command._calibration_method(given) is None
    loaded = calibration_file.load_calibration(path, 3)
    np.testing.assert_array_equal(loaded.intrinsics, LENS)
    path.unlink()
    assert command._find_intrinsics(options_for(tmp_path))[0, 0] == np.float32(
        camera.NYU_INTRINSICS[0]
    )


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"intrinsics": [[1, 2, 3, 4]]}', '{"intrinsics": [[1], [2, 3], "a"]}']
)
def test_bad_cameras_of_a_recording(content, tmp_path):
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(ValueError, match=r"cameras\.json"):
        command._find_intrinsics(options_for(tmp_path))
