"""The data terms against float64 loops, their policies, and the independence of views."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.losses import data_terms, pairs, projection
from tfhand.rendering import spheres
from tfhand.synthesis import depth as splat

CUBE_MM = 300.0
SIZE = 16
FAR_MM = CUBE_MM / 2
RAYS_MM = (np.arange(SIZE) + 0.5) * CUBE_MM / SIZE - CUBE_MM / 2

# Means of float32 depths of up to 150 mm; a pixel on a silhouette may be off by 0.02 mm.
VALUE_TOLERANCE_MM = 1e-3
# Sums over pixels of slopes of about 1 from small differences, as in the renderer's own tests.
GRADIENT_TOLERANCE = 5e-3


def render(centers, radii):
    """Equations 6-8 in float64 for one set of spheres."""
    q = radii**2 - (centers[:, :1] - RAYS_MM)[:, None, :] ** 2
    q = q[..., :] - ((centers[:, 1:2] - RAYS_MM) ** 2)[:, :, None] if q.ndim == 3 else q
    depth = centers[:, 2, None, None] - np.sqrt(np.maximum(q, 0.0))
    return np.minimum(np.where(q >= 0, depth, FAR_MM).min(0), FAR_MM)


def oracle_render(centers, radii):
    return render(centers, np.asarray(radii)[:, None, None])


def oracle_m2d(projected, radii, depth, clamp=50.0, weights=None, mask=None):
    batch, vi, vj = projected.shape[:3]
    weights = np.ones([batch, vi, vj]) if weights is None else weights
    result = np.zeros(batch)
    for b in range(batch):
        values, used = [], []
        for i, j in np.ndindex(vi, vj):
            surface = depth[b, j] < FAR_MM - 0.05
            rendered = oracle_render(projected[b, i, j], radii)
            drawn = rendered < FAR_MM - 0.05
            if mask is not None:
                left_out = surface & ~mask[b, i, j].reshape(SIZE, SIZE)
                surface, drawn = surface & ~left_out, drawn & ~left_out
            if not surface.any():
                continue
            total = np.minimum(np.abs(rendered - depth[b, j]), clamp)[drawn & surface].sum()
            total += clamp * (drawn != surface).sum()
            values.append(total / (drawn | surface).sum())
            used.append(weights[b, i, j])
        result[b] = np.average(values, weights=used) if np.sum(used) > 0 else 0.0
    return result


def splat_of_sphere(radius_mm, spec, points=400000):
    """The crop of a sphere's surface seen by a sensor, from points all over it."""
    direction = np.random.default_rng(0).normal(size=(points, 3))
    direction *= radius_mm / np.linalg.norm(direction, axis=1, keepdims=True)
    points = (direction + [1.1, -0.7, 0.0]).T[None].astype(np.float32)
    return splat.splat_orthographic(points, spec).numpy()


@pytest.mark.parametrize("radius_mm", [8.0, 20.0, 45.0])
def test_grown_radii_draw_what_a_crop_shows(radius_mm):
    spec = crop.CropSpec(64, CUBE_MM)
    seen = splat_of_sphere(radius_mm, spec)

    def mean_difference(margin_px):
        radius = data_terms.grow_radii(tf.constant([radius_mm]), spec, margin_px)
        drawn = spheres.render_depth(
            tf.constant([[[1.1, -0.7, 0.0]]]), radius, image_size=64, cube_mm=CUBE_MM
        ).numpy()
        both = (drawn < FAR_MM - 0.05) & (seen < FAR_MM - 0.05)
        either = (drawn < FAR_MM - 0.05) | (seen < FAR_MM - 0.05)
        return np.where(both, np.abs(drawn - seen), 50.0)[either].mean(), either.sum() - both.sum()

    (bare, bare_outline), (grown, grown_outline) = mean_difference(0.0), mean_difference(0.5)
    assert grown < 0.6 * bare
    assert grown_outline < 0.6 * bare_outline


def oracle_d2m(projected, radii, depth, clamp=50.0, weights=None, mask=None):
    batch, vi, vj = projected.shape[:3]
    weights = np.ones([batch, vi, vj]) if weights is None else weights
    result = np.zeros(batch)
    for b in range(batch):
        values, used = [], []
        for i, j in np.ndindex(vi, vj):
            distances = []
            for row, column in np.argwhere(depth[b, j] < FAR_MM - 0.05):
                if mask is not None and not mask[b, i, j, row * SIZE + column]:
                    continue
                p = np.array([RAYS_MM[column], RAYS_MM[row], depth[b, j, row, column]])
                lengths = np.linalg.norm(p - projected[b, i, j], axis=-1)
                distances.append(min(np.abs(lengths - radii).min(), clamp))
            if distances:
                values.append(np.mean(distances))
                used.append(weights[b, i, j])
        result[b] = np.average(values, weights=used) if np.sum(used) > 0 else 0.0
    return result


