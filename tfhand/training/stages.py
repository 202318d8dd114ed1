"""The stages of a run, each kept in the working directory and not done again if it is there.

    prior/          the pose prior (equation 13)
    init/           the network trained on synthetic samples (section 3.3)
    tune/           the network fine-tuned on the recording (section 3.4)

A stage keeps the settings it was started with in `settings.json`, and `done.json` once it is
finished. One that was started with other settings is never taken silently.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
import zlib

import keras
import numpy as np
import tensorflow as tf

from tfhand.evaluation import report
from tfhand.fitting import kinematic_fit, pseudo_labels
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres, statistics
from tfhand.models import pose_network, pose_prior
from tfhand.synthesis import samples
from tfhand.training import augmentation, callbacks, objectives, pipeline, trainer

__all__ = [
    "Workdir",
    "build_network",
    "fine_tune",
    "finished_workdir",
    "initialize",
    "train_prior",
]

_SETTINGS, _DONE = "settings.json", "done.json"
_WARMUP_STEPS = 60
_STEPS_PER_EPOCH = 100


class Workdir:
    """Where a run keeps its stages.

    Args:
        path: Folder, made if needed.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def stage(self, name):
        """Returns the folder of a stage."""
        return self.path / name

    def is_done(self, name, settings):
        """Whether a stage is there, finished.

        Raises:
            ValueError: If it is there, finished or not, but was made with other settings.
        """
        started = self.stage(name) / _SETTINGS
        if not started.exists():
            return False
        found = json.loads(started.read_text())
        expected = json.loads(json.dumps(settings))
        different = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        if different:
            changes = ", ".join(f"{k}={found.get(k)} (now {expected.get(k)})" for k in different)
            raise ValueError(
                f"{self.stage(name)} was made with {changes}: use another --workdir, or delete it."
            )
        return (self.stage(name) / _DONE).exists()

    @contextlib.contextmanager
    def working(self, name, settings):
        """Context in which a stage is made; marks it as done at the end."""
        folder = self.stage(name)
        folder.mkdir(parents=True, exist_ok=True)
        report.write_json(folder / _SETTINGS, settings)
        start = time.time()
        yield folder
        seconds = round(time.time() - start, 1)
        # Intermediate states are of no use any more.
        shutil.rmtree(folder / "backup", ignore_errors=True)
        report.write_json(folder / _DONE, {"seconds": seconds})
        print(f"Stage {name} took {seconds:.0f} s.", flush=True)


def finished_workdir(path):
    """Returns the `Workdir` of another run, to take its prior and its initialized network.

    Raises:
        FileNotFoundError: If that run has not finished both.
    """
    for name in ("prior", "init"):
        if not (pathlib.Path(path) / name / _DONE).is_file():
            raise FileNotFoundError(f"Expected a finished stage {name} in {path}, found none.")
    return Workdir(path)


def build_network(options):
    """Builds a pose network from `options.NetworkOptions`."""
    fields = dataclasses.asdict(options)
    fields["heatmap_size"] = options.image_size // 4
    return pose_network.build_pose_network(pose_network.PoseNetworkConfig(**fields))


def train_prior(workdir, options, seed):
    """Trains the pose prior on the hand's own poses, or reads it.

    Args:
        workdir: `Workdir`.
        options: `options.PriorOptions`.
        seed: Seed of the poses and weights.

    Returns:
        `pose_prior.PosePrior`, frozen.
    """
    settings = {**dataclasses.asdict(options), "seed": seed}
    folder = workdir.stage("prior")
    if not workdir.is_done("prior", settings):
        with workdir.working("prior", settings):
            keras.utils.set_random_seed(seed)
            rng = tf.random.Generator.from_seed(seed)
            palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
            prior = pose_prior.PosePrior(pose_prior.PosePriorConfig(palm.tolist()))
            pose_prior.train_prior(
                prior,
                lambda n: statistics.sample_spheres(rng, n),
                options.steps,
                options.batch,
                verbose=2,
            )
            pose_prior.save_prior(prior, folder)
            held_out = statistics.sample_spheres(tf.random.Generator.from_seed(seed + 1), 2000)
            errors = prior.reconstruction_errors(held_out)
            errors = {name: float(value) for name, value in errors.items()}
            report.write_json(folder / "reconstruction.json", errors)
    return pose_prior.load_prior(folder)


