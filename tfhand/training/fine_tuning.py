"""Fine-tuning of the network on a recording (section 3.4), by gradient, fits or labels."""

import shutil

import keras
import numpy as np

from tfhand import files
from tfhand.data import augmentation, batches, recordings
from tfhand.fitting import recording_fits
from tfhand.hand import skeleton
from tfhand.models import weights as model_weights
from tfhand.synthesis import samples
from tfhand.training import (
    callbacks,
    objectives,
    optimization,
    replicas,
    trainer,
    tuning_settings,
)

__all__ = ["fine_tune", "make_batches", "make_objective", "make_trainer"]

_WARMUP_STEPS = 60
_WEIGHT_DECAY = 1e-4


def fine_tune(context, tuning, pretrained):
    """Fine-tunes the network on a recording, or reads the result.

    Args:
        context: `optimization.RunContext`.
        tuning: `tuning_settings.FineTuning`.
        pretrained: `tuning_settings.Pretrained`; its network is trained in place.

    Raises:
        ValueError: If numbers were not finite too often, or no fit agrees with the depth.
    """
    network, workdir = pretrained.network, context.workdir
    result = workdir.stage("tune") / "pose.weights.h5"
    settings = tuning.to_dict(pretrained)
    if workdir.is_done("tune", settings):
        model_weights.load_weights(network, result)
        return
    with workdir.making("tune", settings) as folder:
        shape, summary = None, []
        for i in range(tuning.rounds):
            round_folder = folder / f"round-{i + 1}"
            if (round_folder / "round.json").exists():
                # An earlier run was interrupted after this round.
                model_weights.load_weights(network, round_folder / "pose.weights.h5")
                shape, summary = tuning_settings.read_round(round_folder / "round.json", tuning)
                continue
            fits = _make_fits(context, tuning, network, round_folder, shape)
            if fits is not None:
                shape, summary = fits.shape, [*summary, *fits.summary]
            _train_round(context, tuning, pretrained, fits, i)
            if context.is_chief:
                model_weights.save_weights(network, round_folder / "pose.weights.h5")
                tuning_settings.write_round(round_folder / "round.json", shape, summary)
        if context.is_chief:
            if summary:
                files.write_json(folder / "fits.json", summary)
            with files.replacing(result) as partial:
                shutil.copy(round_folder / "pose.weights.h5", partial)


def _make_fits(context, tuning, network, folder, shape):
    """Returns the `recording_fits.Fits` of a round; the chief makes them, the others read them."""
    if not tuning.uses_fits:
        return None
    with replicas.chief_first(context.strategy):
        if context.is_chief:
            folder.mkdir(exist_ok=True)
        # Without a network, fits are only read.
        network_to_fit = network if context.is_chief else None
        return recording_fits.load_or_make_fits(
            folder, network_to_fit, tuning.recording, tuning.options, context.spec, shape
        )


def _train_round(context, tuning, pretrained, fits, i):
    """Trains the network in place, from the last checkpoint of the round if there is one."""
    # Before the scope: what it measures on sampled hands must not become a replica's.
    objective = make_objective(tuning.weights, tuning.options, context.spec, pretrained.prior)
    model = make_trainer(
        context.strategy, pretrained.network, objective, tuning, tuning.seed + 10 * i
    )
    optimization.fit(
        model,
        make_batches(tuning, fits, context.spec, tuning.seed + 100 * i),
        tuning.options.steps // tuning.rounds,
        optimization.TrainingRun(
            context.workdir.stage("tune"), f"round-{i + 1}", context.run_options
        ),
        _summary_writers(tuning.recording, objective),
    )


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
        augment=augmentation.AugmentationConfig() if options.augment else None,
    )


def make_trainer(strategy, network, objective, tuning, seed):
    """Returns the compiled `trainer.PoseTrainer` of one round.

    Args:
        strategy: `tf.distribute.Strategy`.
        network: Pose network, made in the strategy's scope.
        objective: Of `make_objective`.
        tuning: `tuning_settings.FineTuning`.
        seed: Seed of the augmentation.
    """
    options = tuning.options
    with strategy.scope():
        model = trainer.PoseTrainer(
            network,
            synthetic=objectives.SyntheticObjective(objective.spec.cube_mm, tuning.supervision),
            recorded=objective,
            synthetic_weight=options.synthetic_weight,
            seed=seed,
        )
        optimization.compile_trainer(model, _make_optimizer(options, tuning.rounds))
    return model


def _make_optimizer(options, rounds):
    """Returns the optimizer of one of the rounds of `options.FineTuneOptions`."""
    schedule = optimization.HoldThenDecay(
        options.learning_rate, options.steps // rounds, _WARMUP_STEPS
    )
    averaging = {"use_ema": True, "ema_momentum": options.average} if options.average else {}
    return keras.optimizers.AdamW(schedule, weight_decay=_WEIGHT_DECAY, **averaging)


def make_batches(tuning, fits, spec, seed):
    """Batches of recorded samples with their targets, and of synthetic ones near the fits.

    Args:
        tuning: `tuning_settings.FineTuning`.
        fits: `recording_fits.Fits`, or None.
        spec: `crop.CropSpec`.
        seed: Seed of order and samples.

    Returns:
        Function from a step's number and a shard of its batch, for `optimization.fit`.
    """
    options = tuning.options
    targets = _targets(tuning.recording, options.method, fits)
    recorded = batches.recorded_batches(tuning.recording, *targets, options.batch, seed)
    reference_poses = None
    if fits is not None and options.near_fits > 0.0:
        reference_poses = recording_fits.reference_poses(fits, options.near_fits)
    # Not the stream of the initialization, which is that of seed + 1.
    synthetic = batches.synthetic_batches(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 2, reference_poses
    )
    return lambda *shard: {"synthetic": synthetic(*shard), "recorded": recorded(*shard)}


def _targets(recording, method, fits):
    """Returns (target_mm [n, V, 41, 3], target_mask [n, V, 41]) of a method."""
    if method == "labels":
        return batches.label_targets(recording)
    if fits is None:
        shape = (*recording.depth_mm.shape[:2], len(skeleton.SPHERE_NAMES))
        return np.zeros([*shape, 3], np.float32), np.zeros(shape, np.float32)
    return fits.target_mm, fits.target_mask.astype(np.float32)


def _summary_writers(recording, objective):
    """Returns pictures and terms of six samples of the recording, for `callbacks.Curves`."""
    step = max(len(recording) // 6, 1)
    summary_samples = recordings.select(recording, slice(0, 6 * step, step))
    batch = {
        "depth_mm": summary_samples.depth_mm,
        "ref_from_crop": summary_samples.ref_from_crop,
        "is_multi_view": summary_samples.is_multi_view.astype(np.float32),
    }
    return [
        callbacks.PictureSummary(summary_samples.depth_mm, objective.spec.cube_mm),
        callbacks.TermSummary(objective, batch),
    ]
