"""Fits of a recording, as targets and as poses to draw synthetic samples near. Not in the paper."""

import dataclasses

import numpy as np
from absl import logging

from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, part_residuals, pseudo_labels
from tfhand.hand import skeleton, template
from tfhand.synthesis import samples

__all__ = ["Fits", "load_or_make_fits", "reference_poses"]


@dataclasses.dataclass(frozen=True)
class Fits:
    """Fits of a recording as targets and poses, NumPy.

    Attributes:
        target_mm: float32 [n, V, 41, 3], crop frames.
        target_mask: bool [n, V, 41], the spheres of `target_mm` to learn from: those of parts that
            agree with the depth, but the wrist.
        angles: float32 [K, 23], radians, for each view whose fit agrees with the depth.
        camera_from_hand: float32 [K, 3, 3], rotation.
        shape: float32 [G, P], of each subject.
        summary: How good the fits are: one dict for the samples whose views are together and one
            for the others, as far as there are such.
    """

    target_mm: np.ndarray
    target_mask: np.ndarray
    angles: np.ndarray
    camera_from_hand: np.ndarray
    shape: np.ndarray
    summary: list


def load_or_make_fits(folder, network, recording, options, spec, shape=None):
    """Fits hands to all samples, or reads the fits that a folder has.

    Args:
        folder: `pathlib.Path` of the files of the fits.
        network: Pose network, whose estimates the fits start from; None: they have to be there.
        recording: `recordings.RecordedSamples`. One hand is fitted to all views of a sample that
            has them together, otherwise one to each view.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        shape: Optional float32 [G, P] to start from.

    Returns:
        `Fits`.

    Raises:
        ValueError: If no fit agrees with the depth.
    """
    if shape is None:
        shape = np.zeros([int(recording.group.max()) + 1, len(template.SHAPE_NAMES)], np.float32)
    count, num_views = recording.depth_mm.shape[:2]
    target_mm = np.zeros([count, num_views, len(skeleton.SPHERE_NAMES), 3], np.float32)
    target_mask = np.zeros(target_mm.shape[:3], bool)
    angles, rotations, summary = [], [], []
    for is_multi_view, name in ((True, "fits.npz"), (False, "fits_of_views.npz")):
        rows = recording.is_multi_view == is_multi_view
        if not rows.any():
            continue
        part = recordings.select(recording, rows)
        part = part if is_multi_view else recordings.one_view_each(part)
        labels = _read_or_fit(folder / name, network, part, options, spec, shape)
        shape, is_inlier = labels.shape, labels.is_inlier
        if not is_inlier.any():
            raise ValueError(
                f"Expected a fit to learn from among {len(is_inlier)} samples of "
                f"{part.num_views} views, found none that agrees with the depth to "
                f"{options.most_residual_mm:g} mm (--tune_most_residual_mm)."
            )
        in_views = batches.targets_in_views(labels.spheres_ref_mm, part.ref_from_crop)
        target_mm[rows] = in_views.reshape(-1, *target_mm.shape[1:])
        sphere_mask = labels.is_part_inlier[:, part_residuals.PART_OF_SPHERE]
        # Depth does not tell where along the arm the wrist is.
        sphere_mask[:, skeleton.WRIST_SPHERES] = False
        sphere_mask = np.repeat(sphere_mask[:, None], part.num_views, axis=1)
        target_mask[rows] = sphere_mask.reshape(-1, *target_mask.shape[1:])
        camera_from_ref = np.swapaxes(part.ref_from_crop[is_inlier, :, :3, :3], -1, -2)
        camera_from_hand = camera_from_ref @ labels.ref_from_hand[is_inlier, None]
        rotations.append(camera_from_hand.reshape(-1, 3, 3))
        angles.append(np.repeat(labels.angles[is_inlier], part.num_views, axis=0))
        summary.append(_summarize(labels, in_views, part))
    return Fits(
        target_mm, target_mask, np.concatenate(angles), np.concatenate(rotations), shape, summary
    )


def reference_poses(fits, share):
    """Returns poses and viewpoints of the fits, to draw synthetic hands near.

    Args:
        fits: `Fits`.
        share: Share of the synthetic samples that are drawn near them.
    """
    return samples.ReferencePoses(fits.angles, fits.camera_from_hand[:, None], share)


def _read_or_fit(path, network, part, options, spec, shape):
    """Returns the `PseudoLabels` of a file; makes them if it is missing or of other samples."""
    if path.exists():
        problem = f"{path} holds fits of other samples."
        try:
            labels = pseudo_labels.load_pseudo_labels(path)
            if (len(labels.is_inlier), len(labels.shape)) == (len(part), len(shape)):
                return labels
        except ValueError as error:
            problem = str(error)
        logging.warning("%s They are made again.", problem)
    if network is None:
        raise ValueError(
            f"Expected in {path} fits of these samples that the chief has made, found none: "
            "--workdir has to be on a file system that all workers share."
        )
    labels = pseudo_labels.make_pseudo_labels(
        network,
        kinematic_fit.Samples(part.depth_mm, part.ref_from_crop, part.group, spec),
        kinematic_fit.FitConfig(
            steps=options.fit_steps, margin_px=options.margin_px, free_shape=options.fit_subject
        ),
        pseudo_labels.Gate(options.keep_share, options.keep_parts_share, options.most_residual_mm),
        shape,
    )
    pseudo_labels.save_pseudo_labels(path, labels)
    return labels


def _summarize(labels, in_views, part):
    """Returns how good fits are: by residual always, against labels where there are any."""
    summary = {
        "views": part.num_views,
        "residual_mm": float(labels.residual_mm[np.isfinite(labels.residual_mm)].mean()),
        "kept": int(labels.is_inlier.sum()),
        "samples": len(labels.is_inlier),
    }
    joints = in_views[:, :, skeleton.EVALUATION_SPHERES]
    truth = part.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    if (part.joint_mask[:, :, skeleton.EVALUATION_JOINTS] > 0).all():
        # Measured for the report; nothing learns from it.
        error = np.linalg.norm(joints - truth, axis=-1).mean(axis=(1, 2))
        summary["error_mm"] = float(error[np.isfinite(error)].mean())
        summary["error_of_kept_mm"] = float(error[labels.is_inlier].mean())
    return summary
