"""Keras models whose `train_step` minimizes the objectives."""

import keras
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.training import non_finite

__all__ = ["PoseTrainer", "Trainer"]


class Trainer(keras.Model):
    """A step of gradient descent for Keras' `fit`.

    A subclass says what is minimized (`evaluate_terms`). The batch carries the number of its step,
    from which everything random in the step follows. Under a distribution strategy every replica
    takes its share of the global batch and divides its mean by the number of replicas; the sum over
    replicas is the gradient of the mean over the global batch.

    Args:
        network: Network that the optimizer updates.
        term_names: Names of the terms that `evaluate_terms` returns.
        largest_gradient_norm: Longer gradients are cut off to this norm; None: none are.
        name: Name of the model.
    """

    def __init__(self, network, term_names, largest_gradient_norm, name):
        super().__init__(name=name)
        self.network = network
        self.counter = non_finite.NonFiniteCounter(["loss", *term_names])
        self._largest_gradient_norm = largest_gradient_norm
        self._term_names = list(term_names)
        names = ["loss", "gradient_norm", *term_names]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        # The network is built; Keras need not call this model to find out.
        self.built = True

    def evaluate_terms(self, batch):
        """Evaluates what is minimized.

        Args:
            batch: Dict of tensors, this replica's share; `step` is int64, the step's number.

        Returns:
            (loss, float32 scalar, mean over the share; dict of unweighted terms, float32 [B]).
        """
        raise NotImplementedError

    def train_step(self, batch):
        """Makes one step, unless its loss or gradient is not finite: then nothing changes.

        Args:
            batch: As for `evaluate_terms`.

        Returns:
            Dict of float32 [1], the means of the loss, of the norm of its gradient and of every
            term since Keras last reset them.
        """
        variables = self.network.trainable_variables
        # What the forward pass changes by itself: means and variances of a batch normalization.
        moving = self.network.non_trainable_variables
        before = [tf.identity(variable.value) for variable in moving]
        with tf.GradientTape() as tape:
            loss, terms = self.evaluate_terms(batch)
            share = loss / self.distribute_strategy.num_replicas_in_sync
        gradients = tape.gradient(share, variables)

        gradients, norm, is_finite = self._reduce(
            gradients, [loss, *(terms[name] for name in self._term_names)]
        )
        non_finite.apply_if(
            is_finite, lambda *values: self.optimizer.apply(list(values), variables), gradients
        )
        if moving:
            non_finite.apply_if(~is_finite, lambda *values: _assign(moving, values), before)
        return self._update_means({"loss": loss, "gradient_norm": norm, **terms}, is_finite)

    def _reduce(self, gradients, values):
        """Limits the gradient of the global batch, and counts a step that is not finite.

        The norm is that of the sum over replicas, so it is taken here; the optimizer sums again,
        and gets equal shares.

        Args:
            gradients: List of tensors, of this replica's share of the loss.
            values: List of tensors: the loss and its terms.

        Returns:
            (list of tensors for the optimizer, norm before the limit, bool whether all is finite).
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        marks = self.counter.mark(values)
        context = tf.distribute.get_replica_context()
        *gradients, marks = context.all_reduce("sum", [*gradients, marks])
        norm = tf.linalg.global_norm(gradients)
        if self._largest_gradient_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._largest_gradient_norm, norm)
        is_finite = tf.equal(marks[0], 0.0) & tf.math.is_finite(norm)
        self.counter.count(marks, is_finite)
        return [gradient / replicas for gradient in gradients], norm, is_finite

    def _update_means(self, values, is_finite):
        """Adds a step to the means, if it counts; returns them with the axis that `fit` reduces."""
        weight = tf.cast(is_finite, tf.float32)
        for name, value in values.items():
            value = tf.where(is_finite, tf.reduce_mean(value), 0.0)
            self._means[name].update_state(value, sample_weight=weight)
        return {name: mean.result()[tf.newaxis] for name, mean in self._means.items()}

    @property
    def metrics(self):
        """The means, which Keras resets at the beginning of every epoch."""
        return list(self._means.values())

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Leaves out what Keras does to build a model: it is built, and that takes a batch."""


class PoseTrainer(Trainer):
    """Trains a pose network on synthetic samples, recorded samples, or both in one step.

    Args:
        network: Pose network, see `models.pose_network`.
        synthetic: `objectives.SyntheticObjective` for `batch["synthetic"]`, or None.
        recorded: `objectives.RecordedObjective` for `batch["recorded"]`, or None.
        synthetic_weight: Weight of the synthetic samples where there are both.
        seed: Seed of the augmentation.

    Raises:
        ValueError: If there is no objective.
    """

    def __init__(self, network, synthetic=None, recorded=None, synthetic_weight=1.0, seed=0):
        if synthetic is None and recorded is None:
            raise ValueError("Expected an objective for synthetic or recorded samples, found none.")
        names = []
        if synthetic is not None:
            names.append("synthetic_error_mm")
        if recorded is not None:
            names += recorded.weights.active
            names += ["target"] if recorded.target_weight > 0.0 else []
        super().__init__(network, names, largest_gradient_norm=1.0, name="pose_trainer")
        self.synthetic, self.recorded = synthetic, recorded
        self._synthetic_weight = synthetic_weight if recorded is not None else 1.0
        self._seed = seed

    def call(self, depth, training=False):
        """Estimates, as the network does."""
        return self.network(depth, training=training)

    def evaluate_terms(self, batch):
        """Adds up the objectives, see `Trainer.evaluate_terms`.

        Args:
            batch: Dict of `step`, and of `synthetic` and `recorded` as far as there are
                objectives for them.
        """
        loss, terms = 0.0, {}
        if self.synthetic is not None:
            losses, values = self.synthetic(self.network, batch["synthetic"])
            loss += self._synthetic_weight * tf.reduce_mean(losses)
            terms |= values
        if self.recorded is not None:
            rng = stateless_rng.for_step(self._seed, "augmentation", batch["step"])
            losses, values = self.recorded(self.network, batch["recorded"], rng)
            loss += tf.reduce_mean(losses)
            terms |= values
        return loss, terms


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
