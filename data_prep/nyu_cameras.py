"""Where the cameras of a recording in NYU's layout stand: from labels, or without any."""

import concurrent.futures
import dataclasses

import numpy as np
from absl import logging
from tqdm import tqdm

from data_prep import calibration, calibration_file, nyu_frames, nyu_source
from tfhand.hand import skeleton

__all__ = ["find_cameras"]

# Frames from which the cameras are calibrated where there is no annotation.
_CALIBRATION_FRAMES = 400
# Within what distance points of two views agree that are no labels, mm.
_ROUGH_INLIER_MM = 50.0


def _some_frames(split):
    """Returns up to `_CALIBRATION_FRAMES` frames with all pictures, spread over the split."""
    whole = [f for f in split.frames if f not in split.missing_views]
    if not whole:
        return []
    index = np.linspace(0, len(whole) - 1, min(_CALIBRATION_FRAMES, len(whole))).astype(int)
    return [whole[i] for i in index]


def _in_some_frames(split, estimate):
    """Calls `estimate(pictures, layout)` on frames of the split; the results that are there."""

    def one(frame):
        pictures, layout = nyu_source.read_pictures(split, frame)
        try:
            return None if pictures is None else estimate(pictures, layout)
        except nyu_frames.DamagedPicture:
            return None

    frames = _some_frames(split)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = tqdm(
            pool.map(one, frames), f"{split.name}: calibrating", len(frames), unit="frame"
        )
        return [result for result in results if result is not None]


def _points_from_depth(split, intrinsics):
    """The middle of the hand in every view of some frames, `[V, n, 1, 3]`, NaN: not found."""

    def estimate(pictures, layout):
        center, found = nyu_frames.find_each(pictures, layout, intrinsics)
        return np.where(found[:, None], center, np.nan)[:, None]

    points = _in_some_frames(split, estimate)
    return np.stack(points, axis=1) if points else np.empty([nyu_source.NUM_VIEWS, 0, 1, 3])


def _points_from_predictions(split, intrinsics, model):
    """The network's joints in every view of some frames, `[V, n, 36, 3]`, NaN: no hand found."""
    # Keras is slow to import, and only needed here.
    from tfhand import inference

    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)

    def estimate(pictures, layout):
        depth_mm = nyu_frames.decode_views(pictures, layout)
        hands = inference.estimate_hands(network, depth_mm, intrinsics, spec)
        return hands.spheres_mm[:, skeleton.SPHERE_FROM_JOINT]

    points = _in_some_frames(split, estimate)
    return np.stack(points, axis=1) if points else np.empty([nyu_source.NUM_VIEWS, 0, 36, 3])


def find_cameras(splits, how: str | None, intrinsics, model: str | None):
    """Calibrates the cameras of the splits of a recording, each by itself.

    Without annotation and with `how` None, a split whose own frames do not tell where the cameras
    stand is given those of another split, if its frames do not speak against them. If there is
    none, no split is calibrated.

    Args:
      splits: list of `nyu_source.NyuSplit`.
      how: "annotation", "depth", "predictions", "none", a calibration file, or None for the
        default: annotation, or depth where there is none.
      intrinsics: float32 `[3, 4]`.
      model: `pose.keras` for "predictions".

    Returns:
      List of `calibration.Calibration` with intrinsics; all `is_known`, or none.

    Raises:
      ValueError: if there is not what `how` needs, or a view does not fit.
      FileNotFoundError: if there is no such file.
    """
    if how == "none":
        return [calibration.unknown(intrinsics, "none asked for") for _ in splits]
    found, why = [], {}
    for split in splits:
        try:
            found.append(_find_cameras(split, how, intrinsics, model))
        except ValueError as error:
            if how is not None or split.joints_mm is not None:
                raise
            found.append(None)
            why[split.name] = str(error)
    known = [cameras for cameras in found if cameras is not None]
    for i, split in enumerate(splits):
        if found[i] is None and known:
            points = _points_from_depth(split, intrinsics)
            donor = dataclasses.replace(known[0], source=f"{known[0].source}, of another split")
            found[i] = calibration.check(
                points, donor, "hands found in the depth", _ROUGH_INLIER_MM
            )
            logging.warning("%s: cameras of another split, for: %s", split.name, why[split.name])
    if not known:
        reason = " ".join(f"{name}: {text}" for name, text in why.items())
        logging.warning(
            "Where the cameras stand is not known; every view becomes a sample of its own. Give a "
            "calibration file, or --calibration=predictions with --model. %s", reason,
        )  # fmt: skip
        return [calibration.unknown(intrinsics, reason) for _ in splits]
    return found


def _find_cameras(split, how, intrinsics, model):
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
