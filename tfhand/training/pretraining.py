"""The stages before fine-tuning, each kept in the working directory, see `workdir.py`.

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
from tfhand.synthesis import samples
from tfhand.training import loop, objectives, prior_trainer, trainer

__all__ = [
    "build_network",
    "check_settings",
    "in_float32",
    "initialize",
    "network_config",
    "train_prior",
]


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


def build_network(options):
    """Builds the pose network of `options.NetworkOptions` to train it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        return pose_network.build_pose_network(network_config(options))
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(network, options):
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


def check_settings(workdir, prior_options, network_options, init_options, seed):
    """Checks that the stages that are there, finished or not, have these settings.

    Args:
        workdir: `Workdir`.
        prior_options: `options.PriorOptions`.
        network_options: `options.NetworkOptions`.
        init_options: `options.InitOptions`.
        seed: Seed of both.

    Raises:
        ValueError: If they have others.
    """
    workdir.is_done("prior", _prior_settings(prior_options, seed))
    workdir.is_done("init", _init_settings(network_options, init_options, seed))


def _prior_settings(options, seed):
    return {**dataclasses.asdict(options), "seed": seed}


def _init_settings(network_options, options, seed):
    return {**dataclasses.asdict(network_options), **dataclasses.asdict(options), "seed": seed}


def train_prior(workdir, options, seed, run):
    """Trains the pose prior on the hand's own poses, or reads it.

    Args:
        workdir: `Workdir`.
        options: `options.PriorOptions`.
        seed: Seed of the poses and weights.
        run: `options.RunOptions`.

    Returns:
        `pose_prior.PosePrior`, frozen.

    Raises:
        ValueError: If it was made with other settings, or another process should have made it.
    """
    settings = _prior_settings(options, seed)
    folder = workdir.stage("prior")
    if workdir.has_to_make("prior", settings):
        with workdir.working("prior", settings):
            palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
            config = pose_prior.PosePriorConfig(palm.tolist())
            prior = prior_trainer.train_prior(
                statistics.sample_spheres, config, folder, options, seed, run
            )
            pose_prior.save_prior(prior, folder)
            rng = tf.random.Generator.from_seed(seed + 1)
            held_out = statistics.sample_spheres(rng, 2000)
            errors = prior.reconstruction_errors(held_out, rng)
            errors = {name: float(value) for name, value in errors.items()}
            files.write_json(folder / "reconstruction.json", errors)
    return pose_prior.load_prior(folder)


def initialize(workdir, strategy, network_options, options, seed, run):
    """Trains the network on synthetic samples, or reads it.

    Args:
        workdir: `Workdir`.
        strategy: `tf.distribute.Strategy`.
        network_options: `options.NetworkOptions`.
        options: `options.InitOptions`.
        seed: Seed of weights and samples.
        run: `options.RunOptions`.

    Returns:
        The pose network, made in the strategy's scope.
    """
    settings = _init_settings(network_options, options, seed)
    saved = workdir.stage("init") / "pose.weights.h5"
    done = workdir.is_done("init", settings)
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        network = build_network(network_options)
    if done:
        weights.load_weights(network, saved)
        return network
    spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
    config = samples.SyntheticConfig(noise=options.noise)
    with workdir.working("init", settings) as folder:
        with strategy.scope():
            objective = objectives.SyntheticObjective(spec.cube_mm, options.supervision)
            model = trainer.PoseTrainer(network, synthetic=objective, seed=seed)
            loop.compile_trainer(model, options.learning_rate, options.steps, warmup=100)
        synthetic = batches.synthetic_batches(spec, options.batch, config, seed + 1)
        loop.fit(
            model,
            lambda *place: {"synthetic": synthetic(*place)},
            options.steps,
            folder,
            "network",
            run,
        )
        if workdir.writes:
            weights.save_weights(network, saved)
    return network
