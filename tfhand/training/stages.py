"""The stages before fine-tuning, each kept in the working directory, see `workdir.py`.

`prior/` holds the pose prior (equation 13), `init/` the network trained on synthetic samples
(section 3.3).
"""

import dataclasses

import keras
import tensorflow as tf

from tfhand import files
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres, statistics
from tfhand.models import pose_network, pose_prior, weights
from tfhand.synthesis import samples
from tfhand.training import loop, objectives, pipeline, trainer

__all__ = ["build_network", "initialize", "network_config", "train_prior"]


def network_config(options):
    """Returns the `pose_network.PoseNetworkConfig` of `options.NetworkOptions`.

    Raises:
        ValueError: If the options do not fit together.
    """
    fields = dataclasses.asdict(options)
    fields["heatmap_size"] = options.image_size // 4
    return pose_network.PoseNetworkConfig(**fields)


def build_network(options):
    """Builds a pose network from `options.NetworkOptions`."""
    return pose_network.build_pose_network(network_config(options))


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
            files.write_json(folder / "reconstruction.json", errors)
    return pose_prior.load_prior(folder)


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
        dataset = pipeline.synthetic_dataset(spec, options.batch, config, seed + 1)
        dataset = dataset.map(lambda synthetic: {"synthetic": synthetic}).prefetch(4)
        loop.fit(model, dataset, options.steps, folder, "network")
        weights.save_weights(network, saved)
    return network
