"""Random draws as a pure function of seed, purpose and step.

A generator that is carried from step to step would have to be saved with the weights, and a
pipeline that runs ahead of the training has drawn from it already. Here nothing is carried: what a
step draws depends on its number alone, so a run that starts at step k draws what it would have.
"""

import zlib

import numpy as np
import tensorflow as tf

__all__ = ["StatelessRng", "for_step", "shuffled_rows"]


class StatelessRng:
    """Random numbers, with the methods of `tf.random.Generator` that this package uses.

    Each draw has a number, counted while the graph is traced, and is a function of key and number.
    Draws inside a `tf.while_loop` would repeat.

    Args:
        key: int32 [2], stateless seed.
        shard: (index, count): the first axis of every draw is the index-th of count equal shards of
            the batch, and the rows are those that a draw for the whole batch has there. So a batch
            spread over several replicas meets the same numbers as on one.
        batch: Rows of that shard. A draw of several times as many rows is for as many batches, one
            after the other, and has the shard of each. None: every draw is for one.
    """

    def __init__(self, key, shard=(0, 1), batch=None):
        self._key, self._shard, self._batch = key, shard, batch
        self._count = 0

    def normal(self, shape, mean=0.0, stddev=1.0):
        """Returns normal draws, float32."""
        return self._rows(tf.random.stateless_normal, shape, mean=mean, stddev=stddev)

    def truncated_normal(self, shape, dtype=tf.float32):
        """Returns normal draws within two standard deviations."""
        return self._rows(tf.random.stateless_truncated_normal, shape, dtype=dtype)

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32):
        """Returns uniform draws of [minval, maxval), which is [0, 1) without bounds."""
        return self._rows(
            tf.random.stateless_uniform, shape, minval=minval, maxval=maxval, dtype=dtype
        )

    def _rows(self, draw, shape, **options):
        key = tf.random.experimental.stateless_fold_in(self._key, self._count)
        self._count += 1
        index, count = self._shard
        if isinstance(count, int) and count == 1:
            return draw(shape, key, **options)
        shape = tf.convert_to_tensor(shape, tf.int32)
        whole = draw(tf.concat([shape[:1] * count, shape[1:]], axis=0), key, **options)
        batch = shape[0] if self._batch is None else self._batch
        blocks = tf.concat([[shape[0] // batch, count, batch], shape[1:]], axis=0)
        return tf.reshape(tf.reshape(whole, blocks)[:, index], shape)


def for_step(seed, purpose, step, shard=None, batch=None):
    """Returns the `StatelessRng` of a step.

    Args:
        seed: int, of the training.
        purpose: What is drawn; different words draw independently.
        step: int or integer scalar tensor.
        shard: As for `StatelessRng`; None: inside a replica its shard of the batch, else all of it.
        batch: As for `StatelessRng`.
    """
    if shard is None:
        context = tf.distribute.get_replica_context()
        shard = (0, 1)
        if context is not None and context.num_replicas_in_sync > 1:
            shard = (context.replica_id_in_sync_group, context.num_replicas_in_sync)
    return StatelessRng(_key(seed, purpose, step), shard, batch)


def shuffled_rows(seed, step, batch_size, count):
    """Returns the samples of a batch, in endless passes over `count` samples.

    Every pass is a permutation of its own, a function of seed and pass. Batches follow each other
    through the passes without a gap.

    Args:
        seed: int, of the order.
        step: int or integer scalar tensor, number of the batch.
        batch_size: int, samples B a batch.
        count: int, samples of a pass.

    Returns:
        int64 [B].
    """
    first = tf.cast(step, tf.int64) * batch_size
    epoch = first // count

    def permutation(later):
        key = _key(seed, "order", epoch + later)
        # Ties among 64 bits are settled by the sort, which is stable.
        bits = tf.random.stateless_uniform([count], key, None, None, tf.int64)
        return tf.argsort(bits, stable=True)

    # A batch begins within a pass and reaches into as many more as it may be long.
    passes = 1 + -(-(batch_size - 1) // count)
    rows = tf.concat([permutation(later) for later in range(passes)], axis=0)
    start = first % count
    return tf.ensure_shape(tf.cast(rows[start : start + batch_size], tf.int64), [batch_size])


def _key(seed, purpose, step):
    start = np.array([seed & 0x7FFFFFFF, zlib.crc32(purpose.encode()) & 0x7FFFFFFF], np.int32)
    return tf.random.experimental.stateless_fold_in(start, tf.cast(step, tf.int64))
