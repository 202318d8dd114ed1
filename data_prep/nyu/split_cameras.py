"""Calibrates the cameras of a recording in NYU's layout: from labels, or without any."""

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
# Distance within which points of two views agree that are no labels, mm.
_ROUGH_INLIER_MM = 50.0
_ANNOTATION, _FROM_DEPTH = "annotation", "hands found in the depth"
_OF_ANOTHER = ", of another split"


def find_cameras(splits, method: str | None, intrinsics, model: str | None, is_left: bool = False):
    """Calibrates the cameras of the splits of a recording.

    By default (`method` None) annotated splits are calibrated from their labels. The others take
    the cameras of one of those if hands found in their depth do not speak against it, and are
    calibrated from these hands otherwise. If no split can be calibrated, none is.

    Args:
        splits: List of `recording_files.NyuSplit`.
        method: "annotation", "depth", "predictions", "none", a calibration file, or None.
        intrinsics: float32 `[3, 4]`.
        model: `pose.keras` for "predictions".
        is_left: Whether left hands are seen.

    Returns:
        List of `calibration.Calibration` with intrinsics; all `is_calibrated`, or none.

    Raises:
        ValueError: If what `method` needs is missing, a view does not fit, or some splits can be
            calibrated and others not.
        FileNotFoundError: If there is no such file.
    """
    if method == "none":
        return [calibration.uncalibrated(intrinsics, "none asked for") for _ in splits]
    if method is None:
        return _find_by_default(splits, intrinsics, is_left)
    cameras = []
    for split in splits:
        with _named_errors(split):
            cameras.append(_find_by_method(split, method, intrinsics, model, is_left))
    return cameras


def _find_by_default(splits, intrinsics, is_left):
    cameras, problems = {}, {}
    for split in splits:
        if split.joints_mm is not None:
            try:
                with _named_errors(split):
                    cameras[split.name] = calibration.calibrate(
                        split.joints_mm, _ANNOTATION, intrinsics
                    )
            except calibration.TooFewPoints as error:
                problems[split.name] = str(error)
    points_mm = {
        split.name: _points_from_depth(split, intrinsics, is_left)
        for split in splits
        if split.name not in cameras
    }
    # Twice: a split that is calibrated in the first round may help another in the second.
    for name in [*points_mm, *points_mm]:
        if name not in cameras:
            try:
                cameras[name] = _find_without_labels(points_mm[name], cameras.values(), intrinsics)
            except ValueError as error:
                problems[name] = str(error)
    missing = [split.name for split in splits if split.name not in cameras]
    if missing and cameras:
        raise ValueError(
            f"Where the cameras of split {missing[0]!r} stand is not known, while they are for "
            f"{sorted(cameras)}: {problems[missing[0]]} Convert it by itself, or give "
            "--calibration."
        )
    if missing:
        problem = " ".join(f"{name}: {text}" for name, text in problems.items())
        logging.warning(
            "Where the cameras stand is not known; every view becomes a sample of its own. Give a "
            "calibration file, or --calibration=predictions with --model. %s", problem,
        )  # fmt: skip
        return [calibration.uncalibrated(intrinsics, problem) for _ in splits]
    return [cameras[split.name] for split in splits]


def _find_without_labels(points_mm, others, intrinsics):
    """Returns the cameras of another split that fit the points, or calibrates from the points."""
    problems = []
    for other in others:
        source = other.source.removesuffix(_OF_ANOTHER) + _OF_ANOTHER
        try:
            other = dataclasses.replace(other, source=source)
            return calibration.check(points_mm, other, _FROM_DEPTH, _ROUGH_INLIER_MM)
        except ValueError as error:
            problems.append(f"The cameras of another split do not fit: {error}")
    try:
        return calibration.calibrate(points_mm, _FROM_DEPTH, intrinsics, _ROUGH_INLIER_MM)
    except ValueError as error:
        raise ValueError(" ".join([*problems, str(error)])) from error


def _find_by_method(split, method, intrinsics, model, is_left):
    if method == "annotation":
        if split.joints_mm is None:
            raise ValueError(
                f"--calibration=annotation needs joint_data.mat in {split.folder}, found none."
            )
        return calibration.calibrate(split.joints_mm, _ANNOTATION, intrinsics)
    if method == "depth":
        points_mm = _points_from_depth(split, intrinsics, is_left)
        return calibration.calibrate(points_mm, _FROM_DEPTH, intrinsics, _ROUGH_INLIER_MM)
    if method == "predictions":
        if not model:
            raise ValueError("--calibration=predictions needs --model=pose.keras, found none.")
        points_mm = _points_from_predictions(split, intrinsics, model, is_left)
        source = "estimates of a network"
        return calibration.calibrate(points_mm, source, intrinsics, _ROUGH_INLIER_MM)
    cameras = calibration_file.load_calibration(method, recording_files.NUM_VIEWS)
    if cameras.intrinsics is None:
        cameras = dataclasses.replace(cameras, intrinsics=intrinsics)
    if split.joints_mm is not None:
        return calibration.check(split.joints_mm, cameras, _ANNOTATION)
    points_mm = _points_from_depth(split, cameras.intrinsics.astype(np.float32), is_left)
    return calibration.check(points_mm, cameras, _FROM_DEPTH, _ROUGH_INLIER_MM)


@contextlib.contextmanager
def _named_errors(split):
    """Puts the split's name before the message of an error."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"Split {split.name!r}: {error}") from error


def _points_from_depth(split, intrinsics, is_left):
    """Middle of the hand in every view of some frames, `[V, n, 1, 3]`, NaN: not found."""

    def estimate(pictures, layout):
        center_mm, has_hand = frame_crops.find_each(pictures, layout, intrinsics, is_left)
        return np.where(has_hand[:, None], center_mm, np.nan)

    return _estimate_points(split, estimate, num_points=1)


def _points_from_predictions(split, intrinsics, model, is_left):
    """Joints of the network in every view of some frames, `[V, n, 36, 3]`, NaN: no hand found."""
    # Keras is slow to import, and only needed here.
    from tfhand import inference

    network = inference.load_network(model)

    def estimate(pictures, layout):
        depth_mm = frame_crops.decode_views(pictures, layout)
        hands = inference.estimate_hands(network, depth_mm, intrinsics, left_hand=is_left)
        return hands.spheres_mm[:, skeleton.SPHERE_FROM_JOINT]

    return _estimate_points(split, estimate, num_points=len(skeleton.JOINT_NAMES))


def _estimate_points(split, estimate, num_points):
    """Calls `estimate(pictures, layout)` on frames spread over the split; `[V, n, J, 3]`."""
    frames = [frame for frame in split.frames if frame not in split.missing_views]
    count = min(_CALIBRATION_FRAMES, len(frames))
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, count).astype(int)]

    def estimate_frame(frame):
        try:
            return estimate(*recording_files.read_pictures(split, frame))
        except recording_files.UnusableFrame:
            return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = pool.map(estimate_frame, frames)
        results = tqdm(results, f"{split.name}: calibrating", len(frames), unit="frame")
        points = [result for result in results if result is not None]
    shape = [-1, recording_files.NUM_VIEWS, num_points, 3]
    return np.reshape(points, shape).swapaxes(0, 1)
