"""Minimum and its index in one integer, for fused searches over spheres.

XLA computes a running minimum over a loop in one vectorized pass over one array. A second array for
the index of the minimum costs five times as much on the CPU, because both then need a copy of the
old minimum. So value and index share an int32: `(mantissa << index_bits) | index`. Within one
octave `[2^k, 2^(k + 1))` the mantissa of a float32 has the order of the number, so the smallest key
holds the index of the smallest value, and ties go to the lowest index.

Adding an offset that puts them into one octave makes numbers of mm fixed-point numbers of 23 bits,
all of which fit beside the index of up to 256 spheres.
"""

import math

import tensorflow as tf

__all__ = [
    "broadcast_spheres",
    "index_bits",
    "octave_above",
    "pack",
    "sum_by_index",
    "unpack",
]

_MANTISSA_BITS = 23
_INT32_BITS = 31  # without the sign, so that keys are never negative


def index_bits(count):
    """Bits that hold an index below `count`, at least 1."""
    return max(1, (count - 1).bit_length())


def octave_above(length_mm):
    """The smallest power of two that is at least `length_mm`: width of the octave to use."""
    return 2.0 ** math.ceil(math.log2(length_mm))


def pack(values, index, bits):
    """Joins values of one octave with an index.

    Args:
        values: float32 `[...]`, all in `[2^k, 2^(k + 1))` for the same k.
        index: int32, broadcasts against `values`, below `2^bits`.
        bits: int, from `index_bits`.

    Returns:
        int32 `[...]`, ordered by value, then by index.
    """
    mantissa = (1 << _MANTISSA_BITS) - 1
    key = tf.bitwise.bitwise_and(tf.bitcast(values, tf.int32), mantissa)
    excess = bits + _MANTISSA_BITS - _INT32_BITS
    if excess > 0:
        key = tf.bitwise.right_shift(key, excess)
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(key, bits), index)


def unpack(key, bits):
    """The index in a key: int32 `[...]`."""
    return tf.bitwise.bitwise_and(key, (1 << bits) - 1)


def broadcast_spheres(centers_mm, radii_mm):
    """Checks spheres and gives every batch entry its own radii.

    Args:
        centers_mm: float32 `[B, N, 3]`, mm. N must be static.
        radii_mm: float32 `[N]` or `[B, N]`, mm.

    Returns:
        centers float32 `[B, N, 3]` and radii float32 `[B, N]`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    centers_mm = tf.convert_to_tensor(centers_mm, dtype=tf.float32)
    radii_mm = tf.convert_to_tensor(radii_mm, dtype=tf.float32)
    shape = centers_mm.shape
    if shape.rank != 3 or shape[2] != 3 or not shape[1]:
        raise ValueError(
            f"Expected sphere centers of shape [batch, N, 3] with a static N, received {shape}."
        )
    if radii_mm.shape.rank not in (1, 2) or radii_mm.shape[-1] != shape[1]:
        raise ValueError(
            f"Expected radii of shape [{shape[1]}] or [batch, {shape[1]}] for centers of shape "
            f"{shape}, received {radii_mm.shape}."
        )
    if radii_mm.shape.rank == 2 and not shape[:1].is_compatible_with(radii_mm.shape[:1]):
        raise ValueError(
            f"Expected one row of radii per batch entry of centers {shape}, "
            f"received {radii_mm.shape}."
        )
    return centers_mm, tf.broadcast_to(radii_mm, tf.shape(centers_mm)[:2])


def sum_by_index(values, index, batch_size, count):
    """Adds up rows that belong to the same sphere.

    Args:
        values: float32 `[B, ..., C]`.
        index: int32 `[B, ...]`, in `[-1, count)`; rows at -1 are left out.
        batch_size: int32 scalar, B.
        count: int, number of spheres N.

    Returns:
        float32 `[B, N, C]`.
    """
    batch = tf.reshape(tf.range(batch_size), [-1] + [1] * (index.shape.rank - 1))
    segment = tf.where(index >= 0, batch * count + index, -1)
    total = tf.math.unsorted_segment_sum(values, segment, batch_size * count)
    return tf.reshape(total, [-1, count, values.shape[-1]])
