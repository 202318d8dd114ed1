"""A Keras model whose `train_step` minimizes the objectives."""

import keras
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.training import diagnosis, guard

__all__ = ["PoseTrainer"]

_LARGEST_GRADIENT = 1.0


class PoseTrainer(keras.Model):
    """Trains a pose network on synthetic samples, recorded samples, or both in one step.

    Under a distribution strategy every replica takes its share of the global batch and divides
    its mean by the number of replicas; the sum over replicas is the gradient of the mean over the
    global batch. The limit on the gradient's norm needs that sum, so it is taken here, before the
    optimizer, which sums again: each replica hands it its share.

    Args:
        network: Pose network, see `models.pose_network`.
        synthetic: `objectives.SyntheticObjective` for `batch["synthetic"]`, or None.
        recorded: `objectives.RecordedObjective` for `batch["recorded"]`, or None.
        synthetic_weight: Weight of the synthetic samples where there are both.
        seed: Seed of the augmentation, whose draws are a function of it and of the step's number.

    Raises:
        ValueError: If there is no objective.
    """

    def __init__(self, network, synthetic=None, recorded=None, synthetic_weight=1.0, seed=0):
        super().__init__(name="pose_trainer")
        if synthetic is None and recorded is None:
            raise ValueError("Expected an objective for synthetic or recorded samples, found none.")
        self.network = network
        self.synthetic = synthetic
        self.recorded = recorded
        self.synthetic_weight = synthetic_weight
        self._seed = seed
        self.kept = None
        self._trackers = {}
        # The network is built; Keras need not call this model to find out.
        self.built = True

    def call(self, depth, training=False):
        """Estimates, as the network does."""
        return self.network(depth, training=training)

    def train_step(self, batch):
        """Makes one step of Keras' `fit`, which numbers none: the optimizer's count stands in.

        Args:
            batch: Dict of `synthetic` and `recorded`, as far as there are objectives for them.

        Returns:
            Dict of metrics: the means of the total and of every term since they were last reset.
        """
        self.step(batch, self.optimizer.iterations.value, tf.constant(0.0))
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def step(self, batch, step, stop):
        """Makes one step, unless its loss or gradient is not finite: then nothing changes.

        Args:
            batch: As for `train_step`.
            step: Integer scalar, number of the step from 0; skipped ones count.
            stop: float32 scalar, above 0 to tell all processes to stop.

        Returns:
            `guard.Finding`, of the terms in `term_names()`.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        # What the forward pass changes by itself: means and variances of a batch normalization.
        moving = self.network.non_trainable_variables
        before = [tf.identity(variable.value) for variable in moving]
        with tf.GradientTape() as tape:
            found = self.losses_of(self.network, batch, step)
            loss = self._weighted(found)
            scaled = loss / replicas
        logs = {name: value for _, terms in found.values() for name, value in terms.items()}
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled, variables)
        is_bad = tf.cast(~tf.math.is_finite(loss), tf.float32)
        # What is reduced has to be on the replica's device.
        stop = tf.identity(stop)
        *gradients, is_bad, stop = tf.distribute.get_replica_context().all_reduce(
            "sum", [*gradients, is_bad, stop]
        )
        gradients, norm = tf.clip_by_global_norm(gradients, _LARGEST_GRADIENT)
        is_good = tf.equal(is_bad, 0.0) & tf.math.is_finite(norm)
        guard.apply_if(is_good, self.optimizer, [g / replicas for g in gradients], variables)
        guard.restore_unless(is_good, moving, before)
        self.kept.update_unless(is_good)
        means = {name: tf.reduce_mean(value) for name, value in logs.items()}
        for name, value in {"loss": loss, "gradient_norm": norm, **means}.items():
            self._track(name, value, is_good)
        losses = [values for values, _ in found.values()]
        return guard.Finding(is_good, stop, *guard.examine([*logs.values(), *losses]))

    def term_names(self):
        """Returns the names of what a step examines sample by sample."""
        kinds = {"synthetic_loss": self.synthetic, "recorded_loss": self.recorded}
        losses = [name for name, objective in kinds.items() if objective is not None]
        return [*self.metric_names()[2:], *losses]

    def losses_of(self, network, batch, step, part=None):
        """Evaluates the objectives that a batch has samples for.

        Args:
            network: Pose network.
            batch: As for `train_step`.
            step: As for `step`.
            part: The part of the whole batch, as for `stateless_rng.for_step`.

        Returns:
            Dict by kind of (loss [B], dict of float32 [B] for the logs).
        """
        found = {}
        if self.synthetic is not None and "synthetic" in batch:
            found["synthetic"] = self.synthetic(network, batch["synthetic"])
        if self.recorded is not None and "recorded" in batch:
            draws = stateless_rng.for_step(self._seed, "augmentation", step, part)
            found["recorded"] = self.recorded(network, batch["recorded"], draws)
        return found

    def copy_of_trained(self):
        """Returns a network like the one that is trained, on one device."""
        return keras.models.clone_model(self.network)

    def _weighted(self, found):
        weights = {"synthetic": self.synthetic_weight if self.recorded is not None else 1.0}
        loss = 0.0
        for kind, (values, _) in found.items():
            loss += weights.get(kind, 1.0) * tf.reduce_mean(values)
        return loss

    def _track(self, name, value, is_good):
        value = tf.where(is_good, value, 0.0)
        self._trackers[name].update_state(value, sample_weight=tf.cast(is_good, tf.float32))

    def track(self, names):
        """Declares metrics and kept weights, inside the strategy's scope, before training."""
        self.kept = diagnosis.KeptWeights(self.network.weights)
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def metric_names(self):
        """Returns the names of what a step logs."""
        names = ["loss", "gradient_norm"]
        if self.synthetic is not None:
            names.append("synthetic_error_mm")
        if self.recorded is not None:
            weights = vars(self.recorded.weights)
            names += [name for name, weight in weights.items() if weight > 0.0]
            names += ["target"] if self.recorded.target_weight > 0.0 else []
        return names

    @property
    def metrics(self):
        """The trackers of the means, which `loop.fit` resets at every point of the curves."""
        return list(self._trackers.values())
