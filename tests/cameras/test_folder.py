"""Files that play like a camera, and the thread that reads one."""

import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tfhand import commands
from tfhand.cameras import camera_flags, frame_reader, interface, kinds
from tfhand.geometry import camera


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((48, 64), value, np.uint16)).save(path)


def values(opened):
    return [int(frame.depth_mm[0, 0]) for frame in opened]


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        save(tmp_path / f"{number}.png", 100 * number)
    lens = [50, 51, 32, 24]
    with kinds.open_camera("folder", str(tmp_path), scale=0.5, intrinsics=lens) as opened:
        frames = list(opened)
        assert [int(frame.depth_mm[0, 0]) for frame in frames] == [50, 450, 500]
        np.testing.assert_allclose(np.diff([f.time_ms for f in frames]), 1000.0 / 30.0)
        np.testing.assert_array_equal(opened.intrinsics, lens)
        assert opened.serial == str(tmp_path)


def test_npy_files_and_single_files(tmp_path):
    np.save(tmp_path / "a.npy", np.full((48, 64), 0.7))
    assert values(kinds.open_camera("folder", str(tmp_path / "a.npy"), scale=1000.0)) == [700]


def test_a_recording_plays_one_view_with_its_intrinsics(tmp_path):
    for view in (1, 2, 3):
        for number in (1, 2):
            save(tmp_path / "train" / f"depth_{view}_{number:07d}.png", 100 * view + number)
    (tmp_path / "cameras.json").write_text(
        json.dumps({"intrinsics": [[500 + view, 500, 32, 24] for view in (1, 2)]})
    )
    first = kinds.open_camera("folder", str(tmp_path / "train"))
    assert values(first) == [101, 102] and first.intrinsics[0] == 501
    second = kinds.open_camera("folder", str(tmp_path / "train" / "depth_2_*.png"))
    assert values(second) == [201, 202] and second.intrinsics[0] == 502
    with pytest.raises(ValueError, match=r"intrinsics of view 3 in .*cameras\.json"):
        kinds.open_camera("folder", str(tmp_path / "train" / "depth_3_*.png"))
    (tmp_path / "cameras.json").unlink()
    np.testing.assert_allclose(
        kinds.open_camera("folder", str(tmp_path / "train")).intrinsics, camera.NYU_INTRINSICS
    )


def test_a_frame_rate_is_kept(tmp_path):
    for number in range(5):
        save(tmp_path / f"{number}.png", number)
    start_s = time.monotonic()
    assert len(values(kinds.open_camera("folder", str(tmp_path), frame_rate=50.0))) == 5
    assert time.monotonic() - start_s >= 4 / 50


def test_a_loop_goes_on_until_it_is_stopped(tmp_path):
    save(tmp_path / "1.png", 1)
    opened = kinds.open_camera("folder", str(tmp_path), loops=True)
    for count, _frame in enumerate(opened, start=1):
        if count == 7:
            opened.stop()
    assert count == 7


class Source(interface.Camera):
    """Delivers numbered frames as fast as they are wanted, then waits for `ends`."""

    def __init__(self, count, is_live, error=EOFError):
        super().__init__("test", "1", 30.0, is_live)
        self.count, self.error, self.next, self.ends = count, error, 0, threading.Event()

    def poll(self):
        if self.next == self.count:
            self.ends.wait(10.0)
            raise self.error
        self.next += 1
        return interface.DepthFrame(np.full((2, 2), self.next, np.uint16), float(self.next))

    def _close(self):
        pass


def wait_until(condition):
    deadline_s = time.monotonic() + 10.0
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert condition()


def test_of_a_live_camera_the_newest_frame_is_kept_and_others_are_counted():
    source = Source(20, is_live=True)
    with frame_reader.FrameReader(source, capacity=2) as reader:
        wait_until(lambda: reader.num_read == 20)
        source.ends.set()
        assert [item.frame.time_ms for item in reader] == [19.0, 20.0]
        assert (reader.num_read, reader.num_dropped) == (20, 18)


def test_frames_of_a_file_wait():
    source = Source(20, is_live=False)
    source.ends.set()
    with frame_reader.FrameReader(source) as reader:
        assert [item.frame.time_ms for item in reader] == [float(i) for i in range(1, 21)]
        assert (reader.num_read, reader.num_dropped) == (20, 0)


def test_an_error_of_the_camera_comes_after_its_last_frame():
    source = Source(1, is_live=True, error=interface.CameraError("gone"))
    with frame_reader.FrameReader(source) as reader:
        assert reader.get().frame.time_ms == 1.0
        source.ends.set()
        with pytest.raises(interface.CameraError, match="gone"):
            reader.get()


def test_a_reader_ends_while_a_file_waits():
    source = Source(20, is_live=False)
    with frame_reader.FrameReader(source):
        pass
    assert source.next < 20


def test_a_silent_camera_is_taken_for_gone(monkeypatch):
    monkeypatch.setattr(interface, "_SILENCE_S", 0.01)
    source = Source(1, is_live=True)
    source.poll = lambda: None
    with pytest.raises(interface.CameraError, match=r"frames of test camera 1.*unplugged"):
        list(source)


@pytest.mark.parametrize(
    ("arguments", "source", "expected"),
    [
        (["--camera=folder"], None, "Expected a folder to play"),
        (["--camera=folder"], "{tmp}/nowhere", "nowhere, found none"),
        (["--camera=folder"], "{tmp}/*.png", r"depth images .*\*\.png, found none"),
        (["--camera=folder"], "{tmp}", "Expected depth images"),
        (["--camera=folder", "--depth_scale=0"], "{tmp}", "positive --depth_scale"),
        (["--camera=folder", "--intrinsics=1,2,3"], "{tmp}", "--intrinsics=fx,fy,cx,cy"),
        (["--intrinsics=1,2,3,4"], "1", "--intrinsics with --camera=folder alone"),
    ],
)
def test_bad_sources_and_flags(arguments, source, expected, tmp_path):
    options = commands.parse(camera_flags.define_flags, ["live", *arguments])
    source = source and source.format(tmp=tmp_path)
    with pytest.raises((ValueError, OSError), match=expected):
        camera_flags.open_from_flags(options, source)


def test_unknown_kinds():
    with pytest.raises(ValueError, match="folder, realsense, orbbec, oak, received 'kinect'"):
        kinds.open_camera("kinect")