def _compile(model, learning_rate, steps, warmup=_WARMUP_STEPS):
    warmup = min(warmup, steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.01 * learning_rate, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    # XLA compiles the element-wise parts by themselves; its convolutions are slower on a CPU.
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    model.track(model.metric_names())


def _fit(model, dataset, steps, folder, name, image_batch=None):
    """Runs `steps` steps, with a progress bar, TensorBoard logs and a backup every epoch."""
    epochs = max(steps // _STEPS_PER_EPOCH, 1)
    logs = folder / "logs" / name
    extra = [callbacks.Pictures(logs, image_batch)] if image_batch is not None else []
    model.fit(
        dataset,
        epochs=epochs,
        steps_per_epoch=steps // epochs,
        shuffle=False,
        verbose="auto",
        callbacks=[
            keras.callbacks.TensorBoard(str(logs), update_freq="epoch"),
            keras.callbacks.BackupAndRestore(str(folder / "backup" / name)),
            *extra,
        ],
    )


def initialize(workdir, strategy, network_options, options, seed):
    """Trains the network on synthetic samples, or reads it.

    Args:
        workdir: `Workdir`.
        strategy: `tf.distribute.Strategy`.
        network_options: `options.NetworkOptions`.
        options: `options.InitOptions`.
        seed: Seed of weights and samples.

    Returns:
        The pose network, made in the strategy's scope.
    """
    settings = {**dataclasses.asdict(network_options), **dataclasses.asdict(options), "seed": seed}
    # Where the stage lies says nothing about how it was made.
    del settings["from_workdir"]
    weights = workdir.stage("init") / "pose.weights.h5"
    done = workdir.is_done("init", settings)
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        network = build_network(network_options)
    if done:
        network.load_weights(weights)
        return network
    spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
    config = samples.SyntheticConfig(noise=options.noise)
    with workdir.working("init", settings) as folder:
        with strategy.scope():
            objective = objectives.SyntheticObjective(spec.cube_mm, options.supervision)
            model = trainer.PoseTrainer(network, synthetic=objective, seed=seed)
            _compile(model, options.learning_rate, options.steps, warmup=100)
        dataset = pipeline.synthetic_dataset(spec, options.batch, config, seed + 1)
        dataset = dataset.map(lambda synthetic: {"synthetic": synthetic}).prefetch(4)
        _fit(model, dataset, options.steps, folder, "network")
        network.save_weights(weights)
    return network


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
    """Returns (target_mm, target_mask, pseudo-labels or None) for a method."""
    if options.method == "labels":
        if not recording.joint_mask.any():
            raise ValueError("Expected labels in the recording to train with, found none.")
        return *pipeline.label_targets(recording), None
    count, num_views = recording.depth_mm.shape[:2]
    num_spheres = len(skeleton.SPHERE_NAMES)
    if options.method == "gradient":
        empty = np.zeros([count, num_views, num_spheres], np.float32)
        return np.zeros([*empty.shape, 3], np.float32), empty, None
    labels = pseudo_labels.make_pseudo_labels(
        network,
        recording.depth_mm,
        recording.ref_from_crop,
        recording.group,
        spec,
        kinematic_fit.FitConfig(steps=options.fit_steps, margin_px=options.margin_px),
        options.keep_share,
        shape,
    )
    target = pipeline.targets_in_views(labels.spheres_ref_mm, recording.ref_from_crop)
    mask = np.tile(labels.kept[:, None, None], [1, num_views, num_spheres]).astype(np.float32)
    return target, mask, labels


def fine_tune(workdir, strategy, network, prior, recording, weights, options, spec, seed):
    """Fine-tunes the network on a recording, or reads the result.

    Args:
        workdir: `Workdir`.
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
        "recording": _checksum([recording.depth_mm]),
        "start": _checksum(network.get_weights()),
    }
    stage = workdir.stage("tune")
    if workdir.is_done("tune", settings):
        network.load_weights(stage / "pose.weights.h5")
        return network
    rounds = options.rounds if options.method == "fit" else 1
    with workdir.working("tune", settings) as folder:
        shape, summary = None, []
        for i in range(rounds):
            kept = folder / f"round-{i + 1}"
            if (kept / "shape.json").exists():
                # An earlier run was interrupted after this round.
                network.load_weights(kept / "pose.weights.h5")
                state = json.loads((kept / "shape.json").read_text())
                shape, summary = state["shape"], state["summary"]
                continue
            kept.mkdir(exist_ok=True)
            target, mask, labels = _targets(network, recording, options, spec, shape)
            if labels is not None:
                shape = labels.shape
                summary.append(_describe(labels, recording))
            # Before the scope: what it measures on sampled hands must not become a replica's.
            objective = _objective(weights, options, spec, prior)
            with strategy.scope():
                model = trainer.PoseTrainer(
                    network,
                    synthetic=objectives.SyntheticObjective(spec.cube_mm),
                    recorded=objective,
                    synthetic_weight=options.synthetic_weight,
                    seed=seed + 10 * i,
                )
                _compile(model, options.learning_rate, options.steps // rounds)
            known = _known_poses(labels, recording, options.near_fits)
            dataset = _mixed(recording, target, mask, known, options, spec, seed + 100 * i)
            pictured = recording.depth_mm[:: max(len(recording) // 6, 1)][:6]
            _fit(model, dataset, options.steps // rounds, folder, f"round-{i + 1}", pictured)
            network.save_weights(kept / "pose.weights.h5")
            state = {"shape": None if shape is None else np.asarray(shape).tolist()}
            report.write_json(kept / "shape.json", state | {"summary": summary})
        if summary:
            report.write_json(folder / "fits.json", summary)
        shutil.copy(kept / "pose.weights.h5", stage / "pose.weights.h5")
    return network


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def _known_poses(labels, recording, share):
    """Returns the poses of the fits that were kept, for synthetic samples, or None."""
    if labels is None or share == 0.0:
        return None
    kept = labels.kept
    return pipeline.known_poses(
        labels.angles[kept], labels.ref_from_hand[kept], recording.ref_from_crop[kept], share
    )


def _mixed(recording, target, mask, known, options, spec, seed):
    recorded = pipeline.recorded_dataset(recording, target, mask, options.batch, seed)
    synthetic = pipeline.synthetic_dataset(
        spec, options.synthetic_batch, samples.SyntheticConfig(), seed + 1, known
    )
    both = tf.data.Dataset.zip(synthetic, recorded)
    return both.map(lambda s, r: {"synthetic": s, "recorded": r}).prefetch(4)


def _describe(labels, recording):
    """Says how good fits are: by residual always, against labels where there are any."""
    described = {
        "residual_mm": float(labels.residual_mm.mean()),
        "kept": int(labels.kept.sum()),
        "samples": len(labels.kept),
    }
    target = pipeline.targets_in_views(labels.spheres_ref_mm, recording.ref_from_crop)
    joints = target[:, :, skeleton.EVALUATION_SPHERES]
    truth = recording.joints_mm[:, :, skeleton.EVALUATION_JOINTS]
    known = recording.joint_mask[:, :, skeleton.EVALUATION_JOINTS] > 0
    if known.all():
        # Measured for the report; nothing learns from it.
        error = np.linalg.norm(joints - truth, axis=-1).mean(axis=(1, 2))
        described["error_mm"] = float(error.mean())
        described["error_of_kept_mm"] = float(error[labels.kept].mean())
    return described
