"""Checks of inputs inside graphs."""

import tensorflow as tf

__all__ = ["check"]


def check(condition, message, most_values=10):
    """Returns an operation that fails as an invalid argument where a condition does not hold.

    It is for `tf.control_dependencies`. `tf.debugging.Assert` does the same, but puts itself into
    a conditional of its own, which takes longer than many a check.

    Args:
        condition: bool scalar.
        message: List of strings and tensors that make the message.
        most_values: How many values of a tensor the message shows at most.

    Returns:
        The operation, None outside of graphs.

    Raises:
        tf.errors.InvalidArgumentError: (when run) if the condition is False.
    """
    data = [tf.convert_to_tensor(part) for part in message]
    return tf.raw_ops.Assert(condition=condition, data=data, summarize=most_values)
