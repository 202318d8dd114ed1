"""Fine-tuning of the network on a recording (section 3.4), by gradient, fits or labels."""

import dataclasses
import shutil
import zlib

import keras
import numpy as np

from tfhand import files
from tfhand.data import augmentation, batches, recordings
from tfhand.fitting import recording_fits
from tfhand.hand import skeleton, template
from tfhand.losses import terms
from tfhand.models import pose_prior
from tfhand.models import weights as model_weights
from tfhand.synthesis import samples
from tfhand.training import callbacks, objectives, optimization, replicas, trainer
from tfhand.training import options as train_options

__all__ = [
    "FineTuning",
    "Pretrained",
    "check_settings",
    "fine_tune",
    "make_batches",
    "make_objective",
    "make_trainer",
]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Models that fine-tuning starts from.

    Attributes:
        network: The pretrained pose network, made in the strategy's scope; trained in place.
        prior: `pose_prior.PosePrior`.
    """

    network: keras.Model
    prior: pose_prior.PosePrior


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings that decide the result of the stage.

    Attributes:
        recording: `recordings.RecordedSamples` to train on.
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        precision: Precision of the network.
        seed: Seed of orders, augmentation and synthetic samples.
    """

    recording: recordings.RecordedSamples
    weights: terms.LossWeights
    options: train_options.FineTuneOptions
    precision: str
    seed: int

    @property
    def rounds(self):
        """Rounds of fitting and training."""
        return self.options.rounds if self.options.method == "fit" else 1

    @property
    def uses_fits(self):
        """Whether fits are made. With labels they only say where synthetic samples are drawn."""
        method, near_fits = self.options.method, self.options.near_fits
        return method == "fit" or (method == "labels" and near_fits > 0.0)

    def describe(self, pretrained=None):
        """Returns the settings as plain types, for `workdir.Workdir`.

        Args:
            pretrained: `Pretrained`; None: without the settings that depend on it.
        """
        recording = self.recording
        depth = [recording.depth_mm, recording.ref_from_crop]
        settings = {
            **dataclasses.asdict(self.options),
            "precision": self.precision,
            "seed": self.seed,
            "weights": dataclasses.asdict(self.weights),
            "recording": _checksum([*depth, recording.group, recording.is_multi_view]),
        }
        if self.options.method == "labels":
            settings["labels"] = _checksum([recording.joints_mm, recording.joint_mask])
        if pretrained is not None:
            settings["start"] = _checksum(pretrained.network.get_weights())
            if self.weights.pose_prior > 0.0:
                settings["prior"] = _checksum(pretrained.prior.get_weights())
        return settings


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def check_settings(workdir, tuning, pretrained):
    """Checks the settings of the stage, if it is there.

    Args:
        workdir: `workdir.Workdir`.
        tuning: `FineTuning`.
        pretrained: `Pretrained`, or None if the run trains its own and may not have done so yet.

    Raises:
        ValueError: If it has others, or is there without the network of this run.
    """
    workdir.check("tune", tuning.describe(pretrained))
    if pretrained is None and workdir.is_started("tune") and not workdir.is_finished("init"):
        raise ValueError(
            f"Expected in {workdir.stage('init')} the network that {workdir.stage('tune')} started "
            "from, found none: give the --init_from of that run, use another --workdir, or delete "
            "the latter if it is of no use any more."
        )


def fine_tune(context, tuning, pretrained):
    """Fine-tunes the network on a recording, or reads the result.

    Args:
        context: `optimization.RunContext`.
        tuning: `FineTuning`.
        pretrained: `Pretrained`; its network is trained in place.

    Raises:
        ValueError: If numbers were not finite too often, or no fit agrees with the depth.
    """
    network, workdir = pretrained.network, context.workdir
    result = workdir.stage("tune") / "pose.weights.h5"
    settings = tuning.describe(pretrained)
    if workdir.is_done("tune", settings):
        model_weights.load_weights(network, result)
        return
    with workdir.making("tune", settings) as folder:
        shape, summary = None, []
        for i in range(tuning.rounds):
            kept = folder / f"round-{i + 1}"
            if (kept / "shape.json").exists():
                # An earlier run was interrupted after this round.
                model_weights.load_weights(network, kept / "pose.weights.h5")
                shape, summary = _read_state(kept / "shape.json", tuning)
                continue
            fits = _make_fits(context, tuning, network, kept, shape)
            if fits is not None:
                shape, summary = fits.shape, [*summary, *fits.summary]
            _train_round(context, tuning, pretrained, fits, i)
            if context.is_chief:
                model_weights.save_weights(network, kept / "pose.weights.h5")
                state = {"shape": None if shape is None else np.asarray(shape).tolist()}
                files.write_json(kept / "shape.json", state | {"summary": summary})
        if context.is_chief:
            if summary:
                files.write_json(folder / "fits.json", summary)
            with files.replacing(result) as partial:
                shutil.copy(kept / "pose.weights.h5", partial)