@pytest.fixture
def problem(rng):
    """Spheres `[2, 3, 3, 7, 3]`, radii `[7]` and depth `[2, 3, 16, 16]` of slightly other hands."""
    radii = rng.uniform(15.0, 30.0, 7).astype(np.float32).astype(float)
    spheres = rng.normal(size=[2, 1, 3, 7, 3]) * [35.0, 35.0, 25.0]
    depth = np.stack([[oracle_render(spheres[b, 0, j], radii) for j in range(3)] for b in range(2)])
    projected = spheres + rng.normal(size=[2, 3, 3, 7, 3]) * 8.0
    return projected.astype(np.float32), radii, depth.astype(np.float32)


def both_terms(*args, **kwargs):
    return [
        data_terms.model_to_data(*args, cube_mm=CUBE_MM, **kwargs),
        data_terms.data_to_model(*args, cube_mm=CUBE_MM, **kwargs),
    ]


@pytest.mark.parametrize("clamp_mm", [50.0, 6.0])
def test_values_match_loops(problem, rng, clamp_mm):
    weights = rng.uniform(size=[2, 3, 3]).astype(np.float32)
    m2d, d2m = both_terms(*problem, clamp_mm=clamp_mm, pair_weights=weights)
    expected = oracle_m2d(*problem, clamp_mm, weights)
    np.testing.assert_allclose(m2d, expected, atol=VALUE_TOLERANCE_MM)
    expected = oracle_d2m(*problem, clamp_mm, weights)
    np.testing.assert_allclose(d2m, expected, atol=VALUE_TOLERANCE_MM)
    assert m2d.dtype == d2m.dtype == tf.float32


def test_gradient_matches_finite_differences_of_the_loop():
    # One sphere, a smooth case: the surface is drawn inside the observed one, nothing is clamped.
    radii = np.array([60.0])
    depth = oracle_render(np.array([[0.0, 0.0, 0.0]]), [90.0])[None, None].astype(np.float32)
    projected = tf.constant([[[[[4.0, -3.0, 6.0]]]]])
    step = 1e-3
    for term, oracle in [
        (data_terms.model_to_data, oracle_m2d),
        (data_terms.data_to_model, oracle_d2m),
    ]:
        with tf.GradientTape() as tape:
            tape.watch(projected)
            value = term(projected, radii, depth, cube_mm=CUBE_MM, clamp_mm=500.0)
        gradient = tape.gradient(value, projected).numpy().ravel()
        for axis in range(3):
            move = np.eye(3)[axis] * step
            numeric = (
                oracle(projected.numpy() + move, radii, depth, 500.0)
                - oracle(projected.numpy() - move, radii, depth, 500.0)
            ) / (2 * step)
            np.testing.assert_allclose(gradient[axis], numeric[0], atol=2e-3)


def loop_gradients(projected, radii, depth, clamp):
    """Gradients of the sums of both terms in float64, pixel by pixel, `[B, Vi, Vj, N, 3]` each."""
    m2d, d2m = np.zeros(projected.shape), np.zeros(projected.shape)
    batch, vi, vj = projected.shape[:3]
    for b, i, j in np.ndindex(batch, vi, vj):
        c, seen = projected[b, i, j].astype(float), depth[b, j] < FAR_MM - 0.05
        q = radii[:, None, None] ** 2 - (c[:, 0, None, None] - RAYS_MM) ** 2
        q = q - (c[:, 1, None, None] - RAYS_MM[:, None]) ** 2
        of_each = np.where(q >= 0, c[:, 2, None, None] - np.sqrt(np.maximum(q, 0.0)), FAR_MM)
        winner, drawn = of_each.argmin(0), of_each.min(0) < FAR_MM - 0.05
        for row, column in np.argwhere(seen & drawn):
            k, ray = winner[row, column], np.array([RAYS_MM[column], RAYS_MM[row]])
            off = of_each[k, row, column] - depth[b, j, row, column]
            root = np.sqrt(max(q[k, row, column], spheres.MIN_HALF_CHORD_MM**2))
            slope = np.append((c[k, :2] - ray) / root, 1.0)
            m2d[b, i, j, k] += (abs(off) < clamp) * np.sign(off) * slope / (seen | drawn).sum()
        for row, column in np.argwhere(seen):
            p = np.array([RAYS_MM[column], RAYS_MM[row], depth[b, j, row, column]])
            lengths = np.linalg.norm(c - p, axis=-1)
            k = np.abs(lengths - radii).argmin()
            side = np.sign(lengths[k] - radii[k]) * (abs(lengths[k] - radii[k]) < clamp)
            d2m[b, i, j, k] += side * (c[k] - p) / lengths[k] / seen.sum()
    # Each term is the mean over the pairs of views.
    return m2d / (vi * vj), d2m / (vi * vj)


