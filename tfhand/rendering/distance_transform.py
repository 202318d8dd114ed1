"""Exact Euclidean distance transform of a mask.

The squared distance to the nearest marked pixel separates: first along the rows' direction, then

    d^2(r, c) = min over c' of (c - c')^2 + min over r' with mask(r', c') of (r - r')^2.

Each step is a running minimum over S shifted parabolas, in one XLA program, without an
`[..., S, S, S]` tensor.
"""

import tensorflow as tf

__all__ = ["distance_transform"]


def distance_transform(mask):
    """Distance from every pixel to the nearest marked pixel, between pixel centers.

    Note: no gradient.

    Args:
        mask: bool `[M, H, W]`.

    Returns:
        float32 `[M, H, W]`, pixels; 0 on the mask. `H + W` or more where nothing is marked at all.
    """
    mask = tf.convert_to_tensor(mask, dtype=tf.bool)
    return tf.stop_gradient(_transform(mask))


@tf.function(jit_compile=True, autograph=False)
def _transform(mask):
    height, width = mask.shape[1:]
    nothing = float((height + width) ** 2)
    squared = tf.where(mask, 0.0, nothing)
    # Columns lead, so that the minimum runs over axis 0; then rows lead.
    squared = _parabola_minimum(tf.transpose(squared, [1, 0, 2]))  # [H, M, W]
    squared = _parabola_minimum(tf.transpose(squared, [2, 1, 0]))  # [W, M, H]
    return tf.sqrt(tf.transpose(squared, [1, 2, 0]))


def _parabola_minimum(height):
    """`out[i] = min over k of height[k] + (i - k)^2` along axis 0 of `[L, ...]`."""
    length = height.shape[0]
    position = tf.reshape(tf.range(length, dtype=tf.float32), [length, 1, 1])

    def lower(k, best):
        parabola = tf.square(position - tf.cast(k, tf.float32))
        return k + 1, tf.minimum(best, height[k] + parabola)

    return tf.while_loop(lambda k, _: k < length, lower, [0, height])[1]
