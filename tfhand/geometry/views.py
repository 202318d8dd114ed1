"""Views and batch: the one place where they are merged and taken apart again."""

import tensorflow as tf

__all__ = ["fold_views", "unfold_views"]


def fold_views(tensor) -> tf.Tensor:
    """Merges the view axis into the batch: `[B, V, ...]` to `[B * V, ...]`.

    Row `b * V + v` of the result is view v of sample b.

    Args:
        tensor: any dtype, `[B, V, ...]`.

    Returns:
        The same dtype, `[B * V, ...]`.

    Raises:
        ValueError: If there are fewer than two axes.
    """
    tensor = tf.convert_to_tensor(tensor)
    if tensor.shape.rank is None or tensor.shape.rank < 2:
        raise ValueError(f"Expected a tensor of shape [batch, view, ...], received {tensor.shape}.")
    batch, views = tensor.shape[0], tensor.shape[1]
    static = [None if batch is None or views is None else batch * views, *tensor.shape[2:]]
    shape = tf.shape(tensor)
    folded = tf.reshape(tensor, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
    return tf.ensure_shape(folded, static)


def unfold_views(tensor, num_views: int) -> tf.Tensor:
    """Takes the view axis out of the batch again: `[B * V, ...]` to `[B, V, ...]`.

    Args:
        tensor: any dtype, `[B * V, ...]`, in the order of `fold_views`.
        num_views: int, V.

    Returns:
        The same dtype, `[B, V, ...]`.

    Raises:
        ValueError: If the static number of rows is not a multiple of `num_views`.
    """
    tensor = tf.convert_to_tensor(tensor)
    rows = tensor.shape[0]
    if rows is not None and rows % num_views:
        raise ValueError(f"Expected a multiple of num_views={num_views} rows, received {rows}.")
    static = [None if rows is None else rows // num_views, num_views, *tensor.shape[1:]]
    shape = tf.concat([[-1, num_views], tf.shape(tensor)[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(tensor, shape), static)
