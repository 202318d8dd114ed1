"""The data terms against float64 loops, in values, gradients and shapes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.losses import data_term_loops as loops
from tfhand.geometry import crop, rigid
from tfhand.losses import data_terms, view_pairs
from tfhand.losses.observation import observe
from tfhand.rendering import spheres
from tfhand.synthesis import depth as splat

pytestmark = pytest.mark.usefixtures("eagerly")


def splat_of_sphere(radius_mm, spec, points=400000):
    """The crop of a sphere's surface seen by a sensor, from points all over it."""
    direction = np.random.default_rng(0).normal(size=(points, 3))
    direction *= radius_mm / np.linalg.norm(direction, axis=1, keepdims=True)
    points = (direction + [1.1, -0.7, 0.0]).T[None].astype(np.float32)
    return splat.splat_orthographic(points, spec).numpy()


@pytest.mark.parametrize("radius_mm", [8.0, 20.0, 45.0])
def test_grown_radii_draw_what_a_crop_shows(radius_mm):
    spec = crop.CropSpec(64, loops.CUBE_MM)
    seen = splat_of_sphere(radius_mm, spec)

    def mean_difference(margin_px):
        radius = data_terms.grow_radii(tf.constant([radius_mm]), spec, margin_px)
        drawn = spheres.render_depth(
            tf.constant([[[1.1, -0.7, 0.0]]]), radius, image_size=64, cube_mm=loops.CUBE_MM
        ).numpy()
        both = (drawn < loops.FAR_MM - 0.05) & (seen < loops.FAR_MM - 0.05)
        either = (drawn < loops.FAR_MM - 0.05) | (seen < loops.FAR_MM - 0.05)
        return np.where(both, np.abs(drawn - seen), 50.0)[either].mean(), either.sum() - both.sum()

    (bare, bare_outline), (grown, grown_outline) = mean_difference(0.0), mean_difference(0.5)
    assert grown < 0.6 * bare
    assert grown_outline < 0.6 * bare_outline


@pytest.fixture
def problem(rng):
    return loops.make_problem(rng)


@pytest.mark.parametrize("clamp_mm", [50.0, 6.0])
def test_values_match_loops(compiled, problem, rng, clamp_mm):
    weights = rng.uniform(size=[2, 3, 3]).astype(np.float32)
    m2d, d2m = loops.both_terms(*problem, clamp_mm=clamp_mm, pair_weights=weights)
    expected = loops.oracle_m2d(*problem, clamp_mm, weights)
    np.testing.assert_allclose(m2d, expected, atol=loops.VALUE_TOLERANCE_MM)
    expected = loops.oracle_d2m(*problem, clamp_mm, weights)
    np.testing.assert_allclose(d2m, expected, atol=loops.VALUE_TOLERANCE_MM)
    assert m2d.dtype == d2m.dtype == tf.float32


def test_gradient_matches_finite_differences_of_the_loop():
    # One sphere, a smooth case: the surface is drawn inside the observed one, nothing is clamped.
    radii = np.array([60.0])
    depth = loops.oracle_render(np.array([[0.0, 0.0, 0.0]]), [90.0])[None, None].astype(np.float32)
    projected = tf.constant([[[[[4.0, -3.0, 6.0]]]]])
    step = 1e-3
    for term, oracle in [
        (data_terms.model_to_data, loops.oracle_m2d),
        (data_terms.data_to_model, loops.oracle_d2m),
    ]:
        with tf.GradientTape() as tape:
            tape.watch(projected)
            value = term(projected, radii, observe(depth, loops.SPEC, clamp_mm=500.0))
        gradient = tape.gradient(value, projected).numpy().ravel()
        for axis in range(3):
            move = np.eye(3)[axis] * step
            numeric = (
                oracle(projected.numpy() + move, radii, depth, 500.0)
                - oracle(projected.numpy() - move, radii, depth, 500.0)
            ) / (2 * step)
            np.testing.assert_allclose(gradient[axis], numeric[0], atol=2e-3)


def test_gradients_of_a_whole_hand_match_loops(compiled, rng):
    radii = rng.uniform(8.0, 20.0, 41).astype(np.float32).astype(float)
    hands = rng.normal(size=[1, 1, 3, 41, 3]) * [35.0, 35.0, 25.0]
    depth = np.stack([[loops.oracle_render(hands[0, 0, j], radii) for j in range(3)]]).astype(
        np.float32
    )
    projected = (hands + rng.normal(size=[1, 3, 3, 41, 3]) * 8.0).astype(np.float32)
    expected = loops.loop_gradients(projected, radii, depth, 20.0)
    for term, wanted in zip((data_terms.model_to_data, data_terms.data_to_model), expected):
        with tf.GradientTape() as tape:
            tensor = tf.constant(projected)
            tape.watch(tensor)
            value = tf.reduce_sum(term(tensor, radii, observe(depth, loops.SPEC, clamp_mm=20.0)))
        actual = tape.gradient(value, tensor).numpy()
        assert np.abs(wanted).max() > 0.003
        np.testing.assert_allclose(
            actual, wanted, atol=loops.GRADIENT_TOLERANCE * np.abs(wanted).max()
        )


