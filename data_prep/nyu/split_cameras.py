"""Where the cameras of a recording in NYU's layout stand: from labels, or without any."""

import concurrent.futures
import contextlib
import dataclasses

import numpy as np
from absl import logging
from tqdm import tqdm

from data_prep.nyu import calibration, calibration_file, frame_crops, recording_files
from tfhand.hand import skeleton

__all__ = ["find_cameras"]

# Frames from which the cameras are calibrated where there is no annotation.
_CALIBRATION_FRAMES = 400
# Within what distance points of two views agree that are no labels, mm.
_ROUGH_INLIER_MM = 50.0
_FROM_DEPTH = "hands found in the depth"
_OF_ANOTHER = ", of another split"


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
        pictures, layout = recording_files.read_pictures(split, frame)
        try:
            return None if pictures is None else estimate(pictures, layout)
        except frame_crops.DamagedPicture:
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
        center, found = frame_crops.find_each(pictures, layout, intrinsics)
        return np.where(found[:, None], center, np.nan)[:, None]

    points = _in_some_frames(split, estimate)
    return np.stack(points, axis=1) if points else np.empty([recording_files.NUM_VIEWS, 0, 1, 3])


def _points_from_predictions(split, intrinsics, model, is_left):
    """The network's joints in every view of some frames, `[V, n, 36, 3]`, NaN: no hand found."""
    # Keras is slow to import, and only needed here.
    from tfhand import inference

    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)

    def estimate(pictures, layout):
        depth_mm = frame_crops.decode_views(pictures, layout)
        hands = inference.estimate_hands(network, depth_mm, intrinsics, spec, left_hand=is_left)
        return hands.spheres_mm[:, skeleton.SPHERE_FROM_JOINT]

    points = _in_some_frames(split, estimate)
    return np.stack(points, axis=1) if points else np.empty([recording_files.NUM_VIEWS, 0, 36, 3])


def find_cameras(splits, how: str | None, intrinsics, model: str | None, is_left: bool = False):
    """Calibrates the cameras of the splits of a recording.

    By default (`how` None) annotated splits are calibrated from their labels. The others take the
    cameras of one of those if hands found in their depth do not speak against it, and are
    calibrated from these hands otherwise. If no split can be calibrated, none is.

    Args:
        splits: List of `recording_files.NyuSplit`.
        how: "annotation", "depth", "predictions", "none", a calibration file, or None.
        intrinsics: float32 `[3, 4]`.
        model: `pose.keras` for "predictions".
        is_left: Whether left hands are seen, for "predictions".

    Returns:
        List of `calibration.Calibration` with intrinsics; all `is_known`, or none.

    Raises:
        ValueError: If there is not what `how` needs, a view does not fit, or some splits can be
            calibrated and others not.
        FileNotFoundError: If there is no such file.
    """
    if how == "none":
        return [calibration.unknown(intrinsics, "none asked for") for _ in splits]
    if how is not None:
        return [_find_as_told(split, how, intrinsics, model, is_left) for split in splits]
    found, why = {}, {}
    for split in splits:
        if split.joints_mm is not None:
            try:
                with _naming(split):
                    found[split.name] = calibration.calibrate(
                        split.joints_mm, "annotation", intrinsics
                    )
            except calibration.TooFewPoints as error:
                why[split.name] = str(error)
    points = {
        split.name: _points_from_depth(split, intrinsics)
        for split in splits
        if split.name not in found
    }
    # Twice: a split that is calibrated in the first round may help another in the second.
    for _ in range(2):
        for name in points:
            if name not in found:
                cameras, reason = _find_without_labels(points[name], found.values(), intrinsics)
                found |= {name: cameras} if cameras else {}
                why |= {name: reason} if reason else {}
    missing = [split.name for split in splits if split.name not in found]
    if missing and found:
        raise ValueError(
            f"Where the cameras of split {missing[0]!r} stand is not known, while they are for "
            f"{sorted(found)}: {why[missing[0]]} Convert it by itself, or give --calibration."
        )
    if missing:
        reason = " ".join(f"{name}: {text}" for name, text in why.items())
        logging.warning(
            "Where the cameras stand is not known; every view becomes a sample of its own. Give a "
            "calibration file, or --calibration=predictions with --model. %s", reason,
        )  # fmt: skip
        return [calibration.unknown(intrinsics, reason) for _ in splits]
    return [found[split.name] for split in splits]


@contextlib.contextmanager
def _naming(split):
    """Puts the split's name before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"Split {split.name!r}: {error}") from error


def _find_without_labels(points_mm, donors, intrinsics):
    """Returns (cameras or None, why there are none)."""
    reasons = []
    for donor in donors:
        source = donor.source.removesuffix(_OF_ANOTHER) + _OF_ANOTHER
        try:
            return calibration.check(
                points_mm, dataclasses.replace(donor, source=source), _FROM_DEPTH, _ROUGH_INLIER_MM
            ), None
        except ValueError as error:
            reasons.append(f"The cameras of another split do not fit: {error}")
    try:
        return calibration.calibrate(points_mm, _FROM_DEPTH, intrinsics, _ROUGH_INLIER_MM), None
    except ValueError as error:
        return None, " ".join([*reasons, str(error)])


def _find_as_told(split, how, intrinsics, model, is_left):
    with _naming(split):
        if how == "annotation":
            if split.joints_mm is None:
                raise ValueError(
                    f"--calibration=annotation needs joint_data.mat in {split.folder}, found none."
                )
            return calibration.calibrate(split.joints_mm, "annotation", intrinsics)
        if how == "depth":
            points = _points_from_depth(split, intrinsics)
            return calibration.calibrate(points, _FROM_DEPTH, intrinsics, _ROUGH_INLIER_MM)
        if how == "predictions":
            if not model:
                raise ValueError("--calibration=predictions needs --model=pose.keras, found none.")
            points = _points_from_predictions(split, intrinsics, model, is_left)
            return calibration.calibrate(
                points, "estimates of a network", intrinsics, _ROUGH_INLIER_MM
            )
        found = calibration_file.load_calibration(how, recording_files.NUM_VIEWS)
        if found.intrinsics is None:
            found = dataclasses.replace(found, intrinsics=intrinsics)
        if split.joints_mm is not None:
            return calibration.check(split.joints_mm, found, "annotation")
        points = _points_from_depth(split, found.intrinsics.astype(np.float32))
        return calibration.check(points, found, _FROM_DEPTH, _ROUGH_INLIER_MM)
