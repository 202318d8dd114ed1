"""Fine-tuning of the network on a recording (section 3.4), by gradient, fits or labels."""

import dataclasses
import shutil
import zlib

import keras
import numpy as np

from tfhand import files
from tfhand.data import augmentation, batches
from tfhand.fitting import recording_fits
from tfhand.hand import skeleton, template
from tfhand.models import pose_prior
from tfhand.models import weights as model_weights
from tfhand.synthesis import samples
from tfhand.training import agreement, callbacks, loop, objectives, trainer, turns

__all__ = [
    "Start",
    "check_settings",
    "fine_tune",
    "make_objective",
    "make_trainer",
    "mixed_batches",
]


@dataclasses.dataclass(frozen=True)
class Start:
    """What fine-tuning starts from.

    Attributes:
        network: The initialized pose network, made in the strategy's scope.
        prior: `pose_prior.PosePrior`.
    """

    network: keras.Model
    prior: pose_prior.PosePrior


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


def _uses_fits(options):
    """Whether fits are made. With labels they only say where synthetic samples are drawn."""
    return options.method == "fit" or (options.method == "labels" and options.near_fits > 0.0)


def _targets(recording, options, found):
    """Returns (target_mm [n, V, 41, 3], target_mask [n, V, 41]) of a method."""
    if options.method == "labels":
        return batches.label_targets(recording)
    count, num_views = recording.depth_mm.shape[:2]
    if found is None:
        shape = (count, num_views, len(skeleton.SPHERE_NAMES))
        return np.zeros([*shape, 3], np.float32), np.zeros(shape, np.float32)
    return found.target_mm, found.kept.astype(np.float32)


def check_settings(workdir, start, recording, weights, options, precision, seed):
    """Checks the settings of the stage, if it is there.

    Args:
        workdir: `workdir.Workdir`.
        start: `Start`, or None if the run has its own, which it trains if it is not there yet.
        recording: As for `fine_tune`, as all that follows.
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        precision: What the network computes in, as it was made: another is another training.
        seed: Seed.

    Raises:
        ValueError: If it has others, or is there without the network of this run.
    """
    settings = _settings(recording, weights, options, precision, seed)
    workdir.check("tune", settings | (_start_settings(start, weights) if start else {}))
    if start is None and workdir.is_started("tune") and not workdir.is_finished("init"):
        raise ValueError(
            f"Expected in {workdir.stage('init')} the network that {workdir.stage('tune')} started "
            "from, found none: give the --init_from of that run, use another --workdir, or delete "
            "the latter if it is of no use any more."
        )


def _settings(recording, weights, options, precision, seed):
    """Returns the settings of the stage that are known before there is a network."""
    settings = {
        **dataclasses.asdict(options),
        "precision": precision,
        "seed": seed,
        "weights": dataclasses.asdict(weights),
        "recording": _checksum(
            [recording.depth_mm, recording.ref_from_crop, recording.group, recording.is_multi_view]
        ),
    }
    if options.method == "labels":
        settings["labels"] = _checksum([recording.joints_mm, recording.joint_mask])
    return settings


def _start_settings(start, weights):
    settings = {"start": _checksum(start.network.get_weights())}
    if weights.pose_prior > 0.0:
        settings["prior"] = _checksum(start.prior.get_weights())
    return settings


def fine_tune(workdir, strategy, start, recording, weights, options, precision, spec, seed, run):
    """Fine-tunes the network on a recording, or reads the result.

    Args:
        workdir: `workdir.Workdir`.
        strategy: `tf.distribute.Strategy`.
        start: `Start`; its network is trained in place.
        recording: `recordings.RecordedSamples` to train on.
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        precision: As for `check_settings`.
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
    settings = _settings(recording, weights, options, precision, seed)
    settings |= _start_settings(start, weights)
    network = start.network
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
                shape, summary = _read_state(kept / "shape.json", recording, _uses_fits(options))
                continue
            found = None
            with turns.one_by_one(strategy):
                kept.mkdir(exist_ok=True)
                if _uses_fits(options):
                    found = recording_fits.make_fits(
                        kept, network, recording, options, spec, shape, workdir.writes
                    )
                    shape = found.shape
                    summary += found.summary
            agreement.check_fits(strategy, kept)
            # Before the scope: what it measures on sampled hands must not become a replica's.
            objective = make_objective(weights, options, spec, start.prior)
            batches = mixed_batches(recording, found, options, spec, seed + 100 * i)
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


def _read_state(path, recording, has_shape):
    """Returns (shape of every subject [G, 14] or None, summary) as they were after a round."""
    state = files.read_json(path)
    summary = state.get("summary") if isinstance(state, dict) else None
    if not isinstance(summary, list) or not all(isinstance(row, dict) for row in summary):
        raise ValueError(f"Expected the summary of a round in {path}, found none.")
    if not has_shape:
        return None, summary
    expected = (int(recording.group.max()) + 1, len(template.SHAPE_NAMES))
    try:
        shape = np.asarray(state.get("shape"), np.float32)
    except (TypeError, ValueError):
        shape = np.empty(0, np.float32)
    if shape.shape != expected or not np.isfinite(shape).all():
        raise ValueError(f"Expected a finite shape {list(expected)} of a round in {path}.")
    return shape, summary


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
        loop.compile_trainer(model, options.learning_rate, steps, average=options.average)
    return model


def _watching(recording, objective):
    """Pictures and terms of six samples of the recording."""
    shown = slice(0, 6 * max(len(recording) // 6, 1), max(len(recording) // 6, 1))
    depth_mm = recording.depth_mm[shown]
    batch = {
        "depth_mm": depth_mm,
        "ref_from_crop": recording.ref_from_crop[shown],
        "is_multi_view": recording.is_multi_view[shown].astype(np.float32),
    }
    return [
        callbacks.Pictures(depth_mm, objective.spec.cube_mm),
        callbacks.Terms(objective, batch),
    ]


def _describer(recording, options, seed):
    """Returns a function that names the sample in a row of a batch of `mixed_batches`."""

    def describe(term, step, row):
        if term.startswith("synthetic"):
            return f"row {row} of the synthetic samples"
        return batches.name_sample(recording, options.batch, seed, step, row)

    return describe


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def mixed_batches(recording, found, options, spec, seed):
    """Batches of recorded samples with their targets, and of synthetic ones near the fits.

    Args:
        recording: `recordings.RecordedSamples`.
        found: `recording_fits.Fits`, or None.
        options: `options.FineTuneOptions`.
        spec: `crop.CropSpec`.
        seed: Seed of order and samples.

    Returns:
        What `loop.fit` takes: a function from a step's number and a part of its batch.
    """
    target, mask = _targets(recording, options, found)
    recorded = batches.recorded_batches(recording, target, mask, options.batch, seed)
    known = None
    if found is not None and options.near_fits > 0.0:
        known = recording_fits.known_poses(found, options.near_fits)
    # Not the stream of the initialization, which is that of seed + 1.
    synthetic = batches.synthetic_batches(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 2, known
    )
    return lambda *place: {"synthetic": synthetic(*place), "recorded": recorded(*place)}
