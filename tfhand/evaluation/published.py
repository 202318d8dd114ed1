"""Results in the text form in which methods on NYU are published.

One line a frame, 14 joints x (u px, v px, d mm) a line, separated by spaces, in the order of
`tfhand.hand.skeleton.EVALUATION_JOINT_NAMES`; labels and predictions look the same.
"""

import os
from collections.abc import Iterable

import numpy as np

from tfhand import files
from tfhand.evaluation import metrics
from tfhand.hand import skeleton

__all__ = [
    "COMMUNITY_INTRINSICS",
    "read_joints_uvd",
    "score_files",
    "write_joints_uvd",
    "xyz_from_uvd",
]

# fx, fy, cx, cy with which the field's scripts turn these files into mm; the data set's own code
# says 588.036865 and 587.075073.
COMMUNITY_INTRINSICS = (588.03, 587.07, 320.0, 240.0)

# Far beyond every picture and every depth camera; a number this large is damage.
_LARGEST = 1e7


def read_joints_uvd(path: str | os.PathLike) -> np.ndarray:
    """Returns the joints of a label or prediction file.

    Args:
        path: A text file, one frame a line.

    Returns:
        float64 [n, 14, 3]: u px, v px, d mm.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, a line has another number of values, or a value is not a
            finite number.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Expected a text file of joints, found no file {os.fspath(path)}.")
    num_joints = len(skeleton.EVALUATION_JOINT_NAMES)
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 3 * num_joints:
                raise ValueError(
                    f"Expected {3 * num_joints} numbers (u v d of {num_joints} joints) a line, "
                    f"found {len(words)} in line {number} of {os.fspath(path)}."
                )
            rows.append(_finite_floats(words, number, path))
    if not rows:
        raise ValueError(f"Expected one line a frame, found an empty file {os.fspath(path)}.")
    return np.stack(rows).reshape(-1, num_joints, 3)


def xyz_from_uvd(uvd: np.ndarray, intrinsics=COMMUNITY_INTRINSICS) -> np.ndarray:
    """Returns camera coordinates: x = (u - cx) d / fx, y = (v - cy) d / fy, z = d.

    Args:
        uvd: float [..., 3]: u px, v px, d mm.
        intrinsics: fx, fy, cx, cy in px.

    Returns:
        float64 [..., 3], mm, camera frame.
    """
    fx, fy, cx, cy = intrinsics
    u, v, d = np.moveaxis(np.asarray(uvd, np.float64), -1, 0)
    return np.stack([(u - cx) * d / fx, (v - cy) * d / fy, d], axis=-1)


def score_files(
    labels: str | os.PathLike, predictions: Iterable[str | os.PathLike]
) -> dict[str, metrics.Scores]:
    """Scores prediction files against a label file.

    Args:
        labels: The label file.
        predictions: Prediction files; each is named by its file name without `.txt`.

    Returns:
        Scores by name, in the order of `predictions`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, two files share a name, or the number of frames differs
            from that of the labels.
    """
    truth_mm = xyz_from_uvd(read_joints_uvd(labels))
    scores = {}
    for path in predictions:
        name = os.path.basename(path).removesuffix(".txt")
        if name in scores:
            raise ValueError(f"Expected prediction files of different names, found {name} twice.")
        predicted_mm = xyz_from_uvd(read_joints_uvd(path))
        if len(predicted_mm) != len(truth_mm):
            raise ValueError(
                f"Expected {len(truth_mm)} frames as in {os.fspath(labels)}, found "
                f"{len(predicted_mm)} in {os.fspath(path)}."
            )
        scores[name] = metrics.score(predicted_mm, truth_mm)
    return scores


def write_joints_uvd(path: str | os.PathLike, uvd: np.ndarray, frames: np.ndarray) -> int:
    """Writes a prediction file, one line for each frame from the first of the data set on.

    The form has no word for a frame without an estimate; such a frame gets that of the frame
    before it (or, at the start, after it), as when a hand is followed.

    Args:
        path: The file to write, whole or not at all.
        uvd: float [n, 14, 3]: u px, v px, d mm.
        frames: int [n], frame numbers; frames count from 1, or from 0 if there is a frame 0.

    Returns:
        The number of frames without an estimate of their own.

    Raises:
        ValueError: If a frame comes twice.
    """
    order = np.argsort(frames, kind="stable")
    frames, uvd = np.asarray(frames)[order], np.asarray(uvd)[order]
    if (np.diff(frames) == 0).any():
        raise ValueError("Expected one estimate a frame, received several of one frame.")
    lines = np.arange(min(1, frames[0]), frames[-1] + 1)
    index = np.maximum(np.searchsorted(frames, lines, side="right") - 1, 0)
    rows = (" ".join(f"{value:.3f}" for value in row.ravel()) for row in uvd[index])
    files.write_text(path, "\n".join(rows) + "\n")
    return len(lines) - len(frames)


def _finite_floats(words, number, path):
    try:
        values = np.array(words, np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not (np.abs(values) < _LARGEST).all():
        raise ValueError(
            f"Expected finite numbers, found others in line {number} of {os.fspath(path)}."
        )
    return values
