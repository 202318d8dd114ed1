"""Scores of joint predictions, as the field reports them on NYU.

Letters: n frames, J joints. Errors are Euclidean distances in mm, `[n, J]`, NaN where a joint has
no label. The *worst joint* of a frame decides whether the frame is a success: the success rate at
a threshold is the share of frames, in [0, 1], whose worst labeled joint is within it. NumPy only.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfhand.hand import skeleton

__all__ = [
    "MAX_THRESHOLD_MM",
    "MISSED_MM",
    "Scores",
    "area_under_curve",
    "best_and_worst",
    "frame_errors_mm",
    "joint_errors_mm",
    "score",
    "success_rate",
]

# The success curves of the field run from 0 to 80 mm.
MAX_THRESHOLD_MM = 80
# Error of every joint of a frame in which the hand was not found: beyond all thresholds.
MISSED_MM = 100.0
_THRESHOLDS_MM = tuple(range(MAX_THRESHOLD_MM + 1))
_WRIST_JOINTS = ("PALM_1", "PALM_2")
_FINGERTIP_SUFFIX = "_KNU3_A"


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of one method on a set of frames; lengths in mm, rates in [0, 1].

    Attributes:
        num_frames: Frames with at least one labeled joint; only these count.
        mean_joint_error_mm: Mean over all labeled joints of all frames.
        median_joint_error_mm: Median over the same.
        mean_joint_error_12_mm: Mean without the two wrist joints (PALM_1, PALM_2).
        fingertip_error_mm: Mean over the finger tips (KNU3_A).
        per_joint_error_mm: Mean error of each joint, by name; NaN for a joint never labeled.
        success_rate: Share of frames whose worst joint is within 0, 1, ..., 80 mm.
        auc: Area under the success curve from 0 to 80 mm, divided by 80.
        num_missed: Those of the frames in which the hand was not found; every joint of them counts
            with `MISSED_MM`.
    """

    num_frames: int
    mean_joint_error_mm: float
    median_joint_error_mm: float
    mean_joint_error_12_mm: float
    fingertip_error_mm: float
    per_joint_error_mm: Mapping[str, float]
    success_rate: Mapping[int, float]
    auc: float
    num_missed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON: thresholds as strings, NaN (nothing labeled) as None."""
        content = dataclasses.asdict(self)
        content["success_rate"] = {str(k): v for k, v in self.success_rate.items()}
        content["per_joint_error_mm"] = {
            k: _none_if_nan(v) for k, v in self.per_joint_error_mm.items()
        }
        return {k: _none_if_nan(v) for k, v in content.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """Returns the scores that `to_dict` wrote; entries it did not write are ignored.

        Raises:
            ValueError: If an entry is missing or holds something else.
        """
        # Files from before it was counted lack the last.
        content = {"num_missed": 0, **content}
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"Expected scores with {names}, found none of {missing}.")
        values = {}
        for name in names:
            value = content[name]
            if name in ("per_joint_error_mm", "success_rate"):
                if not isinstance(value, Mapping):
                    raise ValueError(f"Expected numbers by name as {name}, found {value!r}.")
                values[name] = {key: _number(entry, name) for key, entry in value.items()}
            else:
                values[name] = _number(value, name)
        if list(values["success_rate"]) != [str(threshold) for threshold in _THRESHOLDS_MM]:
            raise ValueError(f"Expected success_rate within 0 to {MAX_THRESHOLD_MM} mm.")
        values["success_rate"] = dict(zip(_THRESHOLDS_MM, values["success_rate"].values()))
        for name in ("num_frames", "num_missed"):
            if type(values[name]) is not int:
                raise ValueError(f"Expected a whole {name}, found {values[name]!r}.")
        return cls(**values)


def joint_errors_mm(
    predicted_mm: np.ndarray, truth_mm: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Returns the distance of every predicted joint to its label.

    Args:
        predicted_mm: float [n, J, 3], mm, in the frame of the labels.
        truth_mm: float [n, J, 3], mm.
        mask: bool or {0, 1} [n, J], true where there is a label; None: everywhere.

    Returns:
        float64 [n, J], mm, NaN where there is no label.

    Raises:
        ValueError: If shapes differ, there is no frame, or a labeled joint is not finite.
    """
    predicted_mm = np.asarray(predicted_mm, np.float64)
    truth_mm = np.asarray(truth_mm, np.float64)
    if predicted_mm.shape != truth_mm.shape or predicted_mm.ndim != 3 or truth_mm.shape[-1] != 3:
        raise ValueError(
            "Expected predictions and labels of one shape [frames, joints, 3], received "
            f"{predicted_mm.shape} and {truth_mm.shape}."
        )
    if not len(predicted_mm):
        raise ValueError("Expected at least one frame to score, received none.")
    labeled = np.ones(truth_mm.shape[:2], bool) if mask is None else np.asarray(mask).astype(bool)
    if labeled.shape != truth_mm.shape[:2]:
        raise ValueError(
            f"Expected a mask of shape {truth_mm.shape[:2]}, received {labeled.shape}."
        )
    for what, points in (("predictions", predicted_mm), ("labels", truth_mm)):
        bad = labeled & ~np.isfinite(points).all(axis=-1)
        if bad.any():
            frame, joint = np.argwhere(bad)[0]
            raise ValueError(
                f"Expected finite {what}, found {bad.sum()} joints that are not; the first is "
                f"joint {joint} of frame {frame}."
            )
    return np.where(labeled, np.linalg.norm(predicted_mm - truth_mm, axis=-1), np.nan)