def test_gradients_of_a_whole_hand_match_loops(rng):
    radii = rng.uniform(8.0, 20.0, 41).astype(np.float32).astype(float)
    hands = rng.normal(size=[1, 1, 3, 41, 3]) * [35.0, 35.0, 25.0]
    depth = np.stack([[oracle_render(hands[0, 0, j], radii) for j in range(3)]]).astype(np.float32)
    projected = (hands + rng.normal(size=[1, 3, 3, 41, 3]) * 8.0).astype(np.float32)
    expected = loop_gradients(projected, radii, depth, 20.0)
    for term, wanted in zip((data_terms.model_to_data, data_terms.data_to_model), expected):
        with tf.GradientTape() as tape:
            tensor = tf.constant(projected)
            tape.watch(tensor)
            value = tf.reduce_sum(term(tensor, radii, depth, cube_mm=CUBE_MM, clamp_mm=20.0))
        actual = tape.gradient(value, tensor).numpy()
        assert np.abs(wanted).max() > 0.003
        np.testing.assert_allclose(actual, wanted, atol=GRADIENT_TOLERANCE * np.abs(wanted).max())


def test_perfect_model_costs_nothing(rng):
    radii = np.array([40.0, 30.0])
    projected = np.array([[[[[0.0, 10.0, 0.0], [30.0, -20.0, 10.0]]]]], np.float32)
    depth = oracle_render(projected[0, 0, 0].astype(float), radii)[None, None]
    for value in both_terms(projected, radii, depth):
        np.testing.assert_allclose(value, [0.0], atol=1e-2)


def test_pixels_that_only_one_shows_cost_the_clamp_and_have_no_gradient():
    # The model is left, the surface right: no pixel shows both.
    depth = np.full([1, 1, SIZE, SIZE], FAR_MM, np.float32)
    depth[..., 4:8, 12:] = 0.0
    projected = tf.constant([[[[[-80.0, 0.0, 0.0]]]]])
    with tf.GradientTape() as tape:
        tape.watch(projected)
        value = data_terms.model_to_data(projected, [30.0], depth, cube_mm=CUBE_MM, clamp_mm=20.0)
    np.testing.assert_allclose(value, [20.0], rtol=1e-6)
    assert np.all(tape.gradient(value, projected).numpy() == 0.0)


def test_size_of_the_background_does_not_matter():
    # The same hand in half of the pixels: a mean over all pixels would differ.
    small = np.full([1, 1, SIZE, SIZE], FAR_MM, np.float32)
    small[..., 6:10, 6:10] = 0.0
    value = data_terms.model_to_data(
        [[[[[0.0, 0.0, 400.0]]]]], [10.0], small, cube_mm=CUBE_MM, clamp_mm=20.0
    )
    np.testing.assert_allclose(value, [20.0], rtol=1e-6)


def test_clamped_points_have_no_gradient():
    depth = np.full([1, 1, SIZE, SIZE], FAR_MM, np.float32)
    depth[..., 8, 8] = 0.0
    projected = tf.constant([[[[[-100.0, 0.0, 0.0]]]]])
    with tf.GradientTape() as tape:
        tape.watch(projected)
        value = data_terms.data_to_model(projected, [20.0], depth, cube_mm=CUBE_MM, clamp_mm=50.0)
    np.testing.assert_allclose(value, [50.0])
    assert np.all(tape.gradient(value, projected).numpy() == 0.0)


