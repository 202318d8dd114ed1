"""Pixels, points and views that count in the data terms."""

import numpy as np
import pytest
import tensorflow as tf

from tests.losses import data_term_loops as loops
from tfhand.losses import data_terms, view_pairs
from tfhand.losses.observation import observe

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def problem(rng):
    return loops.make_problem(rng)


def test_pixels_that_only_one_shows_cost_the_clamp_and_have_no_gradient():
    # The model is left, the surface right: no pixel shows both.
    depth = np.full([1, 1, loops.SIZE, loops.SIZE], loops.FAR_MM, np.float32)
    depth[..., 4:8, 12:] = 0.0
    projected = tf.constant([[[[[-80.0, 0.0, 0.0]]]]])
    with tf.GradientTape() as tape:
        tape.watch(projected)
        value = data_terms.model_to_data(
            projected, [30.0], observe(depth, loops.SPEC, clamp_mm=20.0)
        )
    np.testing.assert_allclose(value, [20.0], rtol=1e-6)
    assert np.all(tape.gradient(value, projected).numpy() == 0.0)


def test_size_of_the_background_does_not_matter():
    # The same hand in half of the pixels: a mean over all pixels would differ.
    small = np.full([1, 1, loops.SIZE, loops.SIZE], loops.FAR_MM, np.float32)
    small[..., 6:10, 6:10] = 0.0
    value = data_terms.model_to_data(
        [[[[[0.0, 0.0, 400.0]]]]], [10.0], observe(small, loops.SPEC, clamp_mm=20.0)
    )
    np.testing.assert_allclose(value, [20.0], rtol=1e-6)


def test_clamped_points_have_no_gradient():
    depth = np.full([1, 1, loops.SIZE, loops.SIZE], loops.FAR_MM, np.float32)
    depth[..., 8, 8] = 0.0
    projected = tf.constant([[[[[-100.0, 0.0, 0.0]]]]])
    with tf.GradientTape() as tape:
        tape.watch(projected)
        value = data_terms.data_to_model(
            projected, [20.0], observe(depth, loops.SPEC, clamp_mm=50.0)
        )
    np.testing.assert_allclose(value, [50.0])
    assert np.all(tape.gradient(value, projected).numpy() == 0.0)


def test_empty_depth_is_zero_with_finite_gradient(problem):
    projected, radii, depth = problem
    depth = np.full_like(depth, loops.FAR_MM)
    projected = tf.constant(projected)

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(projected)
            value = tf.add_n(loops.both_terms(projected, radii, depth))
        return value, tape.gradient(value, projected)

    value, gradient = run()
    np.testing.assert_array_equal(value, [0.0, 0.0])
    assert np.all(gradient.numpy() == 0.0)


def test_views_without_surface_are_left_out_of_the_mean(problem):
    projected, radii, depth = problem
    depth = depth.copy()
    depth[:, 2] = loops.FAR_MM
    for actual, expected in zip(
        loops.both_terms(projected, radii, depth),
        loops.both_terms(projected[:, :, :2], radii, depth[:, :2]),
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_nan_readings_are_background(problem):
    projected, radii, depth = problem
    broken, clean = depth.copy(), depth.copy()
    broken[0, 0, 7:9, 7:9] = np.nan
    clean[0, 0, 7:9, 7:9] = loops.FAR_MM
    projected = tf.constant(projected)
    with tf.GradientTape() as tape:
        tape.watch(projected)
        values = loops.both_terms(projected, radii, broken)
    assert np.all(np.isfinite(tape.gradient(values, projected)))
    for actual, expected in zip(values, loops.both_terms(projected, radii, clean)):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_every_view_counts_as_source_and_as_target(problem, view):
    projected, radii, depth = problem
    base = loops.both_terms(projected, radii, depth)
    moved_source, moved_depth = projected.copy(), depth.copy()
    moved_source[0, view] += 5.0
    moved_depth[0, view] = np.where(
        depth[0, view] < loops.FAR_MM, depth[0, view] + 5.0, loops.FAR_MM
    )
    for changed in (
        loops.both_terms(moved_source, radii, depth),
        loops.both_terms(projected, radii, moved_depth),
    ):
        for before, after in zip(base, changed):
            assert abs(before[0] - after[0]) > 1e-2
            assert before[1] == after[1]


def test_relabeled_views_give_the_same_value(problem):
    projected, radii, depth = problem
    order = [2, 0, 1]
    for one, other in zip(
        loops.both_terms(projected, radii, depth),
        loops.both_terms(projected[:, order][:, :, order], radii, depth[:, order]),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_diagonal_weights_are_the_single_view_case(problem):
    projected, radii, depth = problem
    values = loops.both_terms(projected, radii, depth, pair_weights=np.eye(3)[np.newaxis])
    single = [
        loops.both_terms(projected[:, v : v + 1, v : v + 1], radii, depth[:, v : v + 1])
        for v in range(3)
    ]
    for k in range(2):
        np.testing.assert_allclose(values[k], np.mean([s[k] for s in single], axis=0), rtol=1e-5)


def test_surface_that_is_not_the_hand_is_left_out(problem, rng):
    mask = rng.uniform(size=[2, 3, 3, loops.SIZE, loops.SIZE]) < 0.5
    m2d, d2m = loops.both_terms(*problem, mask=mask)
    np.testing.assert_allclose(
        m2d, loops.oracle_m2d(*problem, mask=mask), atol=loops.VALUE_TOLERANCE_MM
    )
    np.testing.assert_allclose(
        d2m, loops.oracle_d2m(*problem, mask=mask), atol=loops.VALUE_TOLERANCE_MM
    )


def test_readings_left_out_have_no_gradient(problem, rng):
    projected, radii, depth = problem
    mask = rng.uniform(size=[2, 1, 3, loops.SIZE, loops.SIZE]) < 0.5
    left_out = ~mask[:, 0] & (depth < loops.FAR_MM - 0.05)

    def gradients(depth_mm):
        with tf.GradientTape() as tape:
            tensor = tf.constant(projected)
            tape.watch(tensor)
            values = loops.both_terms(tensor, radii, depth_mm, mask=mask)
        return tape.gradient(values, tensor).numpy()

    # What is left out may show any surface.
    actual = gradients(np.where(left_out, depth - 60.0, depth).astype(np.float32))
    assert np.abs(actual).max() > 1e-3
    np.testing.assert_allclose(actual, gradients(depth), atol=1e-6)


def test_a_pair_of_which_nothing_counts_takes_no_part(problem):
    projected, radii, depth = problem
    mask = np.ones([2, 3, 3, loops.SIZE, loops.SIZE], bool)
    mask[:, 0, 2] = False
    weights = np.ones([2, 3, 3])
    weights[:, 0, 2] = 0.0
    for masked, weighted in zip(
        loops.both_terms(projected, radii, depth, mask=mask),
        loops.both_terms(projected, radii, depth, pair_weights=weights),
    ):
        np.testing.assert_allclose(masked, weighted, rtol=1e-5)


def test_mean_over_pairs_without_weight_is_zero():
    value = view_pairs.mean_over_pairs(tf.ones([2, 1, 1]), [[[True]], [[True]]], [[[0.0]], [[2.0]]])
    np.testing.assert_array_equal(value, [0.0, 1.0])
