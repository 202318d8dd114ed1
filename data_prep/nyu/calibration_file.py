"""Calibration files of a user's own cameras.

JSON:

    {"intrinsics": [[fx, fy, cx, cy], ...], "ref_from_view": [4 x 4 matrix, ...]}

with one entry a view; lengths in mm, `ref_from_view` takes points of that camera to the reference
frame, whichever that is. `intrinsics` may be left out.
"""

from pathlib import Path

import numpy as np

from data_prep.nyu.calibration import Calibration
from tfhand import files

__all__ = ["load_calibration", "save_calibration"]

# No camera stands a kilometer away, and none has as many pixels.
_FARTHEST_MM = 1e6


def load_calibration(path, num_views: int) -> Calibration:
    """Reads a calibration file of V views, see the module's docstring.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold V rigid transforms, or bad intrinsics.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a calibration file {path}, found none.")
    values = files.read_json(path)
    try:
        transforms = np.array(values["ref_from_view"], np.float64)
        intrinsics = values.get("intrinsics")
        intrinsics = None if intrinsics is None else np.array(intrinsics, np.float64)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
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
    if intrinsics is not None and (
        intrinsics.shape != (num_views, 4)
        or not (np.abs(intrinsics) < _FARTHEST_MM).all()
        or (intrinsics[:, :2] <= 0).any()
    ):
        raise ValueError(
            f"Expected intrinsics of shape [{num_views}, 4] with positive fx and fy in {path}, "
            f"found {intrinsics.tolist()}."
        )
    nan = np.full(num_views, np.nan)
    return Calibration(transforms, intrinsics, nan, nan, path.name)


def save_calibration(path, calibration: Calibration) -> None:
    """Writes a file that `load_calibration` reads, whole or not at all."""
    values = {"ref_from_view": np.asarray(calibration.ref_from_view).tolist()}
    if calibration.intrinsics is not None:
        values["intrinsics"] = np.asarray(calibration.intrinsics).tolist()
    files.write_json(path, values)
