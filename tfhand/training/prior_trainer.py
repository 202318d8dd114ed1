"""Trains the pose prior (equation 13) on the hand's own poses."""

import keras
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.models import pose_prior
from tfhand.training import optimization, trainer

__all__ = ["PriorTrainer", "train_prior"]

_LEARNING_RATE = 3e-3
# For the covariance of 123 coordinates.
_FIRST_HANDS = 4096


class PriorTrainer(trainer.Trainer):
    """Trains the prior on hands.

    Args:
        prior: `pose_prior.PosePrior`, trained in place.
        seed: Seed of the latents.
    """

    def __init__(self, prior, seed):
        super().__init__(prior, ["negative_elbo"], largest_gradient_norm=None, name="prior_trainer")
        self._seed = seed

    def evaluate_terms(self, batch):
        """Evaluates the negative bound, see `trainer.Trainer.evaluate_terms`.

        Args:
            batch: Dict of `step` and of `spheres_mm`, hands float32 [B, N, 3], mm.
        """
        rng = stateless_rng.for_step(self._seed, "latents", batch["step"])
        bound = self.network.negative_elbo(batch["spheres_mm"], rng=rng)
        return tf.reduce_mean(bound), {"negative_elbo": bound}


def train_prior(sampler, config, options, seed, run):
    """Trains a prior on sampled hands; Adam with a cosine schedule.

    Args:
        sampler: Callable of TensorFlow operations from a `StatelessRng` and a number n to hands,
            float32 `[n, N, 3]`, mm, in any frame.
        config: `pose_prior.PosePriorConfig`.
        options: `options.PriorOptions`.
        seed: Seed of weights, hands and latents.
        run: `optimization.TrainingRun`.

    Returns:
        `pose_prior.PosePrior`.
    """
    keras.utils.set_random_seed(seed)
    prior = pose_prior.PosePrior(config)
    first_rng = stateless_rng.for_step(seed, "first hands", 0)
    prior.start_at_principal_components(sampler(first_rng, _FIRST_HANDS))
    model = PriorTrainer(prior, seed)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, options.steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule), jit_compile=False)
    model.optimizer.build(prior.trainable_variables)

    def make_batch(step, shard):
        rng = stateless_rng.for_step(seed, "hands", step, shard)
        return {"spheres_mm": sampler(rng, options.batch)}

    optimization.fit(model, make_batch, options.steps, run)
    return prior
