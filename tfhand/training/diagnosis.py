"""What made a gradient not finite though the loss was: which term, on which samples.

A step cannot tell: where a derivative is infinite, the gradient of every weight is lost, whichever
sample it came from. So a step that is skipped keeps the weights that it met. With these and its
number, from which its batch and its draws follow, it is taken again afterwards, sample by sample
and term by term. That is slow, and healthy steps pay nothing for it.
"""

import dataclasses
import functools

import tensorflow as tf

from tfhand.training import guard

__all__ = ["Examiner", "Fault", "KeptWeights"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is not finite on a sample.

    Attributes:
        term: The term's name, as the trainer's `term_names()` has it.
        row: int, of the whole batch.
        what: "the value" or "the gradient".
    """

    term: str
    row: int
    what: str


class KeptWeights:
    """The weights that the last skipped step met.

    No layer and no model, so that Keras does not count them among those of the model.

    Args:
        weights: List of Keras variables; the scope of their strategy is that
            of this call.
    """

    def __init__(self, weights):
        self._weights = list(weights)
        self._kept = [tf.Variable(w.numpy(), trainable=False) for w in self._weights]

    def update_unless(self, is_good):
        """Keeps the weights as they are in a step that is not good, bool, on all replicas."""

        def keep():
            for kept, weight in zip(self._kept, self._weights, strict=True):
                kept.assign(tf.convert_to_tensor(weight.value))

        guard.call_if(~is_good, keep)

    def numpy(self):
        """Returns the list of arrays."""
        return [variable.numpy() for variable in self._kept]


class Examiner:
    """Finds the faults of steps that were skipped.

    Args:
        model: A trainer. Its `kept` is a `KeptWeights`, `copy_of_trained()` a network or prior
            without the strategy, and `losses_of(trained, batch, step, part)` for each kind of
            samples in the batch the loss [B] and a dict of the terms [B].
        make_batch: As for `loop.fit`.
    """

    def __init__(self, model, make_batch):
        self._model, self._make_batch = model, make_batch
        self._examiner_of = functools.cache(self._make_examiner)

    def find(self, step):
        """Takes a step again.

        Args:
            step: int, its number from 0. Among steps that were skipped with good ones between them,
                the last alone meets its own weights.

        Returns:
            List of `Fault`, one for each sample that has any: the first of its terms.
        """
        self._trained.set_weights(self._model.kept.numpy())
        step = tf.constant(step, tf.int64)
        faults = []
        for kind, rows in self._whole_batch(step).items():
            count = len(tf.nest.flatten(rows)[0])
            examine = self._examiner_of(kind, count)
            for row in range(count):
                # Of the input: at an infinite derivative a row spoils the gradient of all others.
                alone = tf.nest.map_structure(lambda values, row=row: values[row : row + 1], rows)
                faults += _first_fault(row, examine(alone, step, tf.constant(row)))
        return faults

    @functools.cached_property
    def _trained(self):
        return self._model.copy_of_trained()

    @functools.cached_property
    def _whole_batch(self):
        return tf.function(lambda step: self._make_batch(step, (0, 1)), autograph=False)

    def _make_examiner(self, kind, count):
        # In a graph, as the step was: what is finite may differ otherwise.
        @tf.function(autograph=False)
        def examine(rows, step, row):
            with tf.GradientTape(persistent=True) as tape:
                losses = self._model.losses_of(self._trained, {kind: rows}, step, (row, count))
            loss, terms = losses[kind]
            weights = self._trained.trainable_variables
            return {
                name: (
                    tf.reduce_all(tf.math.is_finite(value)),
                    # As the step judges it: a norm that overflows is not finite.
                    tf.math.is_finite(
                        tf.linalg.global_norm(
                            tape.gradient(value, weights, unconnected_gradients="zero")
                        )
                    ),
                )
                for name, value in {**terms, f"{kind}_loss": loss}.items()
            }

        return examine


def _first_fault(row, found):
    *_, loss = found.values()
    # Terms may be for the logs alone.
    if all(loss):
        return []
    for term, (has_value, has_gradient) in found.items():
        if not (has_value and has_gradient):
            return [Fault(term, row, "the gradient" if has_value else "the value")]
    return []
