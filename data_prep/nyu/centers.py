"""Crop centers of a recording: found in the depth, at an annotated joint, or from a file."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfhand.geometry import camera

__all__ = ["CENTER_FORMS", "read_centers"]

CENTER_FORMS = ("xyz", "xyz_up", "uvd")

# px or mm; no hand is seen a kilometer away.
_FARTHEST = 1e6


def read_centers(path, form: str, intrinsics=camera.NYU_INTRINSICS) -> np.ndarray:
    """Reads crop centers of one camera, one frame a line, three numbers a line.

    V2V-PoseNet and others publish them so; for NYU, V2V-PoseNet's have y up ("xyz_up"). A line
    without three numbers ("invalid") is a frame without a center.

    Args:
        path: Text file.
        form: "xyz": mm in the camera frame, y down; "xyz_up": the same, y up; "uvd": px, px, mm.
        intrinsics: (fx, fy, cx, cy) in px, for "uvd".

    Returns:
        float64 `[n, 3]`, mm, camera frame, NaN where a frame has no center.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the form is unknown, or no line has a center.
    """
    if form not in CENTER_FORMS:
        raise ValueError(f"Expected one of {CENTER_FORMS} as form of centers, received {form!r}.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected a text file of centers at {path}, found none.")
    rows = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        is_center = len(row) == 3 and (np.abs(row) < _FARTHEST).all()
        rows.append(row if is_center else [np.nan] * 3)
    centers = np.array(rows, np.float64).reshape(-1, 3)
    if np.isnan(centers).all():
        raise ValueError(f"Expected three numbers a line, one line a frame, in {path}; found none.")
    if form == "xyz_up":
        return centers * np.array([1.0, -1.0, 1.0])
    if form == "uvd":
        return camera.unproject(tf.constant(centers), np.asarray(intrinsics, np.float64)).numpy()
    return centers
