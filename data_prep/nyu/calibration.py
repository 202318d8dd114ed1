"""Calibration of the cameras of a recording: one rigid transform a camera, robust over frames.

The transforms come from joints seen by several cameras (annotation, as in section 4.1 of the
paper, or a network's own estimates, without any label) or from a file. The first view's camera
frame is the reference frame.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.geometry import rigid

__all__ = [
    "Calibration",
    "TooFewPoints",
    "calibrate",
    "check",
    "fit_rigid_robustly",
    "rotation_stddev_deg",
    "uncalibrated",
]

# A view is refused if fewer of its points agree, or if the median distance of those that do is a
# larger share of the distance within which they are said to agree.
_SMALLEST_INLIER_SHARE = 0.4
_LARGEST_RESIDUAL_SHARE = 0.6
_MIN_POINTS = 12
# Or if the points pin down the rotation no better than this (standard deviation, degrees): too few
# of them, or all close together or on a line.
_LARGEST_ROTATION_STDDEV_DEG = 5.0
_ADVICE = "A calibration file, or a trained network's estimates, may do better."
_CANDIDATES = 200
_REFINEMENTS = 10


class TooFewPoints(ValueError):
    """Two views have fewer points in common than a transform needs."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Cameras of a recording.

    Attributes:
        ref_from_view: float64 `[V, 4, 4]`, camera frames to the reference frame, mm.
        intrinsics: float64 `[V, 4]`, (fx, fy, cx, cy) in px, or None.
        residual_mm: float64 `[V]`, median distance of the points that agree; NaN for the reference
            view and where it was not measured.
        inlier_share: float64 `[V]`, share of the points that agree; likewise.
        source: Origin of the transforms, for `dataset_info.json`.
        problem: Why the transforms could not be estimated; empty if they were.
    """

    ref_from_view: np.ndarray
    intrinsics: np.ndarray | None
    residual_mm: np.ndarray
    inlier_share: np.ndarray
    source: str
    problem: str = ""

    @property
    def is_calibrated(self) -> bool:
        """Returns whether there are transforms, so that views can be compared."""
        return not self.problem

    def to_dict(self) -> dict:
        """Returns JSON values for `dataset_info.json`."""

        def rounded(values):
            return [None if np.isnan(v) else round(float(v), 3) for v in values]

        if not self.is_calibrated:
            return {"source": self.source, "why": self.problem}
        return {
            "source": self.source,
            "ref_from_view": np.asarray(self.ref_from_view).tolist(),
            "intrinsics": None if self.intrinsics is None else np.asarray(self.intrinsics).tolist(),
            "residual_mm": rounded(self.residual_mm),
            "inlier_share": rounded(self.inlier_share),
        }


def _kabsch(source, target):
    """Rotation `[..., 3, 3]` and translation `[..., 3]` of `rigid.kabsch`, float64, NumPy."""
    # As tensors: arrays would be taken for float32.
    transform = rigid.kabsch(tf.constant(source), tf.constant(target)).numpy()
    return transform[..., :3, :3], transform[..., :3, 3]


def fit_rigid_robustly(source, target, inlier_mm=25.0):
    """Finds the rigid transform that most point pairs agree with.

    Triples of pairs give candidates; the one with the smallest mean of distances, cut off at twice
    the distance that agrees, is refined on the pairs that agree with it.

    Args:
        source: float `[N, 3]`, mm; rows with a value that is not finite, here or in `target`, are
            left out.
        target: float `[N, 3]`, mm, the same points in the other frame.
        inlier_mm: Pairs within this distance of each other agree, mm.

    Returns:
        (target_from_source float64 `[4, 4]`, median distance of the pairs that agree in mm, share
        of the pairs that agree).

    Raises:
        TooFewPoints: If there are too few pairs.
    """
    rng = np.random.default_rng(0)
    source, target = (np.asarray(v, np.float64).reshape(-1, 3) for v in (source, target))
    is_finite = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
    source, target = source[is_finite], target[is_finite]
    if len(source) < _MIN_POINTS:
        raise TooFewPoints(
            f"Expected at least {_MIN_POINTS} points that both views know, found {len(source)}."
        )
    triples = rng.integers(len(source), size=(_CANDIDATES, 3))
    rotation, translation = _kabsch(source[triples], target[triples])
    sample = rng.choice(len(source), min(len(source), 500), replace=False)
    moved = source[sample] @ rotation.transpose(0, 2, 1) + translation[:, None]
    # Truncated, so that more than half of the pairs may be wrong.
    error = np.minimum(np.linalg.norm(moved - target[sample], axis=-1), 2.0 * inlier_mm)
    best = error.mean(axis=1).argmin()
    rotation, translation = rotation[best], translation[best]
    fitted = np.zeros(len(source), bool)
    # From wide to narrow, so that a rough candidate is not stuck with its own few neighbors.
    for limit in np.geomspace(4.0, 1.0, _REFINEMENTS) * inlier_mm:
        distance = np.linalg.norm(source @ rotation.T + translation - target, axis=1)
        nearest = np.partition(distance, _MIN_POINTS - 1)[_MIN_POINTS - 1]
        is_inlier = distance <= max(limit, nearest)
        # The same pairs give the same transform; where all are good, nine of ten fits are spared.
        if not np.array_equal(is_inlier, fitted):
            rotation, translation = _kabsch(source[is_inlier], target[is_inlier])
            fitted = is_inlier
    distance = np.linalg.norm(source @ rotation.T + translation - target, axis=1)
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    return transform, *_measure(distance, inlier_mm)


def _measure(distance_mm, inlier_mm):
    """Returns the median distance of the pairs that agree, and their share."""
    is_inlier = distance_mm <= inlier_mm
    residual_mm = float(np.median(distance_mm[is_inlier])) if is_inlier.any() else float("inf")
    return residual_mm, float(is_inlier.mean())


def rotation_stddev_deg(source, target, transform, inlier_mm) -> float:
    """Estimates how well point pairs pin down the rotation of a transform fitted to them.

    With per-axis noise s and scatter S of the centered points, the variance of the rotation about
    an eigenvector of S is s^2 over the sum of the other two eigenvalues.

    Args:
        source: float `[N, 3]`, mm; rows that are not finite, here or in `target`, are left out.
        target: float `[N, 3]`, mm.
        transform: float `[4, 4]`, target_from_source.
        inlier_mm: Pairs within this distance of each other agree.

    Returns:
        Standard deviation about the least certain axis, degrees.
    """
    source, target = (np.asarray(v, np.float64).reshape(-1, 3) for v in (source, target))
    distance = np.linalg.norm(source @ transform[:3, :3].T + transform[:3, 3] - target, axis=1)
    is_inlier = distance <= inlier_mm  # False for NaN.
    centered = source[is_inlier] - source[is_inlier].mean(axis=0)
    scatter = np.linalg.eigvalsh(centered.T @ centered)
    variance = np.mean(distance[is_inlier] ** 2) / 3.0
    return float(np.degrees(np.sqrt(variance / max(scatter[0] + scatter[1], 1e-9))))


def uncalibrated(intrinsics, problem: str) -> Calibration:
    """Returns cameras without transforms: intrinsics, float `[V, 4]`, and why there are none."""
    nan = np.full(len(intrinsics), np.nan)
    return Calibration(np.full([len(nan), 4, 4], np.nan), intrinsics, nan, nan, "none", problem)


def check(points_mm, calibration: Calibration, source: str, inlier_mm: float = 25.0):
    """Measures a calibration on points that all cameras see.

    Args:
        points_mm: float `[V, n, J, 3]`, as for `calibrate`.
        calibration: `Calibration`, for example from a file.
        source: Origin of the points.
        inlier_mm: As for `calibrate`.

    Returns:
        The `Calibration` with residuals and shares; NaN for a view with too few points to judge.

    Raises:
        ValueError: If a view does not fit the first one.
    """
    points_mm = np.asarray(points_mm, np.float64)
    points_mm = points_mm.reshape(len(points_mm), -1, 3)
    rotation = calibration.ref_from_view[:, :3, :3]
    translation_mm = calibration.ref_from_view[:, None, :3, 3]
    # in_ref[v, n, r] = sum_c rotation[v, r, c] points[v, n, c] + translation[v, r]
    in_ref = np.einsum("vrc,vnc->vnr", rotation, points_mm) + translation_mm
    residual_mm, inlier_share = np.full([2, len(in_ref)], np.nan)
    for view in range(1, len(in_ref)):
        distance = np.linalg.norm(in_ref[view] - in_ref[0], axis=1)
        distance = distance[np.isfinite(distance)]
        if len(distance) >= _MIN_POINTS:
            residual_mm[view], inlier_share[view] = _measure(distance, inlier_mm)
            _refuse_bad_view(view, residual_mm[view], inlier_share[view], source, inlier_mm)
    return dataclasses.replace(calibration, residual_mm=residual_mm, inlier_share=inlier_share)


def _refuse_bad_view(view, residual_mm, inlier_share, source, inlier_mm):
    largest_mm = _LARGEST_RESIDUAL_SHARE * inlier_mm
    if inlier_share < _SMALLEST_INLIER_SHARE or residual_mm > largest_mm:
        raise ValueError(
            f"View {view + 1} does not fit view 1: of the points from {source}, "
            f"{inlier_share:.0%} agree with one rigid transform within {inlier_mm:g} mm (median "
            f"{residual_mm:.1f} mm); expected at least {_SMALLEST_INLIER_SHARE:.0%} and at most "
            f"{largest_mm:g} mm. Are all pictures of one moment, and did no camera move?"
        )


def calibrate(points_mm, source: str, intrinsics=None, inlier_mm: float = 25.0) -> Calibration:
    """Calibrates the cameras of a recording from points that all of them see.

    Args:
        points_mm: float `[V, n, J, 3]`, J points in n frames, each view's camera frame; NaN where a
            view does not see a point.
        source: Origin of the points.
        intrinsics: float `[V, 4]`, passed on in the result.
        inlier_mm: Points within this distance of where the transform puts them agree with it, mm.
            Annotated joints of NYU agree within a few mm, estimates of a trained network within a
            few cm.

    Returns:
        `Calibration`; the first view is the reference.

    Raises:
        TooFewPoints: If a view has too few points.
        ValueError: If it does not fit the first one.
    """
    points_mm = np.asarray(points_mm, np.float64)
    if points_mm.ndim != 4 or points_mm.shape[3] != 3:
        raise ValueError(f"Expected points [V, n, J, 3], received {list(points_mm.shape)}.")
    transforms = np.tile(np.eye(4), (len(points_mm), 1, 1))
    residual_mm, inlier_share = np.full([2, len(points_mm)], np.nan)
    for view in range(1, len(points_mm)):
        try:
            transforms[view], residual_mm[view], inlier_share[view] = fit_rigid_robustly(
                points_mm[view], points_mm[0], inlier_mm
            )
        except TooFewPoints as error:
            raise TooFewPoints(
                f"View {view + 1} cannot be calibrated from {source}: {error}"
            ) from None
        _refuse_bad_view(view, residual_mm[view], inlier_share[view], source, inlier_mm)
        stddev = rotation_stddev_deg(points_mm[view], points_mm[0], transforms[view], inlier_mm)
        if stddev > _LARGEST_ROTATION_STDDEV_DEG:
            raise ValueError(
                f"The rotation of view {view + 1} is known from {source} to {stddev:.0f} degrees "
                f"only, expected {_LARGEST_ROTATION_STDDEV_DEG:g}: the points are too few, too "
                f"close together, or on a line. {_ADVICE}"
            )
    return Calibration(transforms, intrinsics, residual_mm, inlier_share, source)
