"""Where the cameras of a recording stand: one rigid transform a camera, robust over frames.

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
    "unknown",
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
    """Two views know fewer points in common than a transform needs."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Cameras of a recording.

    Attributes:
        ref_from_view: float64 `[V, 4, 4]`, camera frames to the reference frame, mm.
        intrinsics: float64 `[V, 4]`, (fx, fy, cx, cy) in px, or None.
        residual_mm: float64 `[V]`, median distance of the points that agree; NaN for the reference
            view and where it is not known.
        inlier_share: float64 `[V]`, share of the points that agree; likewise.
        source: Where it comes from, for `dataset_info.json`.
        why_unknown: Why it is not known where the cameras stand; empty if it is.
    """

    ref_from_view: np.ndarray
    intrinsics: np.ndarray | None
    residual_mm: np.ndarray
    inlier_share: np.ndarray
    source: str
    why_unknown: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the views may be compared."""
        return not self.why_unknown

    def describe(self) -> dict:
        """Returns JSON values for `dataset_info.json`."""

        def rounded(values):
            return [None if np.isnan(v) else round(float(v), 3) for v in values]

        if not self.is_known:
            return {"source": self.source, "why": self.why_unknown}
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


def fit_rigid_robustly(source, target, inlier_mm=25.0, rng=None):
    """Finds the rigid transform that most point pairs agree with.

    Triples of pairs give candidates; the one with the smallest mean of distances, cut off at twice
    the distance that agrees, is refined on the pairs that agree with it.

    Args:
        source: float `[N, 3]`, mm; rows with a value that is not finite, here or in `target`, are
            left out.
        target: float `[N, 3]`, mm, the same points in the other frame.
        inlier_mm: Pairs within this distance of each other agree, mm.
        rng: `np.random.Generator` for the triples; None: always the same.

    Returns:
        (target_from_source float64 `[4, 4]`, median distance of the pairs that agree in mm, share
        of the pairs that agree).

    Raises:
        TooFewPoints: If there are too few pairs.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    source, target = (np.asarray(v, np.float64).reshape(-1, 3) for v in (source, target))
    known = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
    source, target = source[known], target[known]
    if len(source) < _MIN_POINTS:
        raise TooFewPoints(
            f"Expected at least {_MIN_POINTS} points that both views know, found {len(source)}."
        )
    triples = rng.integers(len(source), size=(_CANDIDATES, 3))
    rotation, translation = _kabsch(source[triples], target[triples])
    some = rng.choice(len(source), min(len(source), 500), replace=False)
    moved = source[some] @ rotation.transpose(0, 2, 1) + translation[:, None]
    # Truncated, so that more than half of the pairs may be wrong.
    error = np.minimum(np.linalg.norm(moved - target[some], axis=-1), 2.0 * inlier_mm)
    best = error.mean(axis=1).argmin()
    rotation, translation = rotation[best], translation[best]
    fitted = np.zeros(len(source), bool)
    # From wide to narrow, so that a rough candidate is not stuck with its own few neighbors.
    for limit in np.geomspace(4.0, 1.0, _REFINEMENTS) * inlier_mm:
        distance = np.linalg.norm(source @ rotation.T + translation - target, axis=1)
        agree = distance <= max(limit, np.partition(distance, _MIN_POINTS - 1)[_MIN_POINTS - 1])
        # The same pairs give the same transform; where all are good, nine of ten fits are spared.
        if not np.array_equal(agree, fitted):
            rotation, translation = _kabsch(source[agree], target[agree])
            fitted = agree
    distance = np.linalg.norm(source @ rotation.T + translation - target, axis=1)
    agree = distance <= inlier_mm
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    residual = float(np.median(distance[agree])) if agree.any() else float("inf")
    return transform, residual, float(agree.mean())


def rotation_stddev_deg(source, target, transform, inlier_mm) -> float:
    """How well point pairs pin down the rotation of a transform fitted to them.

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
    away = np.linalg.norm(source @ transform[:3, :3].T + transform[:3, 3] - target, axis=1)
    agree = away <= inlier_mm  # False for NaN.
    centered = source[agree] - source[agree].mean(axis=0)
    scatter = np.linalg.eigvalsh(centered.T @ centered)
    variance = np.mean(away[agree] ** 2) / 3.0
    return float(np.degrees(np.sqrt(variance / max(scatter[0] + scatter[1], 1e-9))))