def test_perfect_model_costs_nothing(rng):
    radii = np.array([40.0, 30.0])
    projected = np.array([[[[[0.0, 10.0, 0.0], [30.0, -20.0, 10.0]]]]], np.float32)
    depth = loops.oracle_render(projected[0, 0, 0].astype(float), radii)[None, None]
    for value in loops.both_terms(projected, radii, depth):
        np.testing.assert_allclose(value, [0.0], atol=1e-2)


def test_radii_a_sample(problem):
    projected, radii, depth = problem
    per_sample = np.stack([radii, radii * 1.2])
    values = loops.both_terms(projected, per_sample, depth)
    for k, value in enumerate(values):
        for b in range(2):
            alone = loops.both_terms(projected[b : b + 1], per_sample[b], depth[b : b + 1])[k]
            np.testing.assert_allclose(value[b], alone[0], rtol=1e-5)


def test_stride_uses_the_subsampled_grid(problem):
    projected, radii, depth = problem
    mask = np.zeros([2, 1, 3, loops.SIZE, loops.SIZE], bool)
    mask[..., 1::2, 1::2] = True
    strided = data_terms.data_to_model(projected, radii, observe(depth, loops.SPEC, stride=2))
    masked = data_terms.data_to_model(projected, radii, loops.observe_some(depth, mask))
    np.testing.assert_allclose(strided, masked, rtol=1e-5)
    # The model equals the depth on the subsampled grid too.
    perfect = np.array([[[[[0.0, 10.0, 0.0]]]]], np.float32)
    depth = loops.oracle_render(perfect[0, 0, 0].astype(float), [60.0])[None, None]
    value = data_terms.model_to_data(perfect, [60.0], observe(depth, loops.SPEC, stride=2))
    np.testing.assert_allclose(value, [0.0], atol=1e-2)


def test_graph_with_unknown_batch_equals_eager(compiled, problem):
    projected, radii, depth = problem
    mask = np.ones([1, 1, 3, loops.SIZE, loops.SIZE], bool)
    mask[..., ::3] = False
    graph = tf.function(
        lambda p, d: loops.both_terms(p, radii, d, mask=mask, stride=2),
        input_signature=[
            tf.TensorSpec([None, 3, 3, 7, 3]),
            tf.TensorSpec([None, 3, loops.SIZE, loops.SIZE]),
        ],
        autograph=False,
    )
    for batch in (1, 2):
        for actual, expected in zip(
            graph(projected[:batch], depth[:batch]),
            loops.both_terms(projected[:batch], radii, depth[:batch], mask=mask, stride=2),
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_doubling_the_batch_repeats_the_values(problem):
    projected, radii, depth = problem
    doubled = loops.both_terms(
        np.tile(projected, [2, 1, 1, 1, 1]), radii, np.tile(depth, [2, 1, 1, 1])
    )
    for once, twice in zip(loops.both_terms(projected, radii, depth), doubled):
        np.testing.assert_allclose(np.tile(once, 2), twice, rtol=1e-5)


def test_projection_is_the_transform_of_each_pair(rng):
    spheres = rng.normal(size=[2, 3, 5, 3]).astype(np.float32)
    rotations = rigid.rotation_from_axis_angle(rng.normal(size=[2, 3, 3]).astype(np.float32))
    ref_from_crop = rigid.from_rotation_translation(rotations, rng.normal(size=[2, 3, 3])).numpy()
    projected = view_pairs.project_to_views(spheres, ref_from_crop)
    crop_from_ref = np.linalg.inv(ref_from_crop.astype(float))
    for b, i, j in np.ndindex(2, 3, 3):
        crop_j_from_crop_i = crop_from_ref[b, j] @ ref_from_crop[b, i]
        expected = spheres[b, i] @ crop_j_from_crop_i[:3, :3].T + crop_j_from_crop_i[:3, 3]
        np.testing.assert_allclose(projected[b, i, j], expected, rtol=1e-4, atol=1e-5)


def test_wrong_shapes_are_rejected(problem):
    projected, radii, depth = problem
    with pytest.raises(ValueError, match="projected spheres"):
        loops.both_terms(projected[:, 0], radii, depth)
    with pytest.raises(ValueError, match="depth of shape"):
        loops.both_terms(projected, radii, depth[:, 0])
    with pytest.raises(ValueError, match="depth maps of 2 views"):
        loops.both_terms(projected, radii, depth[:, :2])
    with pytest.raises(ValueError, match="radii"):
        loops.both_terms(projected, radii[:3], depth)
    with pytest.raises(ValueError, match="transforms"):
        view_pairs.project_to_views(np.zeros([2, 3, 5, 3]), np.zeros([2, 2, 4, 4]))
