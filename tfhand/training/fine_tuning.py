"""Fine-tuning of the network on a recording (section 3.4), by gradient, fits or labels."""

import dataclasses
import shutil
import zlib

import numpy as np
import tensorflow as tf

from tfhand import files
from tfhand.fitting import kinematic_fit, pseudo_labels
from tfhand.hand import skeleton
from tfhand.models import weights as model_weights
from tfhand.synthesis import samples
from tfhand.training import augmentation, callbacks, loop, objectives, pipeline, trainer

__all__ = ["fine_tune"]


def _objective(weights, options, spec, prior):
    """Returns the `RecordedObjective` of a method."""
    return objectives.RecordedObjective(
        weights=weights,
        target_weight=0.0 if options.method == "gradient" else options.target_weight,
        negative_elbo=prior.negative_elbo if prior is not None else None,
        spec=spec,
        clamp_mm=options.clamp_mm,
        stride=options.stride,
        margin_px=options.margin_px,
        multi_view=options.multi_view,
        augment=augmentation.AugmentationConfig() if options.augment else None,
    )


def _targets(network, recording, options, spec, shape):
    """Returns (target_mm, target_mask, fits or None) for a method.

    With labels the fits only say where synthetic samples are drawn: the same as without labels.
    """
    count, num_views = recording.depth_mm.shape[:2]
    empty = np.zeros([count, num_views, len(skeleton.SPHERE_NAMES)], np.float32)
    if options.method == "gradient":
        return np.zeros([*empty.shape, 3], np.float32), empty, None
    labeled = options.method == "labels"
    if labeled and not recording.joint_mask.any():
        raise ValueError("Expected labels in the recording to train with, found none.")
    if labeled and options.near_fits == 0.0:
        return *pipeline.label_targets(recording), None
    fits = pseudo_labels.make_pseudo_labels(
        network,
        recording.depth_mm,
        recording.ref_from_crop,
        recording.group,
        spec,
        kinematic_fit.FitConfig(steps=options.fit_steps, margin_px=options.margin_px),
        options.keep_share,
        shape,
    )
    if labeled:
        return *pipeline.label_targets(recording), fits
    target = pipeline.targets_in_views(fits.spheres_ref_mm, recording.ref_from_crop)
    mask = np.where(fits.kept[:, None, None], np.ones_like(empty), empty)
    return target, mask, fits


def fine_tune(workdir, strategy, network, prior, recording, weights, options, spec, seed):
    """Fine-tunes the network on a recording, or reads the result.

    Args:
        workdir: `workdir.Workdir`.
        strategy: `tf.distribute.Strategy`.
        network: The initialized pose network; trained in place.
        prior: `pose_prior.PosePrior`.
        recording: `pipeline.RecordedSamples` of the training split.
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        seed: Seed of orders, augmentation and synthetic samples.

    Returns:
        The network.
    """
    settings = {
        **dataclasses.asdict(options),
        "seed": seed,
        "weights": dataclasses.asdict(weights),
        "recording": _checksum([recording.depth_mm, recording.ref_from_crop, recording.group]),
        "start": _checksum(network.get_weights()),
    }
    if options.method == "labels":
        settings["labels"] = _checksum([recording.joints_mm, recording.joint_mask])
    if weights.pose_prior > 0.0:
        settings["prior"] = _checksum(prior.get_weights())
    stage = workdir.stage("tune")
    if workdir.is_done("tune", settings):
        model_weights.load_weights(network, stage / "pose.weights.h5")
        return network
    rounds = options.rounds if options.method == "fit" else 1
    with workdir.working("tune", settings) as folder:
        shape, summary = None, []
        for i in range(rounds):
            kept = folder / f"round-{i + 1}"
            if (kept / "shape.json").exists():
                # An earlier run was interrupted after this round.
                model_weights.load_weights(network, kept / "pose.weights.h5")
                state = files.read_json(kept / "shape.json")
                shape, summary = state["shape"], state["summary"]
                continue
            kept.mkdir(exist_ok=True)
            target, mask, fits = _targets(network, recording, options, spec, shape)
            if fits is not None:
                shape = fits.shape
                summary.append(_describe(fits, recording))
            # Before the scope: what it measures on sampled hands must not become a replica's.
            objective = _objective(weights, options, spec, prior)
            dataset = _mixed(recording, target, mask, fits, options, spec, seed + 100 * i)
            model = _make_trainer(strategy, network, objective, options, seed + 10 * i)
            _train(model, dataset, recording, options.steps // rounds, folder, i + 1)
            model_weights.save_weights(network, kept / "pose.weights.h5")
            state = {"shape": None if shape is None else np.asarray(shape).tolist()}
            files.write_json(kept / "shape.json", state | {"summary": summary})
        if summary:
            files.write_json(folder / "fits.json", summary)
        with files.replacing(stage / "pose.weights.h5") as partial:
            shutil.copy(kept / "pose.weights.h5", partial)
    return network


def _make_trainer(strategy, network, objective, options, seed):
    with strategy.scope():
        model = trainer.PoseTrainer(
            network,
            synthetic=objectives.SyntheticObjective(objective.spec.cube_mm),
            recorded=objective,
            synthetic_weight=options.synthetic_weight,
            seed=seed,
        )
        steps = options.steps // (options.rounds if options.method == "fit" else 1)
        loop.compile_trainer(model, options.learning_rate, steps)
    return model


def _train(model, dataset, recording, steps, folder, number):
    """Trains one round, with pictures and terms of six samples of the recording."""
    shown = slice(0, 6 * max(len(recording) // 6, 1), max(len(recording) // 6, 1))
    batch = {
        "depth_mm": recording.depth_mm[shown],
        "ref_from_crop": recording.ref_from_crop[shown],
    }
    name = f"round-{number}"
    logs = folder / "logs" / name
    watching = [
        callbacks.Pictures(logs, batch["depth_mm"], model.recorded.spec.cube_mm),
        callbacks.Terms(logs, model.recorded, batch),
    ]
    loop.fit(model, dataset, steps, folder, name, watching)


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def _mixed(recording, target, mask, fits, options, spec, seed):
    """Batches of recorded samples with their targets, and of synthetic ones near the fits."""
    recorded = pipeline.recorded_dataset(recording, target, mask, options.batch, seed)
    known = None
    if fits is not None and options.near_fits > 0.0:
        known = pipeline.known_poses(
            fits.angles[fits.kept],
            fits.ref_from_hand[fits.kept],
            recording.ref_from_crop[fits.kept],
            options.near_fits,
        )
    # Not the stream of the initialization, which is that of seed + 1.
    synthetic = pipeline.synthetic_dataset(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 2, known
    )
    both = tf.data.Dataset.zip(synthetic, recorded)
    return both.map(lambda s, r: {"synthetic": s, "recorded": r}).prefetch(4)


def _describe(fits, recording):
    """Says how good fits are: by residual always, against labels where there are any."""
    described = {
        "residual_mm": float(fits.residual_mm.mean()),
        "kept": int(fits.kept.sum()),
        "samples": len(fits.kept),
    }
    target = pipeline.targets_in_views(fits.spheres_ref_mm, recording.ref_from_crop)
    joints = target[:, :, skeleton.EVALUATION_SPHERES]
    truth = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    known = recording.joint_mask[:, :, skeleton.EVALUATION_JOINTS] > 0
    if known.all():
        # Measured for the report; nothing learns from it.
        error = np.linalg.norm(joints - truth, axis=-1).mean(axis=(1, 2))
        described["error_mm"] = float(error.mean())
        described["error_of_kept_mm"] = float(error[fits.kept].mean())
    return described
