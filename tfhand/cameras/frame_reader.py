"""A thread that reads a camera and keeps its newest frames, never a growing queue."""

import collections
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from tfhand.cameras.interface import Camera, DepthFrame

__all__ = ["FrameReader", "ReadFrame"]


class ReadFrame(NamedTuple):
    """A frame, and when it arrived here: seconds of `time.monotonic`."""

    frame: DepthFrame
    arrival_s: float


class FrameReader:
    """Reads a camera in a thread; a `with` block ends the thread, not the camera.

    Attributes:
        num_read: Frames that came.
        num_dropped: Frames of them that nobody took in time. Those of a camera that is not live
            wait instead.
    """

    def __init__(self, camera: Camera, capacity: int = 1, first: DepthFrame | None = None):
        """Starts reading.

        Args:
            camera: An open camera.
            capacity: Frames that are kept at most, the newest.
            first: A frame that was read before.
        """
        self._camera, self._capacity = camera, capacity
        frames = [] if first is None else [ReadFrame(first, time.monotonic())]
        self._frames: collections.deque[ReadFrame] = collections.deque(frames)
        self.num_read, self.num_dropped = len(frames), 0
        self._changed = threading.Condition()
        self._is_over, self._error = False, None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for frame in self._camera:
                with self._changed:
                    self._make_room()
                    self._frames.append(ReadFrame(frame, time.monotonic()))
                    self.num_read += 1
                    self._changed.notify_all()
                    if self._is_over:
                        return
        except Exception as error:  # Raised again where the frames are taken.
            self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _make_room(self):
        if self._camera.is_live:
            while len(self._frames) >= self._capacity:
                self._frames.popleft()
                self.num_dropped += 1
        else:
            self._changed.wait_for(lambda: len(self._frames) < self._capacity or self._is_over)

    def get(self) -> ReadFrame | None:
        """Waits for a frame and returns the oldest of those that are kept; None after the last.

        Raises:
            CameraError: If the camera is gone; other errors of reading it likewise.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._is_over)
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
        if self._error is not None:
            raise self._error
        return None

    def __iter__(self) -> Iterator[ReadFrame]:
        """Yields frames to the last."""
        return iter(self.get, None)

    def __enter__(self):
        """Returns the reader."""
        return self

    def __exit__(self, *_):
        """Stops the camera and ends the thread."""
        self._camera.stop()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()
