import numpy as np
import tensorflow as tf

from tfhand.rendering import distance_transform

# The square root of an integer below 2^24, in float32.
TOLERANCE_PX = 1e-5


def test_equals_the_loop_over_all_pixels(rng):
    mask = rng.uniform(size=[3, 9, 12]) < 0.08
    mask[:, 4, 4] = True
    expected = np.zeros(mask.shape)
    for m, row, column in np.ndindex(*mask.shape):
        rows, columns = np.nonzero(mask[m])
        expected[m, row, column] = np.hypot(rows - row, columns - column).min()
    np.testing.assert_allclose(
        distance_transform.distance_transform(mask), expected, rtol=TOLERANCE_PX
    )


def test_empty_mask_is_further_than_any_pixel():
    empty = distance_transform.distance_transform(np.zeros([1, 5, 7], bool))
    assert np.all(empty.numpy() >= 12.0) and np.all(np.isfinite(empty))


def test_unknown_batch_in_a_graph():
    graph = tf.function(
        distance_transform.distance_transform,
        input_signature=[tf.TensorSpec([None, 6, 6], tf.bool)],
        autograph=False,
    )
    mask = np.eye(6, dtype=bool)[np.newaxis]
    np.testing.assert_array_equal(graph(mask), distance_transform.distance_transform(mask))