def _make_fits(context, tuning, network, folder, shape):
    """Returns the `recording_fits.Fits` of a round; the chief makes them, the others read them."""
    if not tuning.uses_fits:
        return None
    with replicas.chief_first(context.strategy):
        if context.is_chief:
            folder.mkdir(exist_ok=True)
        elif not list(folder.glob("*.npz")):
            raise ValueError(
                f"Expected in {folder} fits that the chief has made, found none: --workdir has to "
                "be on a file system that all workers share."
            )
        return recording_fits.make_fits(
            folder, network, tuning.recording, tuning.options, context.spec, shape
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
        optimization.Run(context.workdir.stage("tune"), f"round-{i + 1}", context.run_options),
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
        tuning: `FineTuning`.
        seed: Seed of the augmentation.
    """
    options = tuning.options
    with strategy.scope():
        model = trainer.PoseTrainer(
            network,
            synthetic=objectives.SyntheticObjective(objective.spec.cube_mm),
            recorded=objective,
            synthetic_weight=options.synthetic_weight,
            seed=seed,
        )
        steps = options.steps // tuning.rounds
        optimization.compile_trainer(model, options.learning_rate, steps, average=options.average)
    return model


def make_batches(tuning, fits, spec, seed):
    """Batches of recorded samples with their targets, and of synthetic ones near the fits.

    Args:
        tuning: `FineTuning`.
        fits: `recording_fits.Fits`, or None.
        spec: `crop.CropSpec`.
        seed: Seed of order and samples.

    Returns:
        Function from a step's number and a shard of its batch, for `optimization.fit`.
    """
    options = tuning.options
    targets = _targets(tuning.recording, options.method, fits)
    recorded = batches.recorded_batches(tuning.recording, *targets, options.batch, seed)
    known_poses = None
    if fits is not None and options.near_fits > 0.0:
        known_poses = recording_fits.known_poses(fits, options.near_fits)
    # Not the stream of the initialization, which is that of seed + 1.
    synthetic = batches.synthetic_batches(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 2, known_poses
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


def _read_state(path, tuning):
    """Returns (shape of every subject [G, 14] or None, summary) as they were after a round."""
    state = files.read_json(path)
    summary = state.get("summary") if isinstance(state, dict) else None
    if not isinstance(summary, list) or not all(isinstance(row, dict) for row in summary):
        raise ValueError(f"Expected the summary of a round in {path}, found none.")
    if not tuning.uses_fits:
        return None, summary
    expected = (int(tuning.recording.group.max()) + 1, len(template.SHAPE_NAMES))
    try:
        shape = np.asarray(state.get("shape"), np.float32)
    except (TypeError, ValueError):
        shape = np.empty(0, np.float32)
    if shape.shape != expected or not np.isfinite(shape).all():
        raise ValueError(f"Expected a finite shape {list(expected)} of a round in {path}.")
    return shape, summary


def _summary_writers(recording, objective):
    """Returns pictures and terms of six samples of the recording, for `callbacks.Curves`."""
    step = max(len(recording) // 6, 1)
    shown = recordings.select(recording, slice(0, 6 * step, step))
    batch = {
        "depth_mm": shown.depth_mm,
        "ref_from_crop": shown.ref_from_crop,
        "is_multi_view": shown.is_multi_view.astype(np.float32),
    }
    return [
        callbacks.Pictures(shown.depth_mm, objective.spec.cube_mm),
        callbacks.Terms(objective, batch),
    ]
