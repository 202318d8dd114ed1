"""Fine-tuning of the network on a recording (section 3.4), by gradient, fits or labels."""

import dataclasses
import shutil
import zlib

import numpy as np
from absl import logging

from tfhand import files
from tfhand.fitting import kinematic_fit, pseudo_labels
from tfhand.hand import skeleton
from tfhand.models import weights as model_weights
from tfhand.synthesis import samples
from tfhand.training import (
    augmentation,
    callbacks,
    loop,
    objectives,
    pipeline,
    preemption,
    trainer,
    workers,
)

__all__ = ["fine_tune", "make_objective", "make_trainer", "mixed_batches"]


def make_objective(weights, options, spec, prior):
    """Returns the `objectives.RecordedObjective` of a method.

    Args:
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        prior: `pose_prior.PosePrior`, or None without that term.
    """
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


def _fits(path, network, recording, options, spec, shape):
    """Returns the `PseudoLabels` of a round, made or read, or None where there are none.

    With labels they only say where synthetic samples are drawn: the same as without labels.
    """
    if options.method == "gradient" or (options.method == "labels" and options.near_fits == 0.0):
        return None
    if path.exists():
        try:
            return pseudo_labels.load_pseudo_labels(path)
        except ValueError as error:
            logging.warning("%s They are made again.", error)
    with preemption.begun_again(f"the fits of {path.parent.name}"):
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
        pseudo_labels.save_pseudo_labels(path, fits)
    return fits


def _targets(recording, options, fits):
    """Returns (target_mm [n, V, 41, 3], target_mask [n, V, 41]) of a method."""
    if options.method == "labels":
        return pipeline.label_targets(recording)
    count, num_views = recording.depth_mm.shape[:2]
    empty = np.zeros([count, num_views, len(skeleton.SPHERE_NAMES)], np.float32)
    if fits is None:
        return np.zeros([*empty.shape, 3], np.float32), empty
    target = pipeline.targets_in_views(fits.spheres_ref_mm, recording.ref_from_crop)
    return target, np.where(fits.kept[:, None, None], np.ones_like(empty), empty)


def fine_tune(workdir, strategy, network, prior, recording, weights, options, spec, seed, run):
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
        run: `options.RunOptions`.

    Returns:
        The network.

    Raises:
        ValueError: If there should be labels and are none, or numbers went wrong too often.
    """
    if options.method == "labels" and not recording.joint_mask.any():
        raise ValueError("Expected labels in the recording to train with, found none.")
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
            with workers.one_by_one(strategy):
                kept.mkdir(exist_ok=True)
                fits = _fits(kept / "fits.npz", network, recording, options, spec, shape)
            if fits is not None:
                shape = fits.shape
                summary.append(_describe(fits, recording))
            # Before the scope: what it measures on sampled hands must not become a replica's.
            objective = make_objective(weights, options, spec, prior)
            batches = mixed_batches(recording, fits, options, spec, seed + 100 * i)
            model = make_trainer(strategy, network, objective, options, seed + 10 * i)
            name = f"round-{i + 1}"
            loop.fit(
                model,
                batches,
                options.steps // rounds,
                folder,
                name,
                run,
                _watching(recording, objective),
                _describer(recording, options, seed + 100 * i),
            )
            if workdir.writes:
                model_weights.save_weights(network, kept / "pose.weights.h5")
                state = {"shape": None if shape is None else np.asarray(shape).tolist()}
                files.write_json(kept / "shape.json", state | {"summary": summary})
        if workdir.writes:
            if summary:
                files.write_json(folder / "fits.json", summary)
            with files.replacing(stage / "pose.weights.h5") as partial:
                shutil.copy(kept / "pose.weights.h5", partial)
    return network


def make_trainer(strategy, network, objective, options, seed):
    """Returns the compiled `trainer.PoseTrainer` of one round.

    Args:
        strategy: `tf.distribute.Strategy`.
        network: Pose network, made in the strategy's scope.
        objective: Of `make_objective`.
        options: `options.FineTuneOptions`.
        seed: Seed of the augmentation.
    """
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


def _watching(recording, objective):
    """Pictures and terms of six samples of the recording."""
    shown = slice(0, 6 * max(len(recording) // 6, 1), max(len(recording) // 6, 1))
    depth_mm = recording.depth_mm[shown]
    batch = {"depth_mm": depth_mm, "ref_from_crop": recording.ref_from_crop[shown]}
    return [
        callbacks.Pictures(depth_mm, objective.spec.cube_mm),
        callbacks.Terms(objective, batch),
    ]


def _describer(recording, options, seed):
    """Returns a function that names the sample in a row of a batch of `mixed_batches`."""

    def describe(term, step, row):
        if term.startswith("synthetic"):
            return f"row {row} of the synthetic samples"
        return pipeline.name_sample(recording, options.batch, seed, step, row)

    return describe


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def mixed_batches(recording, fits, options, spec, seed):
    """Batches of recorded samples with their targets, and of synthetic ones near the fits.

    Args:
        recording: `pipeline.RecordedSamples`.
        fits: `pseudo_labels.PseudoLabels`, or None.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        seed: Seed of order and samples.

    Returns:
        What `loop.fit` takes: a function from a step's number and a part of its batch.
    """
    target, mask = _targets(recording, options, fits)
    recorded = pipeline.recorded_batches(recording, target, mask, options.batch, seed)
    known = None
    if fits is not None and options.near_fits > 0.0:
        known = pipeline.known_poses(
            fits.angles[fits.kept],
            fits.ref_from_hand[fits.kept],
            recording.ref_from_crop[fits.kept],
            options.near_fits,
        )
    # Not the stream of the initialization, which is that of seed + 1.
    synthetic = pipeline.synthetic_batches(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 2, known
    )
    return lambda *place: {"synthetic": synthetic(*place), "recorded": recorded(*place)}


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
