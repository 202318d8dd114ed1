"""What the terms of equation 4 are worth at several hands of the same samples of a recording.

Run as

    python benchmarks/terms.py --data_dir=runs/selfsup/recording --networks=runs/a,runs/b

The hands are those of the labels, those that networks see in each view, and kinematic fits to all
views and to each view alone; for every one of them it prints the error, also of the wrist, and the
terms, with all views together and with every view alone. The five spheres of the palm that no label
gives are taken from the fit to all views, moved to the labeled palm. Labels measure, nothing more.
"""

import functools
import pathlib

import numpy as np
import started
import tensorflow as tf
from absl import flags

from tfhand import commands, files
from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, pseudo_labels
from tfhand.geometry import rigid, views
from tfhand.hand import skeleton
from tfhand.losses import terms
from tfhand.models import weights
from tfhand.runs import pretrained, provenance
from tfhand.training import fine_tuning, options

_BATCH = 10


def define_flags(flag_values):
    flags.DEFINE_string("data_dir", None, "Records.", required=True, flag_values=flag_values)
    flags.DEFINE_string(
        "init_from", "shipped", "As for tfhand.train, but not none.", flag_values=flag_values
    )
    flags.DEFINE_list(
        "networks", [], "Folders of runs that were fine-tuned from it.", flag_values=flag_values
    )
    flags.DEFINE_string("split", "train", "Split of the records.", flag_values=flag_values)
    flags.DEFINE_integer("samples", 60, "Samples, evenly spaced.", 1, flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def main(values):
    start, network, spec, recording = started.load(
        values.init_from, values.data_dir, values.split, values.samples
    )
    hands = _hands(network, recording, spec)
    for folder in values.networks:
        _check_start(pathlib.Path(folder), start)
        weights.load_weights(network, pathlib.Path(folder) / "tune" / "pose.weights.h5")
        hands[folder] = _estimates(network, recording, spec)
    objective = fine_tuning.make_objective(
        terms.LossWeights(), options.FineTuneOptions(), spec, pretrained.load_prior(start)
    )
    rows = []
    for views_are, is_multi_view in (("together", True), ("alone", False)):
        for name, spheres_mm in hands.items():
            row = {"hand": name, "views": views_are, "error": _error(recording, spheres_mm)}
            row |= _wrist(recording, spheres_mm)
            rows.append(row | _terms(objective, recording, spheres_mm, is_multi_view))
    print(f"{len(recording)} samples of {values.data_dir}, {values.split}")
    columns = list(rows[0])
    print(("{:<24}" + "{:>24}" * (len(columns) - 1)).format(*columns))
    for row in rows:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row.values()]
        print(("{:<24}" + "{:>24}" * (len(columns) - 1)).format(*cells))
    if values.output:
        files.write_json(pathlib.Path(values.output), rows)


def _check_start(folder, start):
    """Checks that a run was fine-tuned from a start."""
    began = files.read_json(folder / provenance.NAME)[-1].get("start")
    if began != provenance.start_checksums(start):
        raise ValueError(f"Expected a run that began with {start}, see --init_from, in {folder}.")


def _hands(network, recording, spec):
    """Returns a dict from a name to spheres [n, V, 41, 3] in the crops' frames."""
    alone = recordings.one_view_each(recording)
    fitted = batches.targets_in_views(_fit(network, recording, spec), recording.ref_from_crop)
    fitted_alone = batches.targets_in_views(_fit(network, alone, spec), alone.ref_from_crop)
    return {
        "labels": _labels(recording, fitted),
        "start": _estimates(network, recording, spec),
        "fits to all views": fitted,
        "fits to each view": fitted_alone.reshape(fitted.shape),
    }


def _fit(network, recording, spec):
    seen = (recording.depth_mm, recording.ref_from_crop, recording.group)
    config = kinematic_fit.FitConfig()
    return pseudo_labels.make_pseudo_labels(network, *seen, spec, config, 1.0).spheres_ref_mm


def _labels(recording, fitted):
    """Returns the labels, completed by what the fits have beside the labeled palm."""
    labels, mask = batches.label_targets(recording)
    if not mask[:, :, skeleton.SPHERE_FROM_JOINT].all():
        raise ValueError("Expected labels of all joints of all samples.")
    palm = [i for i in skeleton.PALM_SPHERES if mask[0, 0, i]]
    moved = rigid.kabsch(fitted[:, :, palm], labels[:, :, palm])
    return np.where(mask[..., None] > 0.0, labels, rigid.apply(moved, fitted))


def _estimates(network, recording, spec):
    alone = recordings.one_view_each(recording)
    in_ref = pseudo_labels.estimate_in_ref(
        network, alone.depth_mm, alone.ref_from_crop, spec.cube_mm
    )
    in_views = batches.targets_in_views(in_ref, alone.ref_from_crop)
    return in_views.reshape(*recording.depth_mm.shape[:2], *in_views.shape[2:])


def _error(recording, spheres_mm):
    truth = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    away = spheres_mm[:, :, skeleton.EVALUATION_SPHERES] - truth
    return float(np.linalg.norm(away, axis=-1).mean())


def _wrist(recording, spheres_mm):
    """Returns how far off the wrist is, and how far toward the elbow of it, mm."""
    truth, _ = batches.label_targets(recording)
    wrist, found = (s[:, :, skeleton.WRIST_SPHERES].mean(axis=2) for s in (truth, spheres_mm))
    arm = wrist - truth[:, :, skeleton.PALM_CENTER_SPHERE]
    arm /= np.linalg.norm(arm, axis=-1, keepdims=True)
    away = found - wrist
    return {
        "wrist": float(np.linalg.norm(away, axis=-1).mean()),
        "toward elbow": float((away * arm).sum(axis=-1).mean()),
    }


def _terms(objective, recording, spheres_mm, is_multi_view):
    """Returns the mean of every term at given hands."""
    sums = {}
    # Of the prior, the same for all hands.
    rng = tf.random.Generator.from_seed(1)
    for first in range(0, len(recording), _BATCH):
        part = slice(first, first + _BATCH)
        hands = views.fold_views(tf.constant(spheres_mm[part], tf.float32))
        batch = {
            "depth_mm": tf.constant(recording.depth_mm[part]),
            "ref_from_crop": tf.constant(recording.ref_from_crop[part]),
            "is_multi_view": tf.fill([len(spheres_mm[part])], float(is_multi_view)),
        }
        network = functools.partial(_answer, hands)
        found = objective.measure(network, batch, rng)
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + float(tf.reduce_sum(value))
    return {name: total / len(recording) for name, total in sums.items()}


def _answer(spheres_mm, depth, training):
    """What a network that sees these hands says."""
    return {"spheres_mm": spheres_mm}


if __name__ == "__main__":
    commands.run(main, define_flags)
