"""Orbbec cameras (Femto, Gemini, Astra 2) through pyorbbecsdk2, whose module is `pyorbbecsdk`."""

import numpy as np

from tfhand.cameras import interface

__all__ = ["OrbbecCamera"]

_POLL_MS = 200
# Wanted; 0: any.
_WIDTH, _HEIGHT, _FRAME_RATE = 640, 0, 30


class OrbbecCamera(interface.Camera):
    """An Orbbec camera."""

    def __init__(self, source: str | None = None):
        """Opens a camera by its serial number; None: the first."""
        self._sdk = sdk = interface.import_sdk("pyorbbecsdk", "pyorbbecsdk2", "orbbec")
        with interface.sdk_errors("orbbec cameras", sdk.OBError):
            devices = sdk.Context().query_devices()
            serials = [
                devices.get_device_serial_number_by_index(i) for i in range(devices.get_count())
            ]
        source = interface.choose_serial("orbbec", source, serials)
        super().__init__("orbbec", source, _FRAME_RATE)
        with interface.sdk_errors(self.name, sdk.OBError):
            self._pipeline = sdk.Pipeline(devices.get_device_by_serial_number(source))
            profile = self._depth_profile()
            self.frame_rate = float(profile.get_fps())
            lens = profile.get_intrinsic()
            self.intrinsics = np.array([lens.fx, lens.fy, lens.cx, lens.cy], np.float32)
            config = sdk.Config()
            config.enable_stream(profile)
            self._pipeline.start(config)

    def _depth_profile(self):
        """Returns the profile of 16-bit depth that is wanted, or the camera's own."""
        sdk = self._sdk
        try:
            profiles = self._pipeline.get_stream_profile_list(sdk.OBSensorType.DEPTH_SENSOR)
        except sdk.OBError as error:
            raise interface.no_depth(self.name) from error
        try:
            return profiles.get_video_stream_profile(_WIDTH, _HEIGHT, sdk.OBFormat.Y16, _FRAME_RATE)
        except sdk.OBError:
            return profiles.get_default_video_stream_profile()

    def poll(self):
        """See `Camera.poll`."""
        with interface.sdk_errors(self.name, self._sdk.OBError):
            frames = self._pipeline.wait_for_frames(_POLL_MS)
            depth = None if frames is None else frames.get_depth_frame()
            if depth is None:
                return None
            if depth.get_format() != self._sdk.OBFormat.Y16:
                raise interface.CameraError(
                    f"Expected 16-bit depth of {self.name}, received {depth.get_format()}."
                )
            values = np.frombuffer(depth.get_data(), np.uint16)
            values = values.reshape(depth.get_height(), depth.get_width())
            # Depth times its scale is a copy, in mm.
            depth_mm = values * np.float32(depth.get_depth_scale())
            return interface.DepthFrame(depth_mm, 1e-3 * depth.get_system_timestamp_us())

    def _close(self):
        with interface.sdk_errors(self.name, self._sdk.OBError):
            self._pipeline.stop()
