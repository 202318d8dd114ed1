import numpy as np
import pytest
import tensorflow as tf

from tfhand.rendering import packed_index


@pytest.mark.parametrize("count", [1, 2, 41, 160, 256, 257, 5000])
@pytest.mark.parametrize("octave", [64.0, 512.0, 1024.0])
def test_keys_order_by_value_and_hold_the_index(rng, count, octave):
    bits = packed_index.index_bits(count)
    # 23 bits of mantissa, of which those above 8 bits of index are lost.
    resolution = octave * 2.0 ** (max(0, bits - 8) - 23)
    values = (octave + resolution * rng.integers(0, octave / resolution, 500)).astype(np.float32)
    index = rng.integers(0, count, 500).astype(np.int32)
    keys = packed_index.pack(tf.constant(values), tf.constant(index), bits)
    np.testing.assert_array_equal(packed_index.unpack(keys, bits), index)
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.lexsort([index, values]))


def test_sum_by_index_leaves_out_minus_one():
    values = tf.ones([2, 3, 1])
    total = packed_index.sum_by_index(values, tf.constant([[0, 1, 1], [-1, 0, -1]]), 2, 2)
    np.testing.assert_array_equal(total[..., 0], [[1.0, 2.0], [1.0, 0.0]])


def test_octave():
    assert packed_index.octave_above(900.0) == 1024.0
    assert packed_index.octave_above(1024.0) == 1024.0
