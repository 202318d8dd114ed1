"""Fits of the kinematic hand to a labeled recording: error against the labels, and time.

    python -m experiments.fits --data_dir=runs/selfsup/recording --output=fits.json

Hands are fitted to all views of each sample, then to each view alone, starting at the estimates of
a pretrained network, with the given margins on the spheres' radii (`data_terms.grow_radii`) and
what is fitted of a subject's shape. The table has the mean error over the 14 evaluation joints of
all fits, of those kept, and of their kept parts, a share of all. Labels measure, nothing more.
"""

import time

import numpy as np
from absl import flags

from experiments import pretrained_samples
from tfhand import commands
from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, part_residuals, pseudo_labels
from tfhand.hand import skeleton

GATE = pseudo_labels.Gate(keep_share=0.85, keep_parts_share=0.85)


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
        estimates = pseudo_labels.estimate_in_ref(
            network, samples.depth_mm, samples.ref_from_crop, spec.cube_mm
        )
        rows.append({"what": f"{name}: network", "all": _errors_mm(samples, estimates).mean()})
        for config in configs:
            title = f"{name}: fits, {config.margin_px:g} px, shape {config.free_shape}"
            rows.append({"what": title, **_measure_fits(samples, network, spec, config)})
    pretrained_samples.write_rows(flag_values, rows)


def _measure_fits(samples, network, spec, config):
    """Fits hands to samples; returns the cells of a row by column."""
    start = time.perf_counter()
    fits = pseudo_labels.make_pseudo_labels(
        network,
        kinematic_fit.Samples(samples.depth_mm, samples.ref_from_crop, samples.group, spec),
        config,
        GATE,
    )
    seconds = time.perf_counter() - start
    errors_mm = _errors_mm(samples, fits.spheres_ref_mm)
    is_joint_kept = fits.is_part_inlier[:, part_residuals.PART_OF_SPHERE][
        :, skeleton.EVALUATION_SPHERES
    ]
    return {
        "all": errors_mm.mean(),
        "kept": errors_mm[fits.is_inlier].mean(),
        "of parts": errors_mm[is_joint_kept].mean(),
        "share": is_joint_kept.mean(),
        "residual": float(fits.residual_mm.mean()),
        "seconds": seconds,
    }


def _errors_mm(samples, spheres_ref_mm):
    """Returns the error of each evaluation joint, mean over the views, float64 [n, 14]."""
    spheres_mm = batches.targets_in_views(spheres_ref_mm, samples.ref_from_crop)
    labels_mm = samples.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    errors_mm = np.linalg.norm(spheres_mm[:, :, skeleton.EVALUATION_SPHERES] - labels_mm, axis=-1)
    return errors_mm.mean(axis=1).astype(float)


if __name__ == "__main__":
    commands.run(main, define_flags)
