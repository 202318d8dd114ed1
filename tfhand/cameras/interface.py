"""The interface of a depth camera, and what its kinds share: choosing a device, errors."""

import abc
import contextlib
import dataclasses
import importlib
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = [
    "Camera",
    "CameraError",
    "DepthFrame",
    "choose_serial",
    "import_sdk",
    "no_depth",
    "sdk_errors",
]

# A camera that says nothing for so long is taken for gone.
_SILENCE_S = 5.0


class CameraError(OSError):
    """A camera is not there, cannot be opened, or is gone; the message is one line."""


@dataclasses.dataclass(frozen=True)
class DepthFrame:
    """A frame of a depth camera.

    Attributes:
        depth_mm: uint16 or float32 [H, W], mm along the camera's axis, 0: no reading.
        time_ms: When it was taken, ms, on a clock that the cameras of one machine share.
    """

    depth_mm: np.ndarray
    time_ms: float


class Camera(abc.ABC):
    """An open camera; iterate over it for its frames, and close it, or use it in a `with` block.

    Attributes:
        name: Kind and serial number, for messages.
        serial: Serial number; the path of what plays from files.
        intrinsics: float32 [4], fx, fy, cx, cy of the depth picture in px.
        frame_rate: Frames a second.
        is_live: True if frames come at their own time, False if each waits until it is taken.
    """

    def __init__(self, kind: str, serial: str, frame_rate: float, is_live: bool = True):
        """Names the camera; a kind's own constructor opens it and sets `intrinsics`."""
        self.name, self.serial = f"{kind} camera {serial}", serial
        self.intrinsics = np.zeros(4, np.float32)
        self.frame_rate, self.is_live = frame_rate, is_live
        self._stopping = threading.Event()

    @abc.abstractmethod
    def poll(self) -> DepthFrame | None:
        """Returns the next frame, or None if there is none within some 0.2 s.

        Raises:
            EOFError: If there will be no more, at the end of a file.
            CameraError: If the camera is gone.
        """

    @abc.abstractmethod
    def _close(self) -> None:
        """Gives the device back."""

    def __iter__(self) -> Iterator[DepthFrame]:
        """Yields frames until a file ends or another thread calls `stop`.

        Raises:
            CameraError: If the camera is gone.
        """
        self._play(True)
        try:
            last_s = time.monotonic()
            while not self._stopping.is_set():
                frame = self.poll()
                if frame is not None:
                    yield frame
                    last_s = time.monotonic()
                elif time.monotonic() - last_s > _SILENCE_S:
                    raise CameraError(
                        f"Expected frames of {self.name}, received none for {_SILENCE_S:g} s: was "
                        "it unplugged?"
                    )
        except EOFError:
            return
        finally:
            self._play(False)

    def _play(self, is_on: bool) -> None:
        """Goes on, or pauses, where a file plays by itself; a device goes on in any case."""
        del is_on

    def stop(self) -> None:
        """Ends the iteration soon, in whichever thread it is."""
        self._stopping.set()

    def close(self) -> None:
        """Stops, and gives the device back."""
        self.stop()
        # One that was unplugged cannot be closed.
        with contextlib.suppress(CameraError):
            self._close()

    def __enter__(self):
        """Returns the camera."""
        return self

    def __exit__(self, *_):
        """Closes the camera."""
        self.close()


def choose_serial(kind: str, serial: str | None, serials: Sequence[str]) -> str:
    """Returns the serial number of the device to open: the one that is named, or the first.

    Raises:
        CameraError: If it is not there; the message lists those that are.
    """
    if not serials:
        raise CameraError(f"Expected a camera of kind {kind}, found none: is it plugged in?")
    if serial is not None and serial not in serials:
        raise CameraError(f"Expected {kind} camera {serial}, found {', '.join(serials)}.")
    return serials[0] if serial is None else serial


def no_depth(camera: str) -> CameraError:
    """Returns the error of a camera, named for the message, that has no depth."""
    return CameraError(f"Expected a stream of depth from {camera}, found none.")


def import_sdk(module: str, package: str, extra: str):
    """Imports a camera's package.

    Raises:
        CameraError: If it is not installed, or something that it needs is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise CameraError(
            f"Expected the package {package}, found none: install the extra {extra!r}, for example "
            f"pip install '.[{extra}]'."
        ) from error
    except ImportError as error:
        raise CameraError(f"Cannot load the package {package}: {error}.") from error


@contextlib.contextmanager
def sdk_errors(camera: str, kinds):
    """Context in which errors of a package become a `CameraError`.

    Args:
        camera: Its name, for the message.
        kinds: Exception, or tuple of exceptions, that the package raises.
    """
    try:
        yield
    except kinds as error:
        raise CameraError(
            f"Cannot use {camera}: {error}. Is it plugged in, and free of other programs?"
        ) from error
