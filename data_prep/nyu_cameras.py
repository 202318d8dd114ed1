"""Where the cameras of a recording in NYU's layout stand: from labels, or without any."""

import dataclasses

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data_prep import calibration, calibration_file, nyu_source
from tfhand.geometry import hand_center
from tfhand.hand import skeleton

__all__ = ["find_cameras"]

# Frames from which the cameras are calibrated where there is no annotation.
_CALIBRATION_FRAMES = 400
# The middle of a hand's surface lies nearer to the camera than the middle of the hand by about
# half of a hand's thickness; all cameras see it so, each along its own axis.
_BEHIND_SURFACE_MM = 15.0
# Within what distance points of two views agree that are no labels, mm.
_ROUGH_INLIER_MM = 50.0


def _some_frames(split):
    """Returns up to `_CALIBRATION_FRAMES` frames with all pictures, spread over the split."""
    whole = [f for f in split.frames if f not in split.missing_views]
    if not whole:
        return []
    index = np.linspace(0, len(whole) - 1, min(_CALIBRATION_FRAMES, len(whole))).astype(int)
    return [whole[i] for i in index]


def _points_from_depth(split, intrinsics):
    """The middle of the hand in every view of some frames, `[V, n, 1, 3]`, NaN: not found."""
    points = []
    for frame in tqdm(_some_frames(split), desc=f"{split.name}: calibrating", unit="frame"):
        depth_mm, problem = nyu_source.read_views(split, frame)
        if problem:
            continue
        center, found = hand_center.find_hand_center(depth_mm, intrinsics)
        behind = center + _BEHIND_SURFACE_MM * tf.math.l2_normalize(center, axis=-1)
        points.append(np.where(found[:, None], behind, np.nan)[:, None])
    return np.stack(points, axis=1) if points else np.empty([nyu_source.NUM_VIEWS, 0, 1, 3])


def _points_from_predictions(split, intrinsics, model):
    """The network's joints in every view of some frames, `[V, n, 36, 3]`, NaN: no hand found."""
    # Keras is slow to import, and only needed here.
    from tfhand import inference

    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)
    points = []
    for frame in tqdm(_some_frames(split), desc=f"{split.name}: calibrating", unit="frame"):
        depth_mm, problem = nyu_source.read_views(split, frame)
        if not problem:
            hands = inference.estimate_hands(network, depth_mm, intrinsics, spec)
            points.append(hands.spheres_mm[:, skeleton.SPHERE_FROM_JOINT])
    return np.stack(points, axis=1) if points else np.empty([nyu_source.NUM_VIEWS, 0, 36, 3])


def find_cameras(split, how: str | None, intrinsics, model: str | None):
    """Calibrates the cameras of a split.

    Args:
      split: `nyu_source.NyuSplit`.
      how: "annotation", "depth", "predictions", a calibration file, or None for the default.
      intrinsics: float32 `[3, 4]`.
      model: `pose.keras` for "predictions".

    Returns:
      `calibration.Calibration` with intrinsics.

    Raises:
      ValueError: if there is not what `how` needs, or a view does not fit.
      FileNotFoundError: if there is no such file.
    """
    how = how or ("depth" if split.joints_mm is None else "annotation")
    if how == "annotation":
        if split.joints_mm is None:
            raise ValueError(
                f"--calibration=annotation needs joint_data.mat in {split.folder}, found none."
            )
        return calibration.calibrate(split.joints_mm, "annotation", intrinsics)
    if how == "depth":
        points = _points_from_depth(split, intrinsics)
        return calibration.calibrate(
            points, "hands found in the depth", intrinsics, _ROUGH_INLIER_MM
        )
    if how == "predictions":
        if not model:
            raise ValueError("--calibration=predictions needs --model=pose.keras, found none.")
        points = _points_from_predictions(split, intrinsics, model)
        return calibration.calibrate(points, "estimates of a network", intrinsics, _ROUGH_INLIER_MM)
    found = calibration_file.load_calibration(how, nyu_source.NUM_VIEWS)
    if found.intrinsics is None:
        found = dataclasses.replace(found, intrinsics=intrinsics)
    if split.joints_mm is not None:
        return calibration.check(split.joints_mm, found, "annotation")
    points = _points_from_depth(split, found.intrinsics.astype(np.float32))
    return calibration.check(points, found, "hands found in the depth", _ROUGH_INLIER_MM)
