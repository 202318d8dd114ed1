"""Steps whose numbers went wrong: skipped in the graph, named and counted outside of it.

A loss or gradient that is not finite would reach every weight through one update, and Adam's
averages for long after. Such a step changes nothing: neither weights, nor the optimizer, nor the
means of the curves.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import logging

__all__ = ["Finding", "Tally", "apply_if", "call_if", "examine", "restore_unless"]

# Of `Finding.term`.
GRADIENT = -1
_NOBODY = -1
# Samples in a message.
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a step says of itself, scalar tensors, the same on every replica but for the last two.

    Attributes:
        is_good: bool, whether loss and gradient are finite on all replicas.
        stop: float32, above 0 where some process was asked to stop.
        term: int32, the first term that is not finite here, by its place among the names;
            `GRADIENT` if it is none.
        row: int32, the first row of the whole batch where it is not, -1 if there is none.
    """

    is_good: tf.Tensor
    stop: tf.Tensor
    term: tf.Tensor
    row: tf.Tensor


def examine(values):
    """Finds the first term that is not finite, and its first sample.

    Args:
        values: List of float32 [B], the terms of each sample; B may differ.

    Returns:
        (term int32, row int32), as in `Finding`.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    term, row = tf.constant(GRADIENT), tf.constant(_NOBODY)
    for i in reversed(range(len(values))):
        is_bad = ~tf.math.is_finite(values[i])
        here = tf.reduce_any(is_bad)
        first = tf.argmax(tf.cast(is_bad, tf.int32), output_type=tf.int32)
        first += replica * tf.shape(values[i])[0]
        term, row = tf.where(here, i, term), tf.where(here, first, row)
    return term, row


def apply_if(is_good, optimizer, gradients, variables):
    """Makes the optimizer's step, or leaves weights and optimizer alone.

    Args:
        is_good: bool scalar, the same on every replica.
        optimizer: Keras optimizer.
        gradients: List of tensors.
        variables: List of Keras variables.
    """

    def apply(*gradients):
        optimizer.apply(list(gradients), variables)

    call_if(is_good, apply, gradients)


def restore_unless(is_good, variables, values):
    """Gives variables back their values, unless a step was good.

    Args:
        is_good: bool scalar, the same on every replica.
        variables: List of Keras variables that the forward pass has changed.
        values: List of tensors, their values before.
    """

    def assign(*values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    if variables:
        call_if(~is_good, assign, values)


def call_if(condition, function, tensors=()):
    """Calls a function on every replica, or nothing: what it does costs nothing then.

    Args:
        condition: bool scalar, the same on every replica.
        function: Updates variables.
        tensors: Its arguments.
    """

    # A branch that updates variables of several replicas must be entered by all of them together.
    def across(strategy, condition, *tensors):
        def branch():
            strategy.extended.call_for_each_replica(function, args=tensors)
            return 0

        tf.cond(strategy.experimental_local_results(condition)[0], branch, lambda: 0)

    tf.distribute.get_replica_context().merge_call(across, args=(condition, *tensors))


class Tally:
    """Counts the skipped steps of a training and ends it when there are too many.

    Args:
        name: Of the training, for messages.
        terms: Names of the terms, in the order that `examine` got them.
        most_in_row: Largest number of skipped steps one after the other.
        most: Largest number of skipped steps.
        describe: Function from (term's name, step from 0, row of the batch) to the sample's name.
        find_faults: Function from a step from 0 to a list of `diagnosis.Fault`, for steps that
            found nothing themselves.
    """

    def __init__(self, name, terms, most_in_row, most, describe, find_faults):
        self._name, self._terms, self._describe = name, terms, describe
        self._most_in_row, self._most = most_in_row, most
        self._find_faults = find_faults
        # Skipped one after the other, and in all; saved with the weights, counted by the host.
        with tf.device("CPU:0"):
            self.variable = tf.Variable([0, 0], trainable=False, dtype=tf.int64)

    def count(self, step, findings):
        """Takes note of a step.

        Args:
            step: int, its number.
            findings: List of `Finding`, one for each replica of this process.

        Returns:
            Whether some process was asked to stop.

        Raises:
            ValueError: If too many steps were skipped.
        """
        in_row, in_all = self.variable.numpy()
        if findings[0].is_good.numpy():
            if in_row:
                self.variable.assign([0, in_all])
        else:
            self.variable.assign([in_row + 1, in_all + 1])
            what = self._name_fault(step, findings)
            if in_row + 1 > self._most_in_row or in_all + 1 > self._most:
                raise ValueError(
                    f"Training of {self._name} went wrong: expected at most {self._most_in_row} "
                    f"skipped steps in a row and {self._most} in all, found {in_row + 1} and "
                    f"{in_all + 1} at step {step}, the last because {what}. A lower learning rate "
                    f"may help; the last checkpoint is unharmed."
                )
            logging.warning("%s: skipped step %d, because %s.", self._name, step, what)
        return bool(np.any([finding.stop.numpy() > 0 for finding in findings]))

    def _name_fault(self, step, findings):
        for finding in findings:
            term, row = int(finding.term), int(finding.row)
            if row != _NOBODY:
                name = self._terms[term]
                return f"{name} is not finite on {self._describe(name, step - 1, row)}"
        faults = self._find_faults(step - 1)
        if not faults:
            return "the gradient is not finite, though that of every sample alone is"
        named = [
            f"{fault.what} of {fault.term} is not finite on "
            f"{self._describe(fault.term, step - 1, fault.row)}"
            for fault in faults[:_MOST_NAMED]
        ]
        more = len(faults) - len(named)
        return ", ".join([*named, f"and so on {more} samples more"] if more else named)
