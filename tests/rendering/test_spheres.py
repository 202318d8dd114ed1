"""The sphere renderer against a float64 loop, closed forms and its promises on gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.rendering import spheres

CUBE_MM = 300.0
SIZE = 24

# float32 holds coordinates of 150 mm to 1e-5 mm; the root multiplies that near silhouettes, where
# q = r^2 - d^2 is a small difference of numbers up to 2e4.
DEPTH_TOLERANCE_MM = 2e-2
# Away from silhouettes (q > 4 mm^2) the root has a slope of at most 1/4.
INNER_TOLERANCE_MM = 1e-3
# Gradients are sums over hundreds of pixels of slopes of about 1, from the same small differences.
GRADIENT_TOLERANCE = 2e-3


def loop_render(centers, radii, size=SIZE, cube=CUBE_MM, stride=1):
    """Equations 6-8 in float64, pixel by pixel: depth, winner, and q of the winner."""
    rays = ((np.arange(size) + 0.5) * cube / size - cube / 2)[stride // 2 :: stride]
    depth = np.full([len(centers), len(rays), len(rays)], cube / 2)
    winner = np.full(depth.shape, -1)
    chord = np.full(depth.shape, np.inf)
    for b, spheres_b in enumerate(centers):
        for row, v in enumerate(rays):
            for column, u in enumerate(rays):
                for j, (x, y, z) in enumerate(spheres_b):
                    q = radii[b][j] ** 2 - (x - u) ** 2 - (y - v) ** 2
                    if q >= 0 and z - np.sqrt(q) < depth[b, row, column]:
                        depth[b, row, column] = z - np.sqrt(q)
                        winner[b, row, column] = j
                        chord[b, row, column] = q
    return depth, winner, chord


def loop_gradient(centers, radii, upstream, size=SIZE, cube=CUBE_MM):
    """Gradient of sum(upstream * depth), winner by winner, with the bounded slope."""
    rays = (np.arange(size) + 0.5) * cube / size - cube / 2
    _, winner, chord = loop_render(centers, radii, size, cube)
    d_centers, d_radii = np.zeros_like(centers), np.zeros_like(radii)
    for b, row, column in zip(*np.nonzero(winner >= 0)):
        j, weight = winner[b, row, column], upstream[b, row, column]
        root = np.sqrt(max(chord[b, row, column], spheres.MIN_HALF_CHORD_MM**2))
        dx, dy = centers[b, j, 0] - rays[column], centers[b, j, 1] - rays[row]
        d_centers[b, j] += weight * np.array([dx / root, dy / root, 1.0])
        d_radii[b, j] -= weight * radii[b, j] / root
    return d_centers, d_radii


def random_spheres(rng, batch, count):
    # Rounded to float32, so that the oracle sees the same numbers.
    centers = rng.normal(size=[batch, count, 3]) * [45.0, 45.0, 30.0]
    radii = rng.uniform(12.0, 30.0, size=[batch, count])
    return centers.astype(np.float32).astype(float), radii.astype(np.float32).astype(float)


def render(centers, radii, size=SIZE, **kwargs):
    return spheres.render_depth(centers, radii, image_size=size, cube_mm=CUBE_MM, **kwargs)


@pytest.mark.parametrize("count", [1, 41, 160, 300])
def test_values_match_loop(rng, count):
    centers, radii = random_spheres(rng, 2, count)
    expected, _, chord = loop_render(centers, radii, 16)
    depth = render(centers, radii, 16).numpy()
    inner = chord > 4.0
    np.testing.assert_allclose(depth[inner], expected[inner], atol=INNER_TOLERANCE_MM)
    np.testing.assert_allclose(depth, expected, atol=DEPTH_TOLERANCE_MM)
    assert np.all(depth[np.isinf(chord)] == CUBE_MM / 2)
    assert depth.dtype == np.float32


# 41 and 160 as in use: there many spheres share few pixels each.
@pytest.mark.parametrize("count", [1, 6, 41, 160])
def test_gradients_match_loop(rng, count):
    centers, radii = random_spheres(rng, 2, count)
    upstream = rng.normal(size=[2, SIZE, SIZE])
    c, r = tf.constant(centers, tf.float32), tf.constant(radii, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([c, r])
        value = tf.reduce_sum(render(c, r) * tf.constant(upstream, tf.float32))
    for actual, expected in zip(
        tape.gradient(value, [c, r]), loop_gradient(centers, radii, upstream)
    ):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, atol=GRADIENT_TOLERANCE * scale)


def test_numeric_jacobian_of_inner_pixels():
    # One sphere, pixels well inside; central differences of 0.5 mm have an error of order
    # step^2 / root^2 of the slope.
    c, r, step = np.array([[[3.0, -5.0, 10.0]]]), np.array([[40.0]]), 0.5
    rays = (np.arange(SIZE) + 0.5) * CUBE_MM / SIZE - CUBE_MM / 2
    distance = np.hypot(rays[None, :] - 3.0, rays[:, None] + 5.0)
    inner = (distance < 25.0).astype(np.float32)[None]
    center, radius = tf.constant(c, tf.float32), tf.constant(r, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([center, radius])
        value = tf.reduce_sum(render(center, radius) * inner)
    d_center, d_radius = tape.gradient(value, [center, radius])
    for axis in range(4):
        move, grow = np.zeros([1, 1, 3]), np.zeros([1, 1])
        if axis < 3:
            move[..., axis] = step
        else:
            grow[...] = step
        after = np.sum(render(c + move, r + grow) * inner)
        before = np.sum(render(c - move, r - grow) * inner)
        actual = d_center[0, 0, axis] if axis < 3 else d_radius[0, 0]
        np.testing.assert_allclose(actual, (after - before) / (2 * step), rtol=1e-2, atol=2e-2)


def test_sphere_on_the_axis_is_nearest_at_its_center():
    # An odd size has a pixel on the axis: its depth is z - r.
    depth = render([[[0.0, 0.0, 20.0]]], [15.0], 25)
    np.testing.assert_allclose(depth[0, 12, 12], 5.0, atol=1e-4)


def test_columns_are_x_and_rows_are_y_with_the_half_pixel():
    # Pixel (row 2, column 20) of 24: x = 20.5 * 12.5 - 150, y = 2.5 * 12.5 - 150.
    depth = render([[[106.25, -118.75, 0.0]]], [6.0]).numpy()[0]
    assert list(np.argwhere(depth < CUBE_MM / 2)[0]) == [2, 20]
    np.testing.assert_allclose(depth[2, 20], -6.0, atol=1e-4)


def test_surfaces_behind_the_far_plane_are_background():
    depth = render([[[0.0, 0.0, 200.0], [60.0, 0.0, 4000.0], [0.0, 60.0, 165.0]]], [30.0] * 3)
    expected, _, _ = loop_render(
        np.array([[[0.0, 0.0, 200.0], [60.0, 0.0, 4000.0], [0.0, 60.0, 165.0]]]), [[30.0] * 3]
    )
    np.testing.assert_allclose(depth, expected, atol=DEPTH_TOLERANCE_MM)
    assert np.max(depth) == CUBE_MM / 2


def test_spheres_far_in_front_are_drawn_exactly():
    depth = render([[[0.0, 0.0, -5000.0], [0.0, 0.0, 0.0]]], [15.0, 14.0], 25)
    np.testing.assert_allclose(depth[0, 12, 12], -5015.0, atol=1e-3)


def test_resolution_sorts_surfaces_a_thousandth_apart():
    below = render([[[0.0, 0.0, 100.0], [0.0, 0.0, 99.999]]], [15.0, 15.0], 25)
    np.testing.assert_allclose(below[0, 12, 12], 84.999, atol=1e-4)


def test_gradient_goes_to_the_winner_only():
    c = tf.constant([[[0.0, 0.0, 0.0], [0.0, 0.0, 40.0]]])
    r = tf.constant([30.0, 29.0])
    with tf.GradientTape() as tape:
        tape.watch([c, r])
        value = tf.reduce_sum(render(c, r))
    d_center, d_radius = tape.gradient(value, [c, r])
    assert d_center[0, 0, 2] > 1.0 and d_radius[0] < -1.0
    assert np.all(d_center[0, 1].numpy() == 0.0) and d_radius[1] == 0.0


def test_gradient_is_finite_and_bounded_on_silhouettes():
    # The ray of pixel 12 of 25 touches the sphere: q = 0.
    c = tf.constant([[[15.0, 0.0, 0.0]]])
    with tf.GradientTape() as tape:
        tape.watch(c)
        depth = render(c, [15.0], 25)[0, 12, 12]
    gradient = tape.gradient(depth, c).numpy()[0, 0]
    np.testing.assert_allclose(gradient, [15.0 / spheres.MIN_HALF_CHORD_MM, 0.0, 1.0], atol=1e-4)


def test_order_of_spheres_does_not_matter(rng):
    centers, radii = random_spheres(rng, 2, 6)
    order = rng.permutation(6)
    np.testing.assert_array_equal(
        render(centers, radii), render(centers[:, order], radii[:, order])
    )


def test_shared_radii_equal_repeated_radii_and_sum_their_gradients(rng):
    centers, radii = random_spheres(rng, 2, 6)
    shared = tf.constant(radii[0], tf.float32)
    repeated = tf.tile(shared[tf.newaxis], [2, 1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([shared, repeated])
        one, other = render(centers, shared), render(centers, repeated)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        tape.gradient(one, shared), tf.reduce_sum(tape.gradient(other, repeated), 0), rtol=1e-5
    )


def test_samples_are_independent(rng):
    centers, radii = random_spheres(rng, 2, 6)
    moved = centers.copy()
    moved[1] += 10.0
    first, second = render(centers, radii), render(moved, radii)
    np.testing.assert_array_equal(first[0], second[0])
    assert np.any(first[1] != second[1])


@pytest.mark.parametrize("stride", [2, 5])
def test_stride_draws_every_stride_th_row_and_column(rng, stride):
    centers, radii = random_spheres(rng, 2, 6)
    full = render(centers, radii).numpy()
    strided = render(centers, radii, stride=stride)
    expected = full[:, stride // 2 :: stride, stride // 2 :: stride]
    # Different programs may contract multiply and add differently.
    np.testing.assert_allclose(strided, expected, atol=DEPTH_TOLERANCE_MM)


def test_nan_sphere_is_not_drawn(rng):
    centers, radii = random_spheres(rng, 1, 6)
    broken = centers.copy()
    broken[0, 0, 2] = np.nan
    np.testing.assert_allclose(
        render(broken, radii), render(centers[:, 1:], radii[:, 1:]), atol=DEPTH_TOLERANCE_MM
    )


def test_graph_with_unknown_batch_equals_eager(rng):
    centers, radii = random_spheres(rng, 2, 6)

    def loss_and_gradient(c):
        with tf.GradientTape() as tape:
            tape.watch(c)
            value = tf.reduce_sum(render(c, radii[0]))
        return value, tape.gradient(value, c)

    graph = tf.function(
        loss_and_gradient,
        input_signature=[tf.TensorSpec([None, 6, 3], tf.float32)],
        autograph=False,
    )
    for batch in (1, 2):
        c = tf.constant(centers[:batch], tf.float32)
        for actual, expected in zip(graph(c), loss_and_gradient(c)):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


def test_compiles_inside_another_xla_program(rng):
    centers, radii = random_spheres(rng, 2, 6)

    @tf.function(jit_compile=True, autograph=False)
    def gradient(c):
        with tf.GradientTape() as tape:
            tape.watch(c)
            value = tf.reduce_sum(render(c, radii))
        return tape.gradient(value, c)

    expected, _ = loop_gradient(centers, radii, np.ones([2, SIZE, SIZE]))
    np.testing.assert_allclose(
        gradient(tf.constant(centers, tf.float32)),
        expected,
        atol=GRADIENT_TOLERANCE * np.abs(expected).max(),
    )


def test_two_replicas_equal_one(rng, replicas):
    centers, radii = random_spheres(rng, 4, 6)
    strategy = replicas(2)

    def value_and_gradient(c):
        with tf.GradientTape() as tape:
            tape.watch(c)
            value = tf.reduce_sum(render(c, radii[0]))
        return value, tape.gradient(value, c)

    @tf.function(autograph=False)
    def run(first, second):
        def replica():
            context = tf.distribute.get_replica_context()
            index = context.replica_id_in_sync_group
            return value_and_gradient(tf.where(tf.equal(index, 0), first, second))

        return strategy.run(replica)

    c = tf.constant(centers, tf.float32)
    values, gradients = run(c[:2], c[2:])
    halves = [value_and_gradient(half) for half in (c[:2], c[2:])]
    total = sum(strategy.experimental_local_results(values))
    np.testing.assert_allclose(total, halves[0][0] + halves[1][0], rtol=1e-5)
    gradient = np.concatenate(strategy.experimental_local_results(gradients))
    expected = np.concatenate([half[1] for half in halves])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("centers_shape", "radii_shape", "message"),
    [
        ([5, 3], [5], "sphere centers"),
        ([2, 5, 2], [5], "sphere centers"),
        ([2, 0, 3], [0], "sphere centers"),
        ([2, 5, 3], [4], "radii"),
        ([2, 5, 3], [3, 5], "radii"),
        ([2, 5, 3], [2, 5, 1], "radii"),
    ],
)
def test_wrong_shapes_are_rejected(centers_shape, radii_shape, message):
    with pytest.raises(ValueError, match=message):
        render(np.zeros(centers_shape), np.ones(radii_shape))


def test_wrong_sizes_are_rejected():
    for image_size, cube_mm, stride in [(0, 300.0, 1), (8, -1.0, 1), (8, 300.0, 0), (8, 300.0, 9)]:
        with pytest.raises(ValueError):
            spheres.render_depth(
                np.zeros([1, 1, 3]), [1.0], image_size=image_size, cube_mm=cube_mm, stride=stride
            )
