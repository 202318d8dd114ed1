"""Fits of the kinematic hand on a labeled recording: time, and error against the labels.

Run as

    python benchmarks/fits.py --data_dir=runs/selfsup/recording --output=fits.json

It takes an initialized network and samples of a recording, fits one hand to all views of each, then
one to each view alone, with the given margins on the spheres' radii (`data_terms.grow_radii`) and
what is fitted of a subject's shape, and measures the mean error over the 14 evaluation joints, of
all fits, of those kept, and of their kept parts, a share of all. Labels measure, nothing more.
"""

import json
import pathlib
import time

import numpy as np
import started
from absl import flags

from tfhand import commands
from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, part_residuals, pseudo_labels
from tfhand.hand import skeleton

# Shares of the fits, and of their parts, that are kept.
KEPT, PARTS_KEPT = 0.85, 0.85
COLUMNS = ("all", "kept", "of parts", "share", "residual", "seconds")


def define_flags(flag_values):
    flags.DEFINE_string("data_dir", None, "Records.", required=True, flag_values=flag_values)
    flags.DEFINE_string(
        "init_from", "shipped", "As for tfhand.train, but not none.", flag_values=flag_values
    )
    flags.DEFINE_string("split", "train", "Split of the records.", flag_values=flag_values)
    flags.DEFINE_integer("samples", 300, "Samples, evenly spaced.", 1, flag_values=flag_values)
    flags.DEFINE_list("margins", ["0", "0.25", "0.5", "0.75"], "Pixels.", flag_values=flag_values)
    flags.DEFINE_list(
        "free_shapes",
        ["all"],
        "What of a subject's shape is fitted, see `kinematic_fit.FitConfig`.",
        flag_values=flag_values,
    )
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def main(options):
    _, network, spec, together = started.load(
        options.init_from, options.data_dir, options.split, options.samples
    )
    rows = []
    configs = [
        kinematic_fit.FitConfig(margin_px=float(margin), free_shape=free_shape)
        for margin in options.margins
        for free_shape in options.free_shapes
    ]
    for name, recording in (
        (f"{together.num_views} views", together),
        ("one view", recordings.one_view_each(together)),
    ):
        rows += _rows(name, recording, network, spec, configs)
    print(f"{len(together)} samples of {options.data_dir}, {options.split}")
    print(("{:<42}" + "{:>10}" * len(COLUMNS)).format("", *COLUMNS))
    for row in rows:
        cells = ["" if row.get(k) is None else f"{row[k]:.2f}" for k in COLUMNS]
        print(("{:<42}" + "{:>10}" * len(COLUMNS)).format(row["what"], *cells))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(rows, indent=2) + "\n")


def _rows(name, recording, network, spec, configs):
    """Measures the network and its fits on samples of a number of views."""
    seen = (recording.depth_mm, recording.ref_from_crop)
    estimate = pseudo_labels.estimate_in_ref(network, *seen, spec.cube_mm)
    yield {"what": f"{name}: network", "all": _errors(recording, estimate).mean()}
    for config in configs:
        start = time.perf_counter()
        fits = pseudo_labels.make_pseudo_labels(
            network, *seen, recording.group, spec, config, KEPT, PARTS_KEPT
        )
        seconds = time.perf_counter() - start
        errors = _errors(recording, fits.spheres_ref_mm)
        parts = fits.parts_kept[:, part_residuals.PART_OF_SPHERE][:, skeleton.EVALUATION_SPHERES]
        yield {
            "what": f"{name}: fits, {config.margin_px:g} px, shape {config.free_shape}",
            "all": errors.mean(),
            "kept": errors[fits.kept].mean(),
            "of parts": errors[parts].mean(),
            "share": parts.mean(),
            "residual": fits.residual_mm.mean(),
            "seconds": seconds,
        }


def _errors(recording, spheres_ref_mm):
    """Returns the error of each evaluation joint, mean over the views, [n, 14], mm."""
    found = batches.targets_in_views(spheres_ref_mm, recording.ref_from_crop)
    truth = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    away = np.linalg.norm(found[:, :, skeleton.EVALUATION_SPHERES] - truth, axis=-1)
    return away.mean(axis=1).astype(float)


if __name__ == "__main__":
    commands.run(main, define_flags)
