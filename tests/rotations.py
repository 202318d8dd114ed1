"""Random rotations."""

import tensorflow as tf

__all__ = ["random_rotation"]


def random_rotation(batch, seed=None) -> tf.Tensor:
    """Draws rotations uniformly over SO(3), as normalized Gaussian quaternions.

    Args:
        batch: int or int scalar tensor, how many.
        seed: None for a new draw each call, or an int `[2]` seed of a repeatable (stateless) draw.

    Returns:
        float32 `[batch, 3, 3]`.
    """
    shape = [batch, 4]
    if seed is None:
        quaternion = tf.random.normal(shape)
    else:
        quaternion = tf.random.stateless_normal(shape, seed=seed)
    w, x, y, z = tf.unstack(tf.linalg.l2_normalize(quaternion, axis=-1), axis=-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
