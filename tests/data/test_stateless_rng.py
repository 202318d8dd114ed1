"""Draws that follow from seed, purpose and step, and orders that follow from seed and pass."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.data import stateless_rng


def three_draws(rng, rows):
    return [
        rng.normal([rows, 3], 1.0, 2.0),
        rng.uniform(tf.stack([rows]), maxval=1000, dtype=tf.int32),
        rng.truncated_normal([rows]),
    ]


def test_a_step_draws_the_same_in_eager_mode_and_in_a_graph():
    eager = three_draws(stateless_rng.for_step(3, "noise", 7), 4)
    graph = tf.function(
        lambda step: three_draws(stateless_rng.for_step(3, "noise", step), 4), autograph=False
    )
    for a, b in zip(eager, graph(tf.constant(7, tf.int64)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("other", [(4, "noise", 7), (3, "hands", 7), (3, "noise", 8)])
def test_other_seeds_purposes_and_steps_draw_otherwise(other):
    mine, others = (
        three_draws(stateless_rng.for_step(*key), 8) for key in ((3, "noise", 7), other)
    )
    for a, b in zip(mine, others, strict=True):
        assert not np.intersect1d(a, b).size


def test_draws_of_a_step_differ_from_each_other():
    rng = stateless_rng.for_step(0, "noise", 0)
    first, second = rng.normal([6]), rng.normal([6])
    assert not np.intersect1d(first, second).size


def test_draws_have_the_asked_distribution():
    rng = stateless_rng.for_step(1, "noise", 0)
    count = 20000
    # The standard deviation of the mean is 2 / sqrt(20000) = 0.014; four of those.
    np.testing.assert_allclose(np.mean(rng.normal([count], 1.0, 2.0)), 1.0, atol=0.06)
    uniform = rng.uniform([count], -1.0, 3.0).numpy()
    assert uniform.min() >= -1.0 and uniform.max() < 3.0
    np.testing.assert_allclose(uniform.mean(), 1.0, atol=0.04)
    assert np.abs(rng.truncated_normal([count])).max() <= 2.0
    whole = rng.uniform([count], maxval=5, dtype=tf.int32).numpy()
    np.testing.assert_allclose(np.bincount(whole), count / 5, rtol=0.1)


def test_a_draw_for_several_batches_has_the_part_of_each():
    key = tf.constant([5, 6])
    whole = stateless_rng.StatelessRng(key).normal([3 * 4, 2]).numpy().reshape(3, 4, 2)
    parts = [stateless_rng.StatelessRng(key, (i, 2), 2).normal([3 * 2, 2]) for i in range(2)]
    found = np.concatenate([np.reshape(part, [3, 2, 2]) for part in parts], axis=1)
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("count", [2, 3])
def test_parts_of_a_batch_draw_the_rows_of_the_whole(count):
    key = tf.constant([5, 6])
    whole = three_draws(stateless_rng.StatelessRng(key), 6)
    rows = tf.constant(6 // count)
    parts = [three_draws(stateless_rng.StatelessRng(key, (i, count)), rows) for i in range(count)]
    for expected, *pieces in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), expected)


@pytest.mark.parametrize(("batch", "count"), [(3, 7), (4, 4), (5, 2), (10, 1)])
def test_every_pass_shows_every_sample_once(batch, count):
    steps = 4 * count
    rows = np.concatenate([stateless_rng.shuffled_rows(2, k, batch, count) for k in range(steps)])
    passes = rows[: len(rows) // count * count].reshape(-1, count)
    np.testing.assert_array_equal(
        np.sort(passes, axis=1), np.tile(np.arange(count), (len(passes), 1))
    )
    if count > 2:
        assert len({tuple(row) for row in passes}) > 1


def test_orders_follow_from_the_seed():
    rows = tf.function(
        lambda seed, step: stateless_rng.shuffled_rows(seed, step, 6, 20), autograph=False
    )
    np.testing.assert_array_equal(rows(1, tf.constant(9)), stateless_rng.shuffled_rows(1, 9, 6, 20))
    assert (
        (stateless_rng.shuffled_rows(1, 9, 6, 20) != stateless_rng.shuffled_rows(2, 9, 6, 20))
        .numpy()
        .any()
    )
