"""Calibration files of a user's own cameras.

JSON:

    {"intrinsics": [[fx, fy, cx, cy], ...], "ref_from_view": [4 x 4 matrix, ...]}

with one entry a view; lengths in mm, `ref_from_view` takes points of that camera to the reference
frame, whichever that is. `intrinsics` may be left out. A recording's `cameras.json` is
such a file; `data_prep.record` writes it with intrinsics alone.
"""

import os

import numpy as np
import tensorflow as tf

from data_prep.nyu.calibration import Calibration
from data_prep.records import storage
from tfhand import files
from tfhand.cameras.folder import CAMERAS_FILE

__all__ = ["load_calibration", "load_recorded_intrinsics", "recorded_places", "save_calibration"]

# No camera stands a kilometer away, and none has as many pixels.
_FARTHEST_MM = 1e6


def load_calibration(path, num_views: int) -> Calibration:
    """Reads a calibration file of V views, see the module's docstring.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold V rigid transforms, or bad intrinsics.
    """
    values = _read(path)
    intrinsics = _intrinsics(values, num_views, path)
    try:
        transforms = np.array(values["ref_from_view"], np.float64)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"Cannot use {path}: {type(error).__name__}: {error}.") from error
    if transforms.shape != (num_views, 4, 4):
        raise ValueError(
            f"Expected ref_from_view of shape [{num_views}, 4, 4] in {path}, found "
            f"{list(transforms.shape)}."
        )
    rotation = transforms[:, :3, :3]
    is_rigid = (
        (np.abs(transforms) < _FARTHEST_MM).all()
        and np.allclose(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3), atol=1e-3)
        and (np.linalg.det(rotation) > 0).all()
        and np.allclose(transforms[:, 3], [0.0, 0.0, 0.0, 1.0])
    )
    if not is_rigid:
        raise ValueError(f"Expected rigid transforms (rotation and translation) in {path}.")
    nan = np.full(num_views, np.nan)
    return Calibration(transforms, intrinsics, nan, nan, os.path.basename(path))


def load_recorded_intrinsics(nyu_dir, num_views: int) -> np.ndarray | None:
    """Returns the intrinsics that a recording holds, float64 `[V, 4]`, or None.

    Raises:
        ValueError: If they are bad, or of another number of views.
    """
    path = os.path.join(nyu_dir, CAMERAS_FILE)
    if not tf.io.gfile.exists(path):
        return None
    values = _read(path)
    stored = values.get("intrinsics")
    if isinstance(stored, list) and 0 < len(stored) < num_views:
        raise ValueError(
            f"Expected a recording of {num_views} cameras, found {len(stored)} in {path}: "
            "recordings of fewer are not converted."
        )
    return _intrinsics(values, num_views, path)


def recorded_places(nyu_dir) -> str | None:
    """Returns the path of a recording's calibration if it says where the cameras stand, or None."""
    path = os.path.join(nyu_dir, CAMERAS_FILE)
    return path if tf.io.gfile.exists(path) and "ref_from_view" in _read(path) else None


def _read(path):
    path = os.fspath(path)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"Expected a calibration file {path}, found none.")
    values = files.parse_json(storage.read_bytes(path), path)
    if not isinstance(values, dict):
        raise ValueError(f"Expected intrinsics and ref_from_view in {path}, found neither.")
    return values


def _intrinsics(values, num_views, path):
    """Returns the intrinsics of a file's values, float64 `[V, 4]`, or None where it has none."""
    stored = values.get("intrinsics")
    if stored is None:
        return None
    try:
        intrinsics = np.array(stored, np.float64)
    except (ValueError, TypeError, OverflowError):
        # Words, or rows of different lengths.
        intrinsics = np.zeros(0)
    if (
        intrinsics.shape != (num_views, 4)
        or not (np.abs(intrinsics) < _FARTHEST_MM).all()
        or (intrinsics[:, :2] <= 0).any()
    ):
        raise ValueError(
            f"Expected intrinsics of shape [{num_views}, 4] with positive fx and fy in {path}, "
            f"found {stored}."
        )
    return intrinsics


def save_calibration(path, calibration: Calibration) -> None:
    """Writes a file that `load_calibration` reads, whole or not at all."""
    values = {"ref_from_view": np.asarray(calibration.ref_from_view).tolist()}
    if calibration.intrinsics is not None:
        values["intrinsics"] = np.asarray(calibration.intrinsics).tolist()
    files.write_json(path, values)
