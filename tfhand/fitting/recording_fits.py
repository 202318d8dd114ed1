"""Fits of a recording, as targets and as poses to draw synthetic samples near. Not in the paper."""

import dataclasses

import numpy as np
from absl import logging

from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, part_residuals, pseudo_labels
from tfhand.hand import skeleton, template
from tfhand.synthesis import samples

__all__ = ["Fits", "known_poses", "make_fits"]


@dataclasses.dataclass(frozen=True)
class Fits:
    """What fits say about a recording, NumPy.

    Attributes:
        target_mm: float32 [n, V, 41, 3], crop frames.
        kept: bool [n, V, 41], which spheres of the fit that a view belongs to to learn from.
        angles: float32 [K, 23], radians, for each view that is kept.
        camera_from_hand: float32 [K, 3, 3], rotation.
        shape: float32 [G, 14], of each subject.
        summary: One dict for the samples whose views are together and one for the others, as far
            as there are such: how good their fits are.
    """

    target_mm: np.ndarray
    kept: np.ndarray
    angles: np.ndarray
    camera_from_hand: np.ndarray
    shape: np.ndarray
    summary: list


def make_fits(folder, network, recording, options, spec, shape, writes=True):
    """Fits hands to all samples, or reads the fits that a folder has.

    Args:
        folder: `pathlib.Path` where the fits are kept.
        network: Pose network, whose estimates the fits start from.
        recording: `recordings.RecordedSamples`. One hand is fitted to all views of a sample that
            has them together, otherwise one to each view.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        shape: float32 [G, 14] to start from, or None.
        writes: Whether this process makes fits; another reads those that the chief has made.

    Returns:
        `Fits`.

    Raises:
        ValueError: If no fit agrees with the depth, or there are none that the chief has made.
    """
    if shape is None:
        shape = np.zeros([int(recording.group.max()) + 1, len(template.SHAPE_NAMES)], np.float32)
    count, num_views = recording.depth_mm.shape[:2]
    target = np.zeros([count, num_views, len(skeleton.SPHERE_NAMES), 3], np.float32)
    kept = np.zeros(target.shape[:3], bool)
    angles, rotations, summary = [], [], []
    for is_multi_view, name in ((True, "fits.npz"), (False, "fits_of_views.npz")):
        rows = recording.is_multi_view == is_multi_view
        if not rows.any():
            continue
        part = recordings.select(recording, rows)
        part = part if is_multi_view else recordings.one_view_each(part)
        found = _read_or_fit(folder / name, network, part, options, spec, shape, writes)
        shape = found.shape
        if not found.kept.any():
            raise ValueError(
                f"Expected a fit to learn from among {len(found.kept)} samples of "
                f"{part.num_views} views, found none that is finite and meets a surface."
            )
        in_views = batches.targets_in_views(found.spheres_ref_mm, part.ref_from_crop)
        target[rows] = in_views.reshape(-1, *target.shape[1:])
        of_spheres = found.parts_kept[:, part_residuals.PART_OF_SPHERE]
        of_spheres = np.repeat(of_spheres[:, None], part.num_views, axis=1)
        kept[rows] = of_spheres.reshape(-1, *kept.shape[1:])
        camera_from_ref = np.swapaxes(part.ref_from_crop[found.kept, :, :3, :3], -1, -2)
        camera_from_hand = camera_from_ref @ found.ref_from_hand[found.kept, None]
        rotations.append(camera_from_hand.reshape(-1, 3, 3))
        angles.append(np.repeat(found.angles[found.kept], part.num_views, axis=0))
        summary.append(_describe(found, in_views, part))
    return Fits(target, kept, np.concatenate(angles), np.concatenate(rotations), shape, summary)


def known_poses(fits, share):
    """Returns poses and viewpoints of the fits, to draw synthetic hands near.

    Args:
        fits: `Fits`.
        share: Share of the synthetic samples that are drawn near them.
    """
    return samples.KnownPoses(fits.angles, fits.camera_from_hand[:, None], share)


def _read_or_fit(path, network, part, options, spec, shape, writes):
    found, problem = None, f"found no {path}."
    if path.exists():
        problem = f"{path} holds fits of other samples."
        try:
            found = pseudo_labels.load_pseudo_labels(path)
        except ValueError as error:
            problem = str(error)
    if found is not None and (len(found.kept), len(found.shape)) == (len(part), len(shape)):
        return found
    if not writes:
        raise ValueError(f"Expected fits that the chief has made: {problem}")
    if path.exists():
        logging.warning("%s They are made again.", problem)
    found = pseudo_labels.make_pseudo_labels(
        network,
        part.depth_mm,
        part.ref_from_crop,
        part.group,
        spec,
        kinematic_fit.FitConfig(
            steps=options.fit_steps,
            margin_px=options.margin_px,
            free_shape=options.fit_subject,
        ),
        options.keep_share,
        options.keep_parts_share,
        shape,
    )
    pseudo_labels.save_pseudo_labels(path, found)
    return found


def _describe(found, in_views, part):
    """Says how good fits are: by residual always, against labels where there are any."""
    described = {
        "views": part.num_views,
        "residual_mm": float(found.residual_mm[np.isfinite(found.residual_mm)].mean()),
        "kept": int(found.kept.sum()),
        "samples": len(found.kept),
    }
    joints = in_views[:, :, skeleton.EVALUATION_SPHERES]
    truth = part.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    known = part.joint_mask[:, :, skeleton.EVALUATION_JOINTS] > 0
    if known.all():
        # Measured for the report; nothing learns from it.
        error = np.linalg.norm(joints - truth, axis=-1).mean(axis=(1, 2))
        described["error_mm"] = float(error[np.isfinite(error)].mean())
        described["error_of_kept_mm"] = float(error[found.kept].mean())
    return described
