"""Files that play like a camera: a folder of depth images, a numbered sequence, a recording."""

import glob
import pathlib
import re
import time

import numpy as np

from tfhand import files
from tfhand.cameras.interface import Camera, DepthFrame
from tfhand.geometry import camera, depth_image

__all__ = ["CAMERAS_FILE", "FolderCamera"]

# Written beside the splits of a recording by `data_prep.record`.
CAMERAS_FILE = "cameras.json"
_VIEW = re.compile(r"depth_([0-9]+)_[0-9]+\.png")
_DIGITS = re.compile(r"([0-9]+)")


class FolderCamera(Camera):
    """Depth images in the order of their names.

    Args:
        source: A file, a folder, or a pattern such as `rig/train/depth_2_*.png`. Of a recording
            with several views in one folder, the first plays unless a pattern names another.
        intrinsics: fx, fy, cx, cy in px; None: those of the recording's `cameras.json`, or NYU's
            where there is none.
        scale: Factor from stored values to mm.
        frame_rate: Frames a second; 0: each as soon as the one before is taken. Time stamps are
            then those of 30 a second.
        loops: True to start again at the end.

    Raises:
        FileNotFoundError: If there is no image.
        ValueError: If a number is impossible.
    """

    def __init__(self, source, intrinsics=None, scale=1.0, frame_rate=0.0, loops=False):
        if source is None:
            raise ValueError("Expected a folder to play, received none.")
        if not 0.0 <= frame_rate < float("inf"):
            raise ValueError(f"Expected a frame rate of at least 0, received {frame_rate}.")
        super().__init__("folder", source, frame_rate or 30.0, is_live=frame_rate > 0)
        self._paths = _find_images(source)
        if intrinsics is None:
            intrinsics = _recorded_intrinsics(self._paths[0])
        self.intrinsics = np.array(intrinsics, np.float32)
        self._scale, self._loops = scale, loops
        self._next, self._due_s = 0, 0.0

    def poll(self):
        """See `Camera.poll`; waits until the frame is due."""
        if self._next == len(self._paths) and not self._loops:
            raise EOFError
        path = self._paths[self._next % len(self._paths)]
        depth_mm = depth_image.read_depth(path, self._scale)
        if self.is_live:
            # Late frames are not caught up with: a camera does not hurry either.
            self._due_s = max(self._due_s + 1.0 / self.frame_rate, time.monotonic())
            self._stopping.wait(self._due_s - time.monotonic())
        self._next += 1
        return DepthFrame(depth_mm, 1000.0 * (self._next - 1) / self.frame_rate)

    def _close(self):
        pass


def _find_images(source):
    if glob.has_magic(source) and not pathlib.Path(source).exists():
        paths = list(map(pathlib.Path, glob.glob(source)))
        if not paths:
            raise FileNotFoundError(f"Expected depth images {source}, found none.")
    else:
        paths = depth_image.find_images(source)
        first = min(view_of(path) or 0 for path in paths)
        paths = [path for path in paths if (view_of(path) or 0) == first]
    # By number: 2.png before 10.png.
    return sorted(paths, key=lambda path: [_number(part) for part in _DIGITS.split(path.name)])


def _number(part):
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def view_of(path):
    """Returns the number of the view of a recording's picture, from 1, or None of another file."""
    match = _VIEW.fullmatch(path.name)
    return int(match[1]) if match else None


def _recorded_intrinsics(path):
    view = view_of(path)
    for folder in path.parents[:2]:
        if view is not None and (folder / CAMERAS_FILE).is_file():
            values = files.read_json(folder / CAMERAS_FILE)
            try:
                return camera.parse_intrinsics(values["intrinsics"][view - 1])
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(
                    f"Expected intrinsics of view {view} in {folder / CAMERAS_FILE}, found none."
                ) from error
    return camera.NYU_INTRINSICS