def test_empty_depth_is_zero_with_finite_gradient(problem):
    projected, radii, depth = problem
    depth = np.full_like(depth, FAR_MM)
    projected = tf.constant(projected)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(projected)
            value = tf.add_n(both_terms(projected, radii, depth))
        return value, tape.gradient(value, projected)

    value, gradient = run()
    np.testing.assert_array_equal(value, [0.0, 0.0])
    assert np.all(gradient.numpy() == 0.0)


def test_views_without_surface_are_left_out_of_the_mean(problem):
    projected, radii, depth = problem
    depth = depth.copy()
    depth[:, 2] = FAR_MM
    for actual, expected in zip(
        both_terms(projected, radii, depth),
        both_terms(projected[:, :, :2], radii, depth[:, :2]),
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_nan_readings_are_background(problem):
    projected, radii, depth = problem
    broken, clean = depth.copy(), depth.copy()
    broken[0, 0, 7:9, 7:9] = np.nan
    clean[0, 0, 7:9, 7:9] = FAR_MM
    projected = tf.constant(projected)
    with tf.GradientTape() as tape:
        tape.watch(projected)
        values = both_terms(projected, radii, broken)
    assert np.all(np.isfinite(tape.gradient(values, projected)))
    for actual, expected in zip(values, both_terms(projected, radii, clean)):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_every_view_counts_as_source_and_as_target(problem, view):
    projected, radii, depth = problem
    base = both_terms(projected, radii, depth)
    moved_source, moved_depth = projected.copy(), depth.copy()
    moved_source[0, view] += 5.0
    moved_depth[0, view] = np.where(depth[0, view] < FAR_MM, depth[0, view] + 5.0, FAR_MM)
    for changed in (
        both_terms(moved_source, radii, depth),
        both_terms(projected, radii, moved_depth),
    ):
        for before, after in zip(base, changed):
            assert abs(before[0] - after[0]) > 1e-2
            assert before[1] == after[1]


def test_relabeled_views_give_the_same_value(problem):
    projected, radii, depth = problem
    order = [2, 0, 1]
    for one, other in zip(
        both_terms(projected, radii, depth),
        both_terms(projected[:, order][:, :, order], radii, depth[:, order]),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_diagonal_weights_are_the_single_view_case(problem):
    projected, radii, depth = problem
    values = both_terms(projected, radii, depth, pair_weights=np.eye(3)[np.newaxis])
    single = [
        both_terms(projected[:, v : v + 1, v : v + 1], radii, depth[:, v : v + 1]) for v in range(3)
    ]
    for k in range(2):
        np.testing.assert_allclose(values[k], np.mean([s[k] for s in single], axis=0), rtol=1e-5)


def test_radii_a_sample(problem):
    projected, radii, depth = problem
    per_sample = np.stack([radii, radii * 1.2])
    values = both_terms(projected, per_sample, depth)
    for k, value in enumerate(values):
        for b in range(2):
            alone = both_terms(projected[b : b + 1], per_sample[b], depth[b : b + 1])[k]
            np.testing.assert_allclose(value[b], alone[0], rtol=1e-5)


def test_point_mask_leaves_points_out(problem, rng):
    mask = rng.uniform(size=[2, 3, 3, SIZE * SIZE]) < 0.5
    m2d, d2m = both_terms(*problem, point_mask=mask)
    np.testing.assert_allclose(m2d, oracle_m2d(*problem, mask=mask), atol=VALUE_TOLERANCE_MM)
    np.testing.assert_allclose(d2m, oracle_d2m(*problem, mask=mask), atol=VALUE_TOLERANCE_MM)


def test_readings_left_out_have_no_gradient(problem, rng):
    projected, radii, depth = problem
    mask = rng.uniform(size=[2, 1, 3, SIZE * SIZE]) < 0.5
    left_out = ~mask.reshape(2, 3, SIZE, SIZE) & (depth < FAR_MM - 0.05)

    def gradients(depth_mm):
        with tf.GradientTape() as tape:
            tensor = tf.constant(projected)
            tape.watch(tensor)
            values = both_terms(tensor, radii, depth_mm, point_mask=mask)
        return tape.gradient(values, tensor).numpy()

    # What is left out may show any surface.
    actual = gradients(np.where(left_out, depth - 60.0, depth).astype(np.float32))
    assert np.abs(actual).max() > 1e-3
    np.testing.assert_allclose(actual, gradients(depth), atol=1e-6)


def test_a_pair_of_which_nothing_counts_takes_no_part(problem):
    projected, radii, depth = problem
    mask = np.ones([2, 3, 3, SIZE * SIZE], bool)
    mask[:, 0, 2] = False
    weights = np.ones([2, 3, 3])
    weights[:, 0, 2] = 0.0
    for masked, weighted in zip(
        both_terms(projected, radii, depth, point_mask=mask),
        both_terms(projected, radii, depth, pair_weights=weights),
    ):
        np.testing.assert_allclose(masked, weighted, rtol=1e-5)


def test_stride_uses_the_subsampled_grid(problem):
    projected, radii, depth = problem
    mask = np.zeros([2, 1, 3, SIZE, SIZE], bool)
    mask[..., 1::2, 1::2] = True
    strided = data_terms.data_to_model(projected, radii, depth, cube_mm=CUBE_MM, stride=2)
    masked = data_terms.data_to_model(
        projected, radii, depth, cube_mm=CUBE_MM, point_mask=mask.reshape([2, 1, 3, -1])
    )
    np.testing.assert_allclose(strided, masked, rtol=1e-5)
    # The model equals the depth on the subsampled grid too.
    perfect = np.array([[[[[0.0, 10.0, 0.0]]]]], np.float32)
    depth = oracle_render(perfect[0, 0, 0].astype(float), [60.0])[None, None]
    value = data_terms.model_to_data(perfect, [60.0], depth, cube_mm=CUBE_MM, stride=2)
    np.testing.assert_allclose(value, [0.0], atol=1e-2)


def test_graph_with_unknown_batch_equals_eager(problem):
    projected, radii, depth = problem
    mask = np.ones([1, 1, 3, SIZE * SIZE], bool)
    mask[..., ::3] = False
    graph = tf.function(
        lambda p, d: both_terms(p, radii, d, point_mask=mask, stride=2),
        input_signature=[
            tf.TensorSpec([None, 3, 3, 7, 3]),
            tf.TensorSpec([None, 3, SIZE, SIZE]),
        ],
        autograph=False,
    )
    for batch in (1, 2):
        for actual, expected in zip(
            graph(projected[:batch], depth[:batch]),
            both_terms(projected[:batch], radii, depth[:batch], point_mask=mask, stride=2),
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_doubling_the_batch_repeats_the_values(problem):
    projected, radii, depth = problem
    doubled = both_terms(np.tile(projected, [2, 1, 1, 1, 1]), radii, np.tile(depth, [2, 1, 1, 1]))
    for once, twice in zip(both_terms(projected, radii, depth), doubled):
        np.testing.assert_allclose(np.tile(once, 2), twice, rtol=1e-5)


def test_projection_is_the_transform_of_each_pair(rng):
    spheres = rng.normal(size=[2, 3, 5, 3]).astype(np.float32)
    transforms = rng.normal(size=[2, 3, 3, 4, 4]).astype(np.float32)
    projected = projection.project_to_views(spheres, transforms)
    # projected[b, i, j, n] = R[b, i, j] spheres[b, i, n] + t[b, i, j]
    expected = np.einsum("bijxy,biny->bijnx", transforms[..., :3, :3], spheres)
    expected += transforms[..., np.newaxis, :3, 3]
    np.testing.assert_allclose(projected, expected, rtol=1e-4, atol=1e-5)


def test_wrong_shapes_are_rejected(problem):
    projected, radii, depth = problem
    with pytest.raises(ValueError, match="projected spheres"):
        both_terms(projected[:, 0], radii, depth)
    with pytest.raises(ValueError, match="depth of shape"):
        both_terms(projected, radii, depth[:, 0])
    with pytest.raises(ValueError, match="same views"):
        both_terms(projected, radii, depth[:, :2])
    with pytest.raises(ValueError, match="radii"):
        both_terms(projected, radii[:3], depth)
    for term in (data_terms.model_to_data, data_terms.data_to_model):
        with pytest.raises(ValueError, match="point mask"):
            mask = np.ones([2, 3, 3, 5], bool)
            term(projected, radii, depth, cube_mm=CUBE_MM, point_mask=mask)
    with pytest.raises(ValueError, match="transforms"):
        projection.project_to_views(np.zeros([2, 3, 5, 3]), np.zeros([2, 2, 2, 4, 4]))


def test_mean_over_pairs_without_weight_is_zero():
    value = pairs.mean_over_pairs(tf.ones([2, 1, 1]), [[[True]], [[True]]], [[[0.0]], [[2.0]]])
    np.testing.assert_array_equal(value, [0.0, 1.0])
