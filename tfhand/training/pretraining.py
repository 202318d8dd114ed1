"""The stages before fine-tuning, each kept in the working folder, see `runs/workdir.py`.

`prior/` holds the pose prior (equation 13), `init/` the network trained on synthetic samples
(section 3.3).
"""

import dataclasses

import keras
import tensorflow as tf

from tfhand import files
from tfhand.data import batches
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres, statistics
from tfhand.models import pose_network, pose_prior, weights
from tfhand.runs import pretrained
from tfhand.synthesis import samples
from tfhand.training import muon, objectives, optimization, prior_trainer, trainer
from tfhand.training import options as train_options

__all__ = [
    "build_network",
    "check_settings",
    "float32_copy",
    "load_network",
    "make_optimizer",
    "network_config",
    "read_network_options",
    "train_network",
    "train_prior",
]

_WARMUP_STEPS = 100
_WEIGHT_DECAY = 1e-4


def network_config(options):
    """Returns the `pose_network.PoseNetworkConfig` of `options.NetworkOptions`.

    Raises:
        ValueError: If the options do not fit together.
    """
    fields = dataclasses.asdict(options)
    fields["heatmap_size"] = options.image_size // 4
    # A matter of training, not of the architecture.
    del fields["precision"]
    return pose_network.PoseNetworkConfig(**fields)


def build_network(options, strategy=None):
    """Builds the pose network of `options.NetworkOptions` to train it, in a strategy's scope."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        with (strategy or tf.distribute.get_strategy()).scope():
            return pose_network.build_pose_network(network_config(options))
    finally:
        keras.config.set_dtype_policy(before)


def load_network(folder, options, strategy=None):
    """Returns the trained network of a run, to train it further.

    Args:
        folder: `pathlib.Path` of a run with a finished stage `init`.
        options: `options.NetworkOptions`.
        strategy: `tf.distribute.Strategy`; None: the current one.
    """
    network = build_network(options, strategy)
    weights.load_weights(network, folder / "init" / "pose.weights.h5")
    return network


def read_network_options(folder):
    """Returns the `options.NetworkOptions` of the network of a run, to use it in float32.

    Args:
        folder: `pathlib.Path` of a run with a finished stage `init`.

    Raises:
        ValueError: If its settings lack one of them.
    """
    settings = pretrained.read_settings(folder, "init")
    names = {field.name for field in dataclasses.fields(train_options.NetworkOptions)}
    if not names <= set(settings):
        raise ValueError(f"Expected settings {sorted(names)} of a network in {folder / 'init'}.")
    fields = {name: settings[name] for name in names} | {"precision": "float32"}
    return train_options.NetworkOptions(**fields)


def float32_copy(network, options):
    """Returns the network of `build_network` as it is scored and served: all of it in float32.

    Args:
        network: The trained network.
        options: `options.NetworkOptions` that it was built from.

    Returns:
        The network itself if that is its precision, else a copy with the same weights.
    """
    if options.precision == "float32":
        return network
    copy = pose_network.build_pose_network(network_config(options))
    copy.set_weights(network.get_weights())
    return copy


def check_settings(context, prior_options, network_options, init_options):
    """Checks that the stages that are there, finished or not, have these settings.

    Args:
        context: `optimization.RunContext`.
        prior_options: `options.PriorOptions`.
        network_options: `options.NetworkOptions`.
        init_options: `options.InitOptions`.

    Raises:
        ValueError: If they have others.
    """
    context.workdir.is_done("prior", _settings(context, prior_options))
    context.workdir.is_done("init", _settings(context, network_options, init_options))


def _settings(context, *options):
    settings = {"seed": context.seed}
    for stage_options in options:
        settings |= dataclasses.asdict(stage_options)
    return settings


def train_prior(context, options):
    """Trains the pose prior on the hand's own poses, or reads it.

    Args:
        context: `optimization.RunContext`; its seed is that of poses and weights.
        options: `options.PriorOptions`.

    Returns:
        `pose_prior.PosePrior`, frozen.

    Raises:
        ValueError: If it was made with other settings.
    """
    settings = _settings(context, options)
    folder = context.workdir.stage("prior")
    if context.workdir.must_make("prior", settings):
        with context.workdir.making("prior", settings):
            palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
            config = pose_prior.PosePriorConfig(palm.tolist())
            run = optimization.TrainingRun(folder, "prior", context.run_options)
            prior = prior_trainer.train_prior(
                statistics.sample_spheres, config, options, context.seed, run
            )
            pose_prior.save_prior(prior, folder)
            rng = tf.random.Generator.from_seed(context.seed + 1)
            errors = prior.reconstruction_errors(statistics.sample_spheres(rng, 2000), rng)
            errors = {name: float(value) for name, value in errors.items()}
            files.write_json(folder / "reconstruction.json", errors)
    return pose_prior.load_prior(folder)


def make_optimizer(options):
    """Returns the optimizer of `options.InitOptions`."""
    schedule = optimization.HoldThenDecay(
        options.learning_rate, options.steps, _WARMUP_STEPS, options.hold_steps
    )
    optimizer = {"muon": muon.Muon, "adamw": keras.optimizers.AdamW}[options.optimizer]
    return optimizer(schedule, weight_decay=_WEIGHT_DECAY)


def train_network(context, network_options, options, hands=None):
    """Trains the network on synthetic samples, or reads it.

    Args:
        context: `optimization.RunContext`; its seed is that of weights and samples.
        network_options: `options.NetworkOptions`.
        options: `options.InitOptions`.
        hands: `samples.SyntheticConfig` whose noise gives way to that of the options; None: the
            default.

    Returns:
        The pose network, made in the strategy's scope.

    Raises:
        ValueError: If it was made with other settings.
    """
    settings = _settings(context, network_options, options)
    if context.workdir.is_done("init", settings):
        return load_network(context.workdir.path, network_options, context.strategy)
    keras.utils.set_random_seed(context.seed)
    network = build_network(network_options, context.strategy)
    with context.workdir.making("init", settings) as folder:
        spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
        objective = objectives.SyntheticObjective(spec.cube_mm, options.supervision)
        with context.strategy.scope():
            model = trainer.PoseTrainer(network, synthetic=objective, seed=context.seed)
            optimization.compile_trainer(model, make_optimizer(options))
        config = dataclasses.replace(hands or samples.SyntheticConfig(), noise=options.noise)
        draw = batches.synthetic_batches(spec, options.batch, config, context.seed + 1)
        optimization.fit(
            model,
            lambda step, shard: {"synthetic": draw(step, shard)},
            options.steps,
            optimization.TrainingRun(folder, "network", context.run_options),
        )
        if context.is_chief:
            weights.save_weights(network, folder / "pose.weights.h5")
    return network
