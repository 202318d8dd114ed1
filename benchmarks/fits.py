"""Fits of the kinematic hand on a labeled recording: time, and error against the labels.

Run as

    python benchmarks/fits.py --data_dir=runs/selfsup/recording --output=fits.json

It takes an initialized network and samples of a recording's training split, fits them with the
given margins on the spheres' radii (`data_terms.grow_radii`), and measures the mean error over the
14 evaluation joints and all views. Labels measure, nothing more.
"""

import json
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands


def define_flags(flag_values):
    flags.DEFINE_string("data_dir", None, "Records.", required=True, flag_values=flag_values)
    flags.DEFINE_string(
        "init_from", "shipped", "As for tfhand.train, but not none.", flag_values=flag_values
    )
    flags.DEFINE_integer("samples", 300, "Samples, evenly spaced.", 1, flag_values=flag_values)
    flags.DEFINE_list("margins", ["0", "0.25", "0.5", "0.75"], "Pixels.", flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def main(options):
    from data_prep import records
    from tfhand.fitting import kinematic_fit, pseudo_labels
    from tfhand.geometry import crop
    from tfhand.training import recordings, starts

    start = starts.find_start(options.init_from, {"init": {}, "prior": {}})
    network_options = starts.network_options_of(start)
    network = starts.load_network(start, tf.distribute.get_strategy(), network_options)
    spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
    data_dir = options.data_dir
    whole = recordings.read_recording(records.load_dataset(data_dir, "train", spec=spec))
    chosen = np.unique(np.linspace(0, len(whole) - 1, options.samples).astype(int))
    recording = recordings.select(whole, chosen)
    arguments = (recording.depth_mm, recording.ref_from_crop)
    estimate = pseudo_labels.estimate_in_ref(network, *arguments, spec.cube_mm)
    rows = [{"what": "network, median of the views", "error_mm": _error(recording, estimate)}]
    for margin in map(float, options.margins):
        config = kinematic_fit.FitConfig(margin_px=margin)
        start = time.perf_counter()
        fits = pseudo_labels.make_pseudo_labels(
            network, *arguments, recording.group, spec, config, keep_share=0.85
        )
        rows.append(
            {
                "what": f"fits, margin {margin:g} px",
                "error_mm": _error(recording, fits.spheres_ref_mm),
                "kept_error_mm": _error(recording, fits.spheres_ref_mm, fits.kept),
                "residual_mm": float(fits.residual_mm.mean()),
                "seconds": time.perf_counter() - start,
            }
        )
    print(f"{len(recording)} samples of {data_dir}")
    print(f"{'':<30}{'error mm':>10}{'of kept':>10}{'residual':>10}{'seconds':>10}")
    for row in rows:
        values = (row.get(k) for k in ("error_mm", "kept_error_mm", "residual_mm", "seconds"))
        cells = "".join(f"{'' if value is None else format(value, '.2f'):>10}" for value in values)
        print(f"{row['what']:<30}{cells}")
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(rows, indent=2) + "\n")


def _error(recording, spheres_ref_mm, kept=slice(None)):
    from tfhand.hand import skeleton
    from tfhand.training import pipeline

    found = pipeline.targets_in_views(spheres_ref_mm, recording.ref_from_crop)
    truth = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    away = np.linalg.norm(found[:, :, skeleton.EVALUATION_SPHERES] - truth, axis=-1)
    return float(away[kept].mean())


if __name__ == "__main__":
    commands.run(main, define_flags)
