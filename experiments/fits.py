"""Fits of the kinematic hand to a labeled recording: error against the labels, and time.

    python -m experiments.fits --data_dir=runs/selfsup/recording --output=fits.json

Hands are fitted to all views of each sample, then to each view alone, starting at the estimates of
a pretrained network, with the given margins on the spheres' radii (`data_terms.grow_radii`) and
what is fitted of a subject's shape. The table has the error over the 14 evaluation joints: of all
fits the mean, the median over the samples, the mean over the three joints of the palm and over
those of the fingers; and the mean of the fits that are kept and of their kept parts, a share of
all. Its last columns are the mean without the median offset of each joint in the hand's frame,
which is what other definitions of the joints add; residual, its correlation with the error, and
seconds, both wall-clock and of the CPU. Labels measure, nothing more.
"""

import time

import numpy as np
from absl import flags

from experiments import pretrained_samples
from tfhand import commands
from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, part_residuals, pseudo_labels
from tfhand.geometry import rigid
from tfhand.hand import skeleton
from tfhand.losses import multi_view

GATE = pseudo_labels.Gate()
_IS_PALM = np.array([name.startswith("PALM") for name in skeleton.EVALUATION_JOINT_NAMES])


def define_flags(flag_values):
    """Defines the flags of this command."""
    pretrained_samples.define_flags(flag_values, samples=300)
    flags.DEFINE_list("margins", ["0", "0.25", "0.5", "0.75"], "Pixels.", flag_values=flag_values)
    flags.DEFINE_list(
        "free_shapes",
        ["all"],
        "What of a subject's shape is fitted, see `kinematic_fit.FitConfig`.",
        flag_values=flag_values,
    )


def main(flag_values):
    """Runs the command."""
    _, network, spec, recording = pretrained_samples.load_samples(flag_values)
    configs = [
        kinematic_fit.FitConfig(margin_px=float(margin), free_shape=free_shape)
        for margin in flag_values.margins
        for free_shape in flag_values.free_shapes
    ]
    single_views = recordings.one_view_each(recording)
    rows = []
    for name, samples in (
        (f"{recording.num_views} views", recording),
        ("one view", single_views),
    ):
        estimates = pseudo_labels.estimates_in_ref(
            network, samples.depth_mm, samples.ref_from_crop, spec.cube_mm
        )
        median_mm = multi_view.median_over_views(estimates).numpy()
        errors_mm = _errors_mm(samples, median_mm)
        rows.append({"what": f"{name}: network, median", **_error_columns(errors_mm)})
        for config in configs:
            title = f"{name}: fits, {config.margin_px:g} px, shape {config.free_shape}"
            rows.append({"what": title, **_measure_fits(samples, network, spec, config)})
    pretrained_samples.write_rows(rows, flag_values.output)


def _measure_fits(samples, network, spec, config):
    """Fits hands to samples; returns the cells of a row by column."""
    start, cpu_start = time.perf_counter(), time.process_time()
    fits = pseudo_labels.make_pseudo_labels(
        network,
        kinematic_fit.Samples(samples.depth_mm, samples.ref_from_crop, samples.group, spec),
        config,
        GATE,
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    errors_mm = _errors_mm(samples, fits.spheres_ref_mm)
    is_joint_kept = fits.is_part_inlier[:, part_residuals.PART_OF_SPHERE][
        :, skeleton.EVALUATION_SPHERES
    ]
    error_mm = errors_mm.mean(axis=1)
    return {
        **_error_columns(errors_mm),
        "kept": error_mm[fits.is_inlier].mean(),
        "of parts": errors_mm[is_joint_kept].mean(),
        "share": is_joint_kept.mean(),
        "without offsets": _error_without_offsets_mm(samples, fits),
        "residual": float(fits.residual_mm.mean()),
        "correlation": np.corrcoef(fits.residual_mm, error_mm)[0, 1],
        "seconds": seconds,
        "CPU seconds": cpu,
    }


def _error_columns(errors_mm):
    return {
        "all": errors_mm.mean(),
        "median": np.median(errors_mm.mean(axis=1)),
        "palm": errors_mm[:, _IS_PALM].mean(),
        "fingers": errors_mm[:, ~_IS_PALM].mean(),
    }


def _error_without_offsets_mm(samples, fits):
    """Returns the mean error once each joint's median offset in the hand's frame is taken away."""
    labels_mm = rigid.apply(samples.ref_from_crop[:, 0], samples.joints_mm[:, 0]).numpy()
    offset = labels_mm[:, skeleton.EVALUATION_JOINTS]
    offset = offset - fits.spheres_ref_mm[:, skeleton.EVALUATION_SPHERES]
    # offset[n,j] = ref_from_hand[n]^T offset[n,j]
    offset = np.einsum("nrc,njr->njc", fits.ref_from_hand, offset)
    return np.linalg.norm(offset - np.median(offset, axis=0), axis=-1).mean()


def _errors_mm(samples, spheres_ref_mm):
    """Returns the error of each evaluation joint, mean over the views, float64 [n, 14]."""
    spheres_mm = batches.targets_in_views(spheres_ref_mm, samples.ref_from_crop)
    labels_mm = samples.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    errors_mm = np.linalg.norm(spheres_mm[:, :, skeleton.EVALUATION_SPHERES] - labels_mm, axis=-1)
    return errors_mm.mean(axis=1).astype(float)


if __name__ == "__main__":
    commands.run(main, define_flags)
