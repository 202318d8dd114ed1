"""RealSense through the SDK's own software device and a file that it recorded.

Only the list of devices is replaced: the SDK's context does not show software devices.
"""

import gc
import time

import numpy as np
import pytest

from tfhand.cameras import interface, kinds, realsense

WIDTH, HEIGHT = 64, 48
# That of an SR305.
UNIT_MM = 0.125


class SoftwareCamera:
    """A software device with one stream, and what it needs to send frames."""

    def __init__(self, sdk, serial="823112060001", with_depth=True):
        self.sdk, self.device = sdk, sdk.software_device()
        self.device.register_info(sdk.camera_info.serial_number, serial)
        self.device.register_info(sdk.camera_info.name, "software")
        self.sensor = self.device.add_sensor("Stereo Module")
        lens = sdk.intrinsics()
        lens.width, lens.height, lens.model = WIDTH, HEIGHT, sdk.distortion.none
        lens.fx, lens.fy, lens.ppx, lens.ppy, lens.coeffs = 60.0, 61.0, 32.5, 24.5, [0.0] * 5
        stream = sdk.video_stream()
        stream.type, stream.fmt = sdk.stream.infrared, sdk.format.y16
        if with_depth:
            stream.type, stream.fmt = sdk.stream.depth, sdk.format.z16
            self.sensor.add_read_only_option(sdk.option.depth_units, UNIT_MM / 1000.0)
        stream.index, stream.uid, stream.fps, stream.bpp = 0, 1, 30, 2
        stream.width, stream.height, stream.intrinsics = WIDTH, HEIGHT, lens
        self.profile = self.sensor.add_video_stream(stream).as_video_stream_profile()

    def send(self, number, value):
        frame = self.sdk.software_video_frame()
        frame.pixels = np.full((HEIGHT, WIDTH), value, np.uint16)
        frame.stride, frame.bpp, frame.profile = 2 * WIDTH, 2, self.profile
        frame.frame_number, frame.timestamp = number, 5000.0 + 33.0 * number
        frame.domain = self.sdk.timestamp_domain.global_time
        frame.depth_units = UNIT_MM / 1000.0
        self.sensor.on_video_frame(frame)


@pytest.fixture
def sdk(needs):
    needs("pyrealsense2")
    import pyrealsense2

    return pyrealsense2


@pytest.fixture
def plug_in(sdk, monkeypatch):
    """A function that makes software devices all that is plugged in."""

    def plug(*cameras):
        devices = {c.device.get_info(sdk.camera_info.serial_number): c.device for c in cameras}
        monkeypatch.setattr(realsense, "find_devices", lambda sdk: devices)

    return plug


def test_frames_with_unit_intrinsics_and_time_of_the_device(sdk, plug_in):
    software = SoftwareCamera(sdk)
    plug_in(software)
    with kinds.open_camera("realsense") as opened:
        assert opened.serial == "823112060001" and opened.frame_rate == 30.0
        np.testing.assert_allclose(opened.intrinsics, [60.0, 61.0, 32.5, 24.5])
        frames = []
        for number in range(3):
            software.send(number, 4000 + 8 * number)
            frames.append(opened.poll())
    assert [frame.depth_mm[5, 7] for frame in frames] == pytest.approx([500.0, 501.0, 502.0])
    assert frames[0].depth_mm.shape == (HEIGHT, WIDTH)
    assert [frame.time_ms for frame in frames] == [5000.0, 5033.0, 5066.0]
    # Closed, it can be opened again.
    kinds.open_camera("realsense", "823112060001").close()


def test_the_newest_frame_comes_first(sdk, plug_in):
    software = SoftwareCamera(sdk)
    plug_in(software)
    with kinds.open_camera("realsense") as opened:
        for number in range(4):
            software.send(number, 8 * number)
        assert opened.poll().depth_mm[0, 0] == 3.0


def test_a_recorded_file_plays_to_its_end(sdk, tmp_path):
    software, path = SoftwareCamera(sdk), str(tmp_path / "recorded.db3")
    recorder = sdk.recorder(path, software.device)
    sensor, queue = recorder.query_sensors()[0], sdk.frame_queue(1)
    sensor.open(sensor.get_stream_profiles()[0])
    sensor.start(queue)
    for number in range(5):
        software.send(number, 4000 + 8 * number)
        assert queue.try_wait_for_frame(1000)[0]
        time.sleep(0.05)
    sensor.stop()
    sensor.close()
    # The file is written when the recorder goes.
    del sensor, recorder
    gc.collect()
    with kinds.open_camera("realsense", path) as opened:
        np.testing.assert_allclose(opened.intrinsics, [60.0, 61.0, 32.5, 24.5])
        first = next(iter(opened))
        # It waits while nobody takes frames.
        time.sleep(0.3)
        frames = list(opened)
    # At its own speed: a busy machine misses some, and the SDK drops what it holds at the end.
    numbers = [round(frame.depth_mm[0, 0] - 500.0) for frame in [first, *frames]]
    assert len(numbers) > 1 and numbers == sorted(set(numbers)) and set(numbers) <= set(range(5))
    assert [frame.time_ms for frame in [first, *frames]] == [5000.0 + 33.0 * n for n in numbers]


def test_a_camera_that_falls_silent(sdk, plug_in, monkeypatch):
    monkeypatch.setattr(interface, "_SILENCE_S", 0.3)
    plug_in(SoftwareCamera(sdk))
    with kinds.open_camera("realsense") as opened:
        with pytest.raises(interface.CameraError, match=r"none for .* s: was it unplugged"):
            list(opened)


def test_bad_devices(sdk, plug_in, tmp_path):
    plug_in()
    with pytest.raises(interface.CameraError, match="kind realsense, found none: is it plugged"):
        kinds.open_camera("realsense")
    first, second = SoftwareCamera(sdk, "11"), SoftwareCamera(sdk, "22", with_depth=False)
    plug_in(first, second)
    with pytest.raises(interface.CameraError, match="realsense camera 33, found 11, 22"):
        kinds.open_camera("realsense", "33")
    with pytest.raises(interface.CameraError, match="stream of depth from realsense camera 22"):
        kinds.open_camera("realsense", "22")
    with kinds.open_camera("realsense", "11"):
        with pytest.raises(interface.CameraError, match=r"camera 11: .*free of other programs"):
            kinds.open_camera("realsense", "11")
    with pytest.raises(FileNotFoundError, match=r"recorded file .*\.bag, found none"):
        kinds.open_camera("realsense", str(tmp_path / "a.bag"))
    (tmp_path / "b.db3").write_bytes(b"nothing")
    with pytest.raises(interface.CameraError, match=r"b\.db3"):
        kinds.open_camera("realsense", str(tmp_path / "b.db3"))
