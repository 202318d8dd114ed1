"""The kinds of cameras by name."""

import importlib

from tfhand.cameras.interface import Camera

__all__ = ["KINDS", "open_camera"]

# Module and class; the module is imported when a camera of the kind is opened.
_CLASSES = {
    "folder": ("tfhand.cameras.folder", "FolderCamera"),
    "realsense": ("tfhand.cameras.realsense", "RealSenseCamera"),
    "orbbec": ("tfhand.cameras.orbbec", "OrbbecCamera"),
    "oak": ("tfhand.cameras.oak", "OakCamera"),
}
KINDS = tuple(_CLASSES)


def open_camera(kind: str, source: str | None = None, **playback) -> Camera:
    """Opens a camera.

    Args:
        kind: One of `KINDS`.
        source: Serial number, or what plays: a folder, a pattern, a recorded file; None: the first
            camera that is there.
        **playback: Of a folder, see `folder.FolderCamera`.

    Raises:
        CameraError: If it cannot be opened.
        ValueError: If there is no such kind, or something else is wrong.
        FileNotFoundError: If there is nothing to play.
    """
    if kind not in _CLASSES:
        raise ValueError(f"Expected a camera of {', '.join(KINDS)}, received {kind!r}.")
    module, name = _CLASSES[kind]
    return getattr(importlib.import_module(module), name)(source, **playback)
