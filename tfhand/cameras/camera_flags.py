"""Flags of commands that open cameras."""

from absl import flags

from tfhand.cameras.interface import Camera
from tfhand.cameras.kinds import KINDS, open_camera
from tfhand.geometry import camera, depth_image

__all__ = ["define_flags", "open_from_flags"]

_FOLDER = "folder"


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags that say what kind of camera it is and how stored frames are read."""
    define = {"flag_values": flag_values}
    flags.DEFINE_enum("camera", "realsense", KINDS, "Kind of camera.", **define)
    text = "fx,fy,cx,cy in px; for folder alone: devices tell their own."
    flags.DEFINE_list("intrinsics", None, text, **define)
    units = tuple(depth_image.UNITS_MM)
    flags.DEFINE_enum("depth_unit", "mm", units, "Unit of stored values of folder.", **define)
    text = "Factor from stored values of folder to that unit."
    flags.DEFINE_float("depth_scale", 1.0, text, **define)


def open_from_flags(
    flag_values: flags.FlagValues, source: str | None, frame_rate: float = 0.0, loops: bool = False
) -> Camera:
    """Opens the camera that the flags describe.

    Args:
        flag_values: Values of `define_flags`.
        source: As for `open_camera`.
        frame_rate: Of a folder, see `folder.FolderCamera`.
        loops: Of a folder, likewise.

    Raises:
        CameraError: If it cannot be opened.
        ValueError: If a flag does not fit the kind, or has a bad value.
        FileNotFoundError: If there is nothing to play.
    """
    kind, intrinsics = flag_values.camera, flag_values.intrinsics
    if kind != _FOLDER:
        if intrinsics is not None:
            raise ValueError(f"Expected --intrinsics with --camera=folder alone, found {kind}.")
        return open_camera(kind, source)
    scale = flag_values.depth_scale * depth_image.UNITS_MM[flag_values.depth_unit]
    if not 0.0 < scale < float("inf"):
        raise ValueError(f"Expected a positive --depth_scale, received {flag_values.depth_scale}.")
    return open_camera(
        kind,
        source,
        intrinsics=None if intrinsics is None else camera.parse_intrinsics(intrinsics),
        scale=scale,
        frame_rate=frame_rate,
        loops=loops,
    )
