"""Luxonis OAK cameras with two lenses for stereo (OAK-D), through depthai 3."""

import datetime
import time

import numpy as np

from tfhand.cameras import interface

__all__ = ["OakCamera"]

_FRAME_RATE = 30.0
_POLL = datetime.timedelta(milliseconds=200)
# The first frame, which tells the intrinsics, may take its time.
_FIRST_S = 10.0


class OakCamera(interface.Camera):
    """An OAK camera; depth is that of its own stereo matching, in mm."""

    def __init__(self, source: str | None = None):
        """Opens a camera by its device number (serial number); None: the first."""
        self._sdk = sdk = interface.import_sdk("depthai", "depthai", "oak")
        self._errors = (RuntimeError, sdk.MessageQueue.QueueException)
        with interface.sdk_errors("oak cameras", self._errors):
            devices = {d.getDeviceId(): d for d in sdk.Device.getAllConnectedDevices()}
        source = interface.choose_serial("oak", source, list(devices))
        super().__init__("oak", source, _FRAME_RATE)
        with interface.sdk_errors(self.name, self._errors):
            self._device = sdk.Device(devices[source])
            if not self._device.getAvailableStereoPairs():
                self._device.close()
                raise interface.no_depth(self.name)
            self._pipeline = sdk.Pipeline(self._device)
            stereo = self._pipeline.create(sdk.node.StereoDepth)
            stereo = stereo.build(autoCreateCameras=True, fps=_FRAME_RATE)
            # Holds one frame: the newest.
            self._queue = stereo.depth.createOutputQueue(maxSize=1, blocking=False)
            self._pipeline.start()
        self.intrinsics = self._first_intrinsics()

    def _first_intrinsics(self):
        """Waits for a frame, which tells the intrinsics of depth."""
        deadline_s = time.monotonic() + _FIRST_S
        while time.monotonic() < deadline_s:
            with interface.sdk_errors(self.name, self._errors):
                frame = self._queue.get(_POLL)
            if frame is not None:
                matrix = np.array(frame.getTransformation().getIntrinsicMatrix(), np.float32)
                return matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        self.close()
        raise interface.CameraError(
            f"Expected frames of {self.name}, received none for {_FIRST_S:g} s."
        )

    def poll(self):
        """See `Camera.poll`."""
        with interface.sdk_errors(self.name, self._errors):
            frame = self._queue.get(_POLL)
            if frame is None:
                return None
            # On the host's clock.
            time_ms = 1000.0 * frame.getTimestamp().total_seconds()
            return interface.DepthFrame(np.array(frame.getFrame()), time_ms)

    def _close(self):
        with interface.sdk_errors(self.name, self._errors):
            self._pipeline.stop()
            self._device.close()
