"""Intel RealSense cameras, and recorded files of their SDK (.db3, .bag), through pyrealsense2."""

import contextlib
import os
import time

import numpy as np

from tfhand.cameras import interface

__all__ = ["RealSenseCamera", "find_devices"]

_POLL_MS = 200
_RECORDED = (".db3", ".bag")


def find_devices(sdk) -> dict:
    """Returns the devices that are plugged in by their serial numbers."""
    devices = sdk.context().query_devices()
    return {device.get_info(sdk.camera_info.serial_number): device for device in devices}


class RealSenseCamera(interface.Camera):
    """A RealSense camera, or a file that one has recorded."""

    def __init__(self, source: str | None = None):
        """Opens a camera by its serial number, or a recorded file by its path; None: the first."""
        self._sdk = interface.import_sdk("pyrealsense2", "pyrealsense2", "realsense")
        is_file = source is not None and source.endswith(_RECORDED)
        with interface.sdk_errors(f"realsense {source or 'cameras'}", RuntimeError):
            if is_file:
                if not os.path.isfile(source):
                    raise FileNotFoundError(f"Expected a recorded file {source}, found none.")
                device = self._sdk.context().load_device(source)
            else:
                devices = find_devices(self._sdk)
                source = interface.choose_serial("realsense", source, list(devices))
                device = devices[source]
        self._playback = device if is_file else None
        with interface.sdk_errors(f"realsense camera {source}", RuntimeError):
            sensor, profile = self._depth_stream(device, source)
            super().__init__("realsense", source, float(profile.fps()))
            lens = profile.as_video_stream_profile().get_intrinsics()
            self.intrinsics = np.array([lens.fx, lens.fy, lens.ppx, lens.ppy], np.float32)
            # Holds one frame: the newest.
            self._queue = self._sdk.frame_queue(1)
            sensor.open(profile)
            sensor.start(self._queue)
        self._sensor = sensor
        self._play(False)

    def _depth_stream(self, device, serial):
        """Returns the sensor with depth and its default profile, or the first where none is."""
        found = [
            (not profile.is_default(), sensor, profile)
            for sensor in device.query_sensors()
            for profile in sensor.get_stream_profiles()
            if profile.stream_type() == self._sdk.stream.depth
            and profile.format() == self._sdk.format.z16
        ]
        if not found:
            raise interface.no_depth(f"realsense camera {serial}")
        return min(found, key=lambda row: row[0])[1:]

    def poll(self):
        """See `Camera.poll`."""
        with interface.sdk_errors(self.name, RuntimeError):
            is_new, frame = self._queue.try_wait_for_frame(_POLL_MS)
            if not is_new:
                stopped = self._sdk.playback_status.stopped
                if self._playback is not None and self._playback.current_status() == stopped:
                    raise EOFError
                return None
            depth = frame.as_depth_frame()
            # A copy: the SDK writes later frames into the same memory.
            values, unit_mm = np.array(depth.get_data()), 1000.0 * depth.get_units()
            is_own_clock = (
                depth.get_frame_timestamp_domain() == self._sdk.timestamp_domain.hardware_clock
            )
            time_ms = 1000.0 * time.time() if is_own_clock else depth.get_timestamp()
        if abs(unit_mm - 1.0) > 1e-6:
            values = values * np.float32(unit_mm)
        return interface.DepthFrame(values, time_ms)

    def _play(self, is_on):
        # A file that has ended can do neither.
        with contextlib.suppress(RuntimeError):
            if self._playback is not None:
                (self._playback.resume if is_on else self._playback.pause)()

    def _close(self):
        # A camera that was unplugged cannot be stopped.
        with interface.sdk_errors(self.name, RuntimeError):
            self._sensor.stop()
            self._sensor.close()
