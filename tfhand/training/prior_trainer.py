"""Trains the pose prior (equation 13) on the hand's own poses."""

import keras
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.models import pose_prior
from tfhand.training import diagnosis, guard, loop

__all__ = ["PriorTrainer", "train_prior"]

_LEARNING_RATE = 3e-3


class PriorTrainer(keras.Model):
    """What `loop.fit` steps through: the prior, its optimizer and the mean of its bound.

    Args:
        prior: `pose_prior.PosePrior`, trained in place.
        steps: Steps of the training.
        seed: Seed of the noise on the input and of the latents.
    """

    def __init__(self, prior, steps, seed):
        super().__init__(name="prior_trainer")
        self.prior = prior
        self._seed = seed
        self._bound = keras.metrics.Mean(name="negative_elbo")
        self.built = True
        schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
        self.compile(optimizer=keras.optimizers.Adam(schedule))
        self.optimizer.build(prior.trainable_variables)
        self.kept = diagnosis.KeptWeights(prior.weights)

    def step(self, batch, step, stop):
        """Makes one step, see `trainer.PoseTrainer.step`.

        Args:
            batch: Dict of `prior`, hands float32 [M, N, 3], mm.
            step: Integer scalar, number of the step from 0; skipped ones count.
            stop: float32 scalar, returned as it is.
        """
        variables = self.prior.trainable_variables
        with tf.GradientTape() as tape:
            bound, _ = self.losses_of(self.prior, batch, step)["prior"]
            loss = tf.reduce_mean(bound)
        gradients = tape.gradient(loss, variables)
        is_good = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        guard.apply_if(is_good, self.optimizer, gradients, variables)
        self.kept.update_unless(is_good)
        weight = tf.cast(is_good, tf.float32)
        self._bound.update_state(tf.where(is_good, loss, 0.0), sample_weight=weight)
        return guard.Finding(is_good, stop, *guard.examine([bound]))

    def losses_of(self, prior, batch, step, part=None):
        """Evaluates the bound; see `trainer.PoseTrainer.losses_of`."""
        rng = stateless_rng.for_step(self._seed, "latents", step, part)
        bound = prior.denoising_loss(batch["prior"], rng)
        return {"prior": (bound, {"negative_elbo": bound})}

    def copy_of_trained(self):
        """Returns a prior like the one that is trained."""
        return pose_prior.PosePrior(self.prior.pose_config)

    def term_names(self):
        """Returns the name of what a step examines sample by sample."""
        return ["negative_elbo"]

    @property
    def metrics(self):
        """The mean of the bound since the last point of the curves."""
        return [self._bound]


def train_prior(sampler, config, folder, prior_options, seed, run):
    """Trains a prior on sampled hands; Adam with a cosine schedule.

    Args:
        sampler: Callable of TensorFlow operations from a random source (`StatelessRng`) and
            a number n to hands, float32 `[n, N, 3]`, mm, in any frame.
        config: `pose_prior.PosePriorConfig`.
        folder: `pathlib.Path` for logs and checkpoints.
        prior_options: `options.PriorOptions`.
        seed: Seed of weights, hands and noise.
        run: `options.RunOptions`.

    Returns:
        `pose_prior.PosePrior`.
    """
    keras.utils.set_random_seed(seed)
    prior = pose_prior.PosePrior(config)
    batch = prior_options.batch
    prior.start_at_mean(sampler(stateless_rng.for_step(seed, "first hands", 0), batch))
    loop.fit(
        PriorTrainer(prior, prior_options.steps, seed),
        lambda *place: {"prior": sampler(stateless_rng.for_step(seed, "hands", *place), batch)},
        prior_options.steps,
        folder,
        "prior",
        run,
    )
    return prior