def frame_errors_mm(errors_mm: np.ndarray) -> np.ndarray:
    """Returns the mean error of each frame, float64 [n], NaN for a frame without labels.

    Args:
        errors_mm: float [n, J] from `joint_errors_mm`.
    """
    labeled = np.isfinite(errors_mm)
    count = labeled.sum(axis=1)
    total = np.where(labeled, errors_mm, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def best_and_worst(frame_errors_mm: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the frames with the smallest and the largest errors.

    Args:
        frame_errors_mm: float [n], NaN for frames without label, which are left out.
        count: How many of each at most; a frame is never in both.

    Returns:
        Indices of the best, best first, and of the worst, worst first.
    """
    frame_errors_mm = np.asarray(frame_errors_mm)
    order = np.argsort(frame_errors_mm, kind="stable")
    order = order[np.isfinite(frame_errors_mm[order])]
    best = order[: min(count, (len(order) + 1) // 2)]
    return best, order[len(best) :][::-1][:count]


def success_rate(errors_mm: np.ndarray, thresholds_mm: Sequence[float]) -> np.ndarray:
    """Returns the share of frames whose worst labeled joint is within each threshold.

    Example: worst joints 12, 30 and 55 mm give 1/3 at 20 mm and 2/3 at 30 mm.

    Args:
        errors_mm: float [n, J] from `joint_errors_mm`.
        thresholds_mm: T thresholds, mm; a frame exactly at the threshold is within.

    Returns:
        float64 [T], in [0, 1].

    Raises:
        ValueError: If no joint is labeled.
    """
    worst_mm = _worst_joints_mm(errors_mm)
    return np.mean(worst_mm[:, None] <= np.asarray(thresholds_mm, np.float64), axis=0)


def area_under_curve(errors_mm: np.ndarray, max_threshold_mm: float = MAX_THRESHOLD_MM) -> float:
    """Returns the area under the success curve from 0 to `max_threshold_mm`, normalized to [0, 1].

    The integral is exact rather than a sum over sampled thresholds: a frame with worst joint w
    is a success on [w, max], so the area is the mean of max(0, 1 - w / max).

    Args:
        errors_mm: float [n, J] from `joint_errors_mm`.
        max_threshold_mm: The right end of the curve, mm.

    Raises:
        ValueError: If no joint is labeled.
    """
    worst_mm = _worst_joints_mm(errors_mm)
    return float(np.maximum(0.0, 1.0 - worst_mm / max_threshold_mm).mean())


def score(
    predicted_mm: np.ndarray,
    truth_mm: np.ndarray,
    mask: np.ndarray | None = None,
    joint_names: Sequence[str] = skeleton.EVALUATION_JOINT_NAMES,
    num_missed: int = 0,
) -> Scores:
    """Returns all scores of one method on one set of frames.

    Args:
        predicted_mm: float [n, J, 3], mm.
        truth_mm: float [n, J, 3], mm, same frame.
        mask: bool or {0, 1} [n, J], true where there is a label; None: everywhere.
        joint_names: The J names, by default NYU's 14 evaluation joints.
        num_missed: Further frames, in which the hand was not found.

    Raises:
        ValueError: If shapes differ, values are not finite, or nothing is labeled.
    """
    errors_mm = joint_errors_mm(predicted_mm, truth_mm, mask)
    if errors_mm.shape[1] != len(joint_names):
        raise ValueError(f"Expected {len(joint_names)} joints, received {errors_mm.shape[1]}.")
    missed_mm = np.full((num_missed, len(joint_names)), MISSED_MM)
    # A joint that no frame has labeled is not one of those missed either.
    missed_mm[:, ~np.isfinite(errors_mm).any(axis=0)] = np.nan
    errors_mm = np.concatenate([errors_mm, missed_mm])
    no_wrist = [i for i, name in enumerate(joint_names) if name not in _WRIST_JOINTS]
    tips = [i for i, name in enumerate(joint_names) if name.endswith(_FINGERTIP_SUFFIX)]
    rates = success_rate(errors_mm, _THRESHOLDS_MM)
    return Scores(
        num_frames=len(_worst_joints_mm(errors_mm)),
        mean_joint_error_mm=_mean(errors_mm),
        median_joint_error_mm=float(np.nanmedian(errors_mm)),
        mean_joint_error_12_mm=_mean(errors_mm[:, no_wrist]),
        fingertip_error_mm=_mean(errors_mm[:, tips]),
        per_joint_error_mm={name: _mean(errors_mm[:, i]) for i, name in enumerate(joint_names)},
        success_rate={t: float(rate) for t, rate in zip(_THRESHOLDS_MM, rates)},
        auc=area_under_curve(errors_mm),
        num_missed=num_missed,
    )


def _worst_joints_mm(errors_mm):
    """Returns the largest error of each frame that has a label, [m <= n]."""
    labeled = np.isfinite(errors_mm).any(axis=1)
    if not labeled.any():
        raise ValueError(f"Expected labeled joints, found none in {len(errors_mm)} frames.")
    return np.nanmax(errors_mm[labeled], axis=1)


def _mean(errors_mm):
    labeled = errors_mm[np.isfinite(errors_mm)]
    return float(labeled.mean()) if labeled.size else float("nan")


def _none_if_nan(value):
    return None if isinstance(value, float) and np.isnan(value) else value


def _number(value, name):
    """Returns the number of a JSON value, NaN for None."""
    if value is None:
        return float("nan")
    # JSON may hold integers beyond every float.
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"Expected numbers as {name}, found {str(value)[:100]!r}.")
    return value
