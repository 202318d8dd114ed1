"""Terms of equation 4 at several hands of the same samples of a recording.

    python -m experiments.terms --data_dir=runs/selfsup/recording --networks=runs/a,runs/b

The hands are the labels, the estimates of networks in each view, and kinematic fits to all views
and to each view alone. The table has their error, also that of the wrist, and the terms, with all
views together and with every view alone. The labels lack five spheres of the palm: these are those
of the fit to all views, moved to the labeled palm. Labels measure, nothing more.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf
from absl import flags

from experiments import pretrained_samples
from tfhand import commands
from tfhand.data import batches, recordings
from tfhand.fitting import kinematic_fit, pseudo_labels
from tfhand.geometry import rigid, views
from tfhand.hand import skeleton
from tfhand.losses import terms
from tfhand.models import pose_prior, weights
from tfhand.training import fine_tuning, options

_BATCH = 10


def define_flags(flag_values):
    """Defines the flags of this command."""
    pretrained_samples.define_flags(flag_values, samples=60)
    flags.DEFINE_list(
        "networks", [], "Runs that were fine-tuned from --init_from.", flag_values=flag_values
    )


def main(flag_values):
    """Runs the command."""
    pretrained_folder, network, spec, recording = pretrained_samples.load_samples(flag_values)
    hands_mm = _pretrained_hands(network, recording, spec)
    for folder in flag_values.networks:
        weights.load_weights(network, pathlib.Path(folder) / "tune" / "pose.weights.h5")
        hands_mm[folder] = _estimates(network, recording, spec)
    objective = fine_tuning.make_objective(
        terms.LossWeights(),
        options.FineTuneOptions(),
        spec,
        pose_prior.load_prior(pretrained_folder / "prior"),
    )
    rows = [
        {
            "hand": name,
            "views": "together" if is_multi_view else "alone",
            "error": error_mm(recording, spheres_mm),
            **wrist_errors_mm(recording, spheres_mm),
            **mean_terms(objective, recording, spheres_mm, is_multi_view),
        }
        for is_multi_view in (True, False)
        for name, spheres_mm in hands_mm.items()
    ]
    pretrained_samples.write_rows(rows, flag_values.output)


def _pretrained_hands(network, recording, spec):
    """Returns a dict from a name to spheres [n, V, 41, 3] in the crops' frames."""
    single_views = recordings.one_view_each(recording)
    fits_mm = _fit(network, recording, spec)
    return {
        "labels": complete_labels(recording, fits_mm),
        "start": _estimates(network, recording, spec),
        "fits to all views": fits_mm,
        "fits to each view": _fit(network, single_views, spec).reshape(fits_mm.shape),
    }


def _fit(network, recording, spec):
    """Returns the spheres of fitted hands, [n, V, 41, 3], in the crops' frames."""
    fits = pseudo_labels.make_pseudo_labels(
        network,
        kinematic_fit.Samples(recording.depth_mm, recording.ref_from_crop, recording.group, spec),
        kinematic_fit.FitConfig(),
        pseudo_labels.Gate(),
    )
    return batches.targets_in_views(fits.spheres_ref_mm, recording.ref_from_crop)


def complete_labels(recording, fits_mm):
    """Returns labels, completed by the spheres of fits, moved as the labeled palm."""
    labels_mm, mask = batches.label_targets(recording)
    if not mask[:, :, skeleton.SPHERE_FROM_JOINT].all():
        raise ValueError("Expected labels of all joints of all samples.")
    palm = [i for i in skeleton.PALM_SPHERES if mask[0, 0, i]]
    labels_from_fits = rigid.kabsch(fits_mm[:, :, palm], labels_mm[:, :, palm])
    return np.where(mask[..., None] > 0.0, labels_mm, rigid.apply(labels_from_fits, fits_mm))


def _estimates(network, recording, spec):
    """Returns the spheres that a network estimates, [n, V, 41, 3], in the crops' frames."""
    single_views = recordings.one_view_each(recording)
    in_ref = pseudo_labels.estimates_in_ref(
        network, single_views.depth_mm, single_views.ref_from_crop, spec.cube_mm
    )[:, 0]
    in_views = batches.targets_in_views(in_ref, single_views.ref_from_crop)
    return in_views.reshape(*recording.depth_mm.shape[:2], *in_views.shape[2:])


def error_mm(recording, spheres_mm):
    """Returns the mean error over the 14 evaluation joints."""
    labels_mm = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    differences = spheres_mm[:, :, skeleton.EVALUATION_SPHERES] - labels_mm
    return float(np.linalg.norm(differences, axis=-1).mean())


def wrist_errors_mm(recording, spheres_mm):
    """Returns the mean distance of the wrist from its labels, and its part toward the elbow."""
    labels_mm, _ = batches.label_targets(recording)
    label, estimate = (
        hands_mm[:, :, skeleton.WRIST_SPHERES].mean(axis=2) for hands_mm in (labels_mm, spheres_mm)
    )
    arm = label - labels_mm[:, :, skeleton.PALM_CENTER_SPHERE]
    arm /= np.linalg.norm(arm, axis=-1, keepdims=True)
    difference = estimate - label
    return {
        "wrist": float(np.linalg.norm(difference, axis=-1).mean()),
        "toward elbow": float((difference * arm).sum(axis=-1).mean()),
    }


def mean_terms(objective, recording, spheres_mm, is_multi_view):
    """Returns the mean of every term at hands [n, V, 41, 3] over the samples."""
    sums = {}
    # The prior draws the same for all hands.
    rng = tf.random.Generator.from_seed(1)
    for first in range(0, len(recording), _BATCH):
        part = slice(first, first + _BATCH)
        folded_mm = views.fold_views(tf.constant(spheres_mm[part], tf.float32))
        batch = {
            "depth_mm": tf.constant(recording.depth_mm[part]),
            "ref_from_crop": tf.constant(recording.ref_from_crop[part]),
            "is_multi_view": tf.fill([len(spheres_mm[part])], float(is_multi_view)),
        }
        values = objective.measure(functools.partial(_constant_network, folded_mm), batch, rng)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(tf.reduce_sum(value))
    return {name: total / len(recording) for name, total in sums.items()}


def _constant_network(spheres_mm, depth, training):
    """A pose network that estimates the same spheres whatever it is given."""
    return {"stack_spheres_mm": spheres_mm[:, tf.newaxis]}


if __name__ == "__main__":
    commands.run(main, define_flags)
