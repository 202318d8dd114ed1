"""A Keras model whose `train_step` minimizes the objectives."""

import keras
import tensorflow as tf

from tfhand.models import weights as model_weights

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
        seed: Seed of the augmentation.

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
        self._rng = tf.random.Generator.from_seed(seed)
        self._trackers = {}
        # The network is built; Keras need not call this model to find out.
        self.built = True

    def call(self, depth, training=False):
        """Estimates, as the network does."""
        return self.network(depth, training=training)

    def save_weights(self, filepath, overwrite=True, **_):
        """Writes the weights and the optimizer's state, as Keras' backups do, but whole or not."""
        model_weights.save_weights(self, filepath)

    def load_weights(self, filepath, skip_mismatch=False, **_):
        """Reads what `save_weights` wrote; a damaged backup is a ValueError that names it."""
        model_weights.load_weights(self, filepath)

    def train_step(self, batch):
        """Makes one step.

        Args:
            batch: Dict of `synthetic` and `recorded`, as far as there are objectives for them.

        Returns:
            Dict of metrics: the means of the total and of every term since the epoch's start.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss, logs = self._loss(batch)
            scaled = loss / replicas
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled, variables)
        gradients = tf.distribute.get_replica_context().all_reduce("sum", gradients)
        gradients, norm = tf.clip_by_global_norm(gradients, _LARGEST_GRADIENT)
        self.optimizer.apply([g / replicas for g in gradients], variables)
        self._track("loss", loss)
        self._track("gradient_norm", norm)
        for name, value in logs.items():
            self._track(name, tf.reduce_mean(value))
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def _loss(self, batch):
        loss, logs = 0.0, {}
        if self.synthetic is not None:
            values, logs = self.synthetic(self.network, batch["synthetic"])
            weight = self.synthetic_weight if self.recorded is not None else 1.0
            loss += weight * tf.reduce_mean(values)
        if self.recorded is not None:
            values, more = self.recorded(self.network, batch["recorded"], self._rng)
            loss += tf.reduce_mean(values)
            logs = {**logs, **more}
        return loss, logs

    def _track(self, name, value):
        self._trackers[name].update_state(value)

    def track(self, names):
        """Declares the metrics, inside the strategy's scope, before training."""
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
        """The trackers, which Keras resets at the start of an epoch."""
        return list(self._trackers.values())
