"""Targets for recorded samples without labels: fit, gate by residual. Not in the paper.

Later label-free work gates pseudo-labels by how well they fit the depth (Dual Grid Net, 2020;
DSF, 2022). Here all views of a sample are fitted by one kinematic hand, and all samples of a
subject by one shape.
"""

import dataclasses
import zipfile

import numpy as np
import tensorflow as tf

from tfhand import files
from tfhand.fitting import batched_fits, part_residuals
from tfhand.geometry import crop, rigid, views
from tfhand.hand import skeleton, template
from tfhand.losses import multi_view

__all__ = [
    "Gate",
    "PseudoLabels",
    "estimate_in_ref",
    "load_pseudo_labels",
    "make_pseudo_labels",
    "save_pseudo_labels",
]

# Pixels of all views that a part has to cover to be judged.
_LEAST_PIXELS = 20


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Fitted hands of a recording.

    Attributes:
        spheres_ref_mm: float32 [n, 41, 3], reference frame.
        angles: float32 [n, 23], radians; those of the wrist mean nothing.
        ref_from_hand: float32 [n, 3, 3], rotation.
        residual_mm: float32 [n].
        is_inlier: bool [n], whether the fit agrees with the depth well enough to learn from.
        is_part_inlier: bool [n, 6], whether a part of it does, by `part_residuals.PARTS`; never
            where the fit does not.
        shape: float32 [G, P], one for each subject.
    """

    spheres_ref_mm: np.ndarray
    angles: np.ndarray
    ref_from_hand: np.ndarray
    residual_mm: np.ndarray
    is_inlier: np.ndarray
    is_part_inlier: np.ndarray
    shape: np.ndarray


@dataclasses.dataclass(frozen=True)
class Gate:
    """Shares of the fits that are learned from.

    Attributes:
        keep_share: Share of the samples, those with the smallest residuals.
        keep_parts_share: Share of the fingers and palms of these, likewise, each compared with its
            like; below 1, parts that cover hardly a pixel are left out too.
    """

    keep_share: float
    keep_parts_share: float = 1.0


def estimate_in_ref(network, depth_mm, ref_from_crop, cube_mm):
    """Estimates every view and takes the median in the reference frame.

    Args:
        network: Pose network, see `models.pose_network`.
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        cube_mm: Side of the crops.

    Returns:
        float32 [n, 41, 3], NumPy.
    """
    results = []
    for start in range(0, len(depth_mm), 64):
        part = slice(start, start + 64)
        folded = views.fold_views(tf.constant(depth_mm[part]))
        output = network(crop.normalize(folded, cube_mm), training=False)["spheres_mm"]
        output = views.unfold_views(output, depth_mm.shape[1])
        in_ref = rigid.apply(ref_from_crop[part], output)
        results.append(multi_view.median_over_views(in_ref).numpy())
    return np.concatenate(results)


def make_pseudo_labels(network, samples, config, gate, shape=None):
    """Fits all samples, starting from the network's estimates, and gates them.

    Args:
        network: Pose network, see `models.pose_network`.
        samples: `kinematic_fit.Samples` with groups.
        config: `kinematic_fit.FitConfig`.
        gate: `Gate`.
        shape: Optional float32 [G, P] to start from.

    Returns:
        `PseudoLabels`.
    """
    estimate = estimate_in_ref(
        network, samples.depth_mm, samples.ref_from_crop, samples.spec.cube_mm
    )
    fits = batched_fits.fit_samples(estimate, samples, config, shape)
    residual = fits.residual_mm
    # A residual of 0 is that of a sample without any surface.
    is_inlier = np.isfinite(residual) & (residual > 0.0)
    if is_inlier.any():
        is_inlier &= residual <= np.quantile(residual[is_inlier], gate.keep_share)
    is_part_inlier = np.repeat(is_inlier[:, None], len(part_residuals.PARTS), axis=1)
    if gate.keep_parts_share < 1.0 and is_inlier.any():
        of_parts = fits.part_residual_mm
        limit = np.nanquantile(of_parts[is_inlier], gate.keep_parts_share, axis=0)
        is_part_inlier &= (of_parts <= limit) & (fits.part_pixels >= _LEAST_PIXELS)
    return PseudoLabels(
        fits.spheres_mm,
        fits.angles,
        fits.ref_from_hand,
        residual,
        is_inlier,
        is_part_inlier,
        fits.shape,
    )


def save_pseudo_labels(path, labels):
    """Writes `PseudoLabels`, whole or not at all.

    Args:
        path: `pathlib.Path`, ends with .npz.
        labels: What to write.
    """
    with files.replacing(path) as partial:
        np.savez(partial, **vars(labels))


def load_pseudo_labels(path):
    """Reads what `save_pseudo_labels` wrote.

    Args:
        path: `pathlib.Path`.

    Returns:
        `PseudoLabels`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged; each array in it has a checksum.
    """
    names = [field.name for field in dataclasses.fields(PseudoLabels)]
    try:
        with zipfile.ZipFile(path) as archive:
            # All of each: NumPy stops, before the checksum, where a header claims fewer numbers.
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
        with np.load(path) as arrays:
            labels = PseudoLabels(**{name: arrays[name] for name in names})
        _check_shapes(labels)
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy and zipfile raise errors of many kinds on damaged files.
        reason = str(error) or type(error).__name__
        raise ValueError(f"Expected fits in {path}, found a damaged file: {reason}.") from error
    return labels


def _check_shapes(labels):
    count = len(labels.residual_mm)
    expected = {
        "spheres_ref_mm": (count, len(skeleton.SPHERE_NAMES), 3),
        "angles": (count, len(template.ANGLE_NAMES)),
        "ref_from_hand": (count, 3, 3),
        "residual_mm": (count,),
        "is_inlier": (count,),
        "is_part_inlier": (count, len(part_residuals.PARTS)),
        "shape": (len(labels.shape), len(template.SHAPE_NAMES)),
    }
    shapes = {name: getattr(labels, name).shape for name in expected}
    if shapes != expected:
        raise ValueError(f"expected shapes {expected}, found {shapes}")
