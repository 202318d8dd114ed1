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
from tfhand.fitting import batched_fits, part_residuals, turned_crops
from tfhand.geometry import crop, rigid, views
from tfhand.hand import skeleton, template

__all__ = [
    "Gate",
    "PseudoLabels",
    "estimates_in_ref",
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
            where the fit does not, or where no view shows the part.
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
    """Which fits are learned from.

    A part agrees with the depth if it covers some pixels and its residual is within a bound; a fit,
    if its palm does, and all fingers that are seen but one at most. Of these, shares can be taken.

    Attributes:
        most_mm: Largest residual of a part, mm. Of fits to three views of the training split of a
            foreign recording, 95 % of the parts that were right, to 6 mm, had 4.6 (palm) to 6.8 mm.
        keep_share: Share of the samples, those with the smallest residuals.
        keep_parts_share: Share of the fingers and palms of these, likewise, each compared with its
            like.
    """

    keep_share: float = 1.0
    keep_parts_share: float = 1.0
    most_mm: float = 7.0


def estimates_in_ref(network, depth_mm, ref_from_crop, cube_mm):
    """Estimates every view.

    Args:
        network: Pose network, see `models.pose_network`.
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        cube_mm: Side of the crops.

    Returns:
        float32 [n, V, 41, 3], reference frame, NumPy.
    """
    results = []
    for start in range(0, len(depth_mm), 64):
        part = slice(start, start + 64)
        folded = views.fold_views(tf.constant(depth_mm[part]))
        output = network(crop.normalize(folded, cube_mm), training=False)["spheres_mm"]
        output = views.unfold_views(output, depth_mm.shape[1])
        results.append(rigid.apply(ref_from_crop[part], output).numpy())
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
    cube_mm = samples.spec.cube_mm
    turned = turned_crops.TurnedNetwork(network, cube_mm)
    starts = estimates_in_ref(turned, samples.depth_mm, samples.ref_from_crop, cube_mm)
    fits = batched_fits.fit_samples(starts, samples, config, shape)
    is_inlier, is_part_inlier = _judge(fits, gate)
    return PseudoLabels(
        fits.spheres_mm,
        fits.angles,
        fits.ref_from_hand,
        fits.residual_mm,
        is_inlier,
        is_part_inlier,
        fits.shape,
    )


def _judge(fits, gate):
    """Returns (is_inlier [n], is_part_inlier [n, 6]) of fits, see `Gate`."""
    residual, of_parts = fits.residual_mm, fits.part_residual_mm
    is_seen = fits.part_pixels >= _LEAST_PIXELS
    is_off = ~(of_parts <= gate.most_mm)
    # A residual of 0 is that of a sample without any surface.
    is_inlier = np.isfinite(residual) & (residual > 0.0) & ~is_off[:, 0]
    is_inlier &= (is_off & is_seen)[:, 1:].sum(axis=1) <= 1
    if is_inlier.any():
        is_inlier &= residual <= np.quantile(residual[is_inlier], gate.keep_share)
    is_part_inlier = is_inlier[:, None] & is_seen & ~is_off
    if gate.keep_parts_share < 1.0 and is_inlier.any():
        limit = np.nanquantile(of_parts[is_inlier], gate.keep_parts_share, axis=0)
        is_part_inlier &= of_parts <= limit
    return is_inlier, is_part_inlier


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
