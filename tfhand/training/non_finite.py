"""Steps whose loss or gradient is not finite: they change nothing, and are counted.

A loss or gradient that is not finite would reach every weight through one update, and the
optimizer's averages for long after.
"""

import keras
import tensorflow as tf
from absl import logging

__all__ = ["NonFiniteCounter", "StopWhenNotFinite", "apply_if"]

# Reading the counts waits for all that the device was given, so callbacks read them every so many
# steps.
_STEPS_BETWEEN_READINGS = 10


def apply_if(condition, function, tensors):
    """Calls a function that updates variables on every replica, or on none.

    Args:
        condition: Bool scalar, the same on every replica.
        function: Updates variables; takes tensors.
        tensors: List of its arguments.
    """

    # A branch that updates variables of several replicas must be entered by all of them together.
    def on_all_replicas(strategy, condition, *tensors):
        def branch():
            strategy.extended.call_for_each_replica(function, args=tensors)
            return 0

        tf.cond(strategy.experimental_local_results(condition)[0], branch, lambda: 0)

    tf.distribute.get_replica_context().merge_call(on_all_replicas, args=(condition, *tensors))


class NonFiniteCounter(keras.layers.Layer):
    """Counts of the steps that were left out, saved with the weights.

    Args:
        names: Names of what a step watches: the loss and its terms.
    """

    def __init__(self, names):
        super().__init__(name="non_finite_counter")
        self.names = list(names)
        # In a row now, most in a row, in all; then how often each name was not finite.
        self._counts = self.add_weight(
            shape=[3 + len(self.names)],
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="counts",
        )

    def mark(self, values):
        """Marks the tensors that hold anything that is not finite.

        Args:
            values: List of tensors, one a name.

        Returns:
            float32 [N], 1 where something is not finite.
        """
        bad = [tf.reduce_any(~tf.math.is_finite(value)) for value in values]
        return tf.cast(tf.stack(bad), tf.float32)

    def count(self, marks, is_finite):
        """Counts a step.

        Args:
            marks: float32 [N], of `mark`, summed over the replicas.
            is_finite: Bool scalar, whether the step updated the weights.
        """
        bad = tf.cast(~is_finite, tf.int64)
        in_row, longest, total = tf.unstack(self._counts[:3])
        in_row = bad * (in_row + 1)
        counts = tf.stack([in_row, tf.maximum(longest, in_row), total + bad])
        names = self._counts[3:] + bad * tf.cast(marks > 0.0, tf.int64)
        self._counts.assign(tf.concat([counts, names], axis=0))

    def read(self):
        """Returns (most steps in a row, steps in all, dict from a name to its steps)."""
        _, longest, total, *names = (int(count) for count in self._counts.numpy())
        return longest, total, dict(zip(self.names, names, strict=True))


class StopWhenNotFinite(keras.callbacks.Callback):
    """Warns of steps that were left out, and ends a training that has too many of them.

    Args:
        name: Name of the training, for messages.
        run_options: `options.RunOptions`.
    """

    def __init__(self, name, run_options):
        super().__init__()
        self._name, self._options = name, run_options
        self._last_total, self._last_names = 0, {}

    def on_train_begin(self, logs=None):
        """Takes note of what a checkpoint had counted."""
        _, self._last_total, self._last_names = self.model.counter.read()

    def on_train_batch_end(self, batch, logs=None):
        """Reads the counts every few steps.

        Raises:
            ValueError: If more steps were left out than `run_options` allows.
        """
        if (batch + 1) % _STEPS_BETWEEN_READINGS == 0:
            self._read()

    def on_epoch_end(self, epoch, logs=None):
        """Reads the counts before a checkpoint is written."""
        self._read()

    def _read(self):
        longest, total, names = self.model.counter.read()
        if total == self._last_total:
            return
        new = [name for name, count in names.items() if count > self._last_names.get(name, 0)]
        cause = f"{', '.join(new) if new else 'the gradient'} not finite"
        in_row, most = self._options.max_skipped_in_row, self._options.max_skipped
        if longest > in_row or total > most:
            raise ValueError(
                f"Training of {self._name} went wrong: expected at most {in_row} skipped steps in "
                f"a row and {most} in all, found {longest} and {total}, the last with {cause}. A "
                "lower learning rate may help; the last checkpoint is unharmed."
            )
        logging.warning(
            "%s: skipped steps: %d, with %s.", self._name, total - self._last_total, cause
        )
        self._last_total, self._last_names = total, names