def unknown(intrinsics, why: str) -> Calibration:
    """Returns cameras of which only the intrinsics, float `[V, 4]`, are known."""
    views = len(intrinsics)
    nothing = np.full(views, np.nan)
    transforms = np.full([views, 4, 4], np.nan)
    return Calibration(transforms, intrinsics, nothing, nothing, "none", why)


def check(points_mm, calibration: Calibration, source: str, inlier_mm: float = 25.0):
    """Measures a calibration on points that all cameras know.

    Args:
        points_mm: float `[V, n, J, 3]`, as for `calibrate`.
        calibration: `Calibration`, for example from a file.
        source: Where the points come from.
        inlier_mm: As for `calibrate`.

    Returns:
        The `Calibration` with residuals and shares.

    Raises:
        ValueError: If a view does not fit the first one.
    """
    points_mm = np.asarray(points_mm, np.float64)
    rotation, shift = (
        calibration.ref_from_view[:, :3, :3], calibration.ref_from_view[:, None, :3, 3]
    )  # fmt: skip
    in_ref = np.einsum("vrc,vnc->vnr", rotation, points_mm.reshape(len(points_mm), -1, 3)) + shift
    residuals, shares = [np.nan], [np.nan]
    for view in range(1, len(in_ref)):
        away = np.linalg.norm(in_ref[view] - in_ref[0], axis=1)
        away = away[np.isfinite(away)]
        if len(away) < _MIN_POINTS:
            # Too little to judge by; nothing is said about this view.
            residuals.append(np.nan)
            shares.append(np.nan)
            continue
        agree = away <= inlier_mm
        residuals.append(float(np.median(away[agree])) if agree.any() else float("inf"))
        shares.append(float(agree.mean()))
        _refuse_bad_view(view, residuals[-1], shares[-1], source, inlier_mm)
    return dataclasses.replace(
        calibration, residual_mm=np.array(residuals), inlier_share=np.array(shares)
    )


def _refuse_bad_view(view, residual, share, source, inlier_mm):
    largest = _LARGEST_RESIDUAL_SHARE * inlier_mm
    if share < _SMALLEST_INLIER_SHARE or residual > largest:
        raise ValueError(
            f"View {view + 1} does not fit view 1: of the points from {source}, {share:.0%} "
            f"agree with one rigid transform within {inlier_mm:g} mm (median {residual:.1f} "
            f"mm); expected at least {_SMALLEST_INLIER_SHARE:.0%} and at most "
            f"{largest:g} mm. Are all pictures of one moment, and did no camera move?"
        )


def calibrate(points_mm, source: str, intrinsics=None, inlier_mm: float = 25.0) -> Calibration:
    """Calibrates the cameras of a recording from points that all of them know.

    Args:
        points_mm: float `[V, n, J, 3]`, J points in n frames, each view's camera frame; NaN where a
            point is not known.
        source: Where the points come from.
        intrinsics: float `[V, 4]`, kept with the result.
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
    transforms = [np.eye(4)]
    residuals, shares = [np.nan], [np.nan]
    for view in range(1, len(points_mm)):
        try:
            transform, residual, share = fit_rigid_robustly(
                points_mm[view], points_mm[0], inlier_mm
            )
        except TooFewPoints as error:
            raise TooFewPoints(
                f"View {view + 1} cannot be calibrated from {source}: {error}"
            ) from None
        _refuse_bad_view(view, residual, share, source, inlier_mm)
        stddev = rotation_stddev_deg(points_mm[view], points_mm[0], transform, inlier_mm)
        if stddev > _LARGEST_ROTATION_STDDEV_DEG:
            raise ValueError(
                f"The rotation of view {view + 1} is known from {source} to {stddev:.0f} degrees "
                f"only, expected {_LARGEST_ROTATION_STDDEV_DEG:g}: the points are too few, too "
                f"close together, or on a line. {_ADVICE}"
            )
        transforms.append(transform)
        residuals.append(residual)
        shares.append(share)
    return Calibration(
        np.array(transforms), intrinsics, np.array(residuals), np.array(shares), source
    )
