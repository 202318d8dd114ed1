import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import loss_weights
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres
from tfhand.losses import silhouette, terms
from tfhand.losses.observation import observe
from tfhand.rendering import spheres as rendering

CUBE_MM = 320.0
SIZE = 16  # pixels of 20 mm
SPEC = crop.CropSpec(SIZE, CUBE_MM)
FAR_MM = 160.0

# Interpolated distances of up to 300 mm in float32.
TOLERANCE_MM = 1e-3


def depth_with_block(batch=1, views=1):
    """Foreground in rows 6-8 and columns 4-9: x from -70 to 30 mm, y from -30 to 10 mm."""
    depth = np.full([batch, views, SIZE, SIZE], FAR_MM, np.float32)
    depth[..., 6:9, 4:10] = 10.0
    return depth


def of_pairs(projected, depth, clamp_mm=500.0, **settings):
    return silhouette.silhouette(projected, observe(depth, SPEC, clamp_mm=clamp_mm, **settings))


def term(points, depth=None, **kwargs):
    """The term of single spheres, one a sample."""
    points = tf.convert_to_tensor(points, tf.float32)[:, None, None, None]
    depth = depth_with_block(points.shape[0]) if depth is None else depth
    return of_pairs(points, depth, **kwargs)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ([-50.0, -10.0, 0.0], 0.0),  # on a foreground pixel
        ([-37.0, -3.0, 90.0], 0.0),  # between four of them, whatever the depth
        ([90.0, -10.0, 0.0], 60.0),  # three pixels right of column 9
        ([30.0, 90.0, 0.0], 80.0),  # four pixels below row 8
        ([90.0, 90.0, 0.0], 100.0),  # 60 right, 80 below
        ([250.0, -10.0, 0.0], 220.0),  # 120 to the border pixel at 150, and 100 beyond it
        ([60.0, -10.0, 0.0], 30.0),  # between pixel centers
    ],
)
def test_distance_to_the_block(point, expected):
    np.testing.assert_allclose(term([point]), [expected], atol=TOLERANCE_MM)


def test_gradient_points_away_from_the_hand_in_the_image_plane():
    points = tf.constant([[95.0, -12.0, 5.0], [250.0, -12.0, 5.0], [-50.0, 95.0, 5.0]])
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = tf.reduce_sum(term(points))
    np.testing.assert_allclose(
        tape.gradient(value, points), [[1, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-4
    )


def test_clamp_ends_value_and_gradient():
    points = tf.constant([[250.0, -10.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = term(points, clamp_mm=50.0)
    np.testing.assert_allclose(value, [50.0])
    assert np.all(tape.gradient(value, points).numpy() == 0.0)


def test_numeric_jacobian_between_pixel_centers(rng):
    points = rng.uniform(-150.0, 150.0, size=[40, 3]).astype(np.float32)
    # Interpolation is smooth inside a cell: keep 2 mm from its borders.
    cell = (points[:, :2] + CUBE_MM / 2 - 10.0) % 20.0
    points = points[np.all((cell > 2.0) & (cell < 18.0), axis=1)]
    tensor, step = tf.constant(points), 0.5
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = term(tensor)
    gradient = tape.gradient(value, tensor)
    for axis in range(3):
        move = np.eye(3, dtype=np.float32)[axis] * step
        numeric = (term(points + move) - term(points - move)) / (2 * step)
        # Bilinear along an axis is linear: the difference is exact up to float32.
        np.testing.assert_allclose(gradient[:, axis], numeric, atol=1e-3)


def test_views_without_foreground_are_left_out():
    depth = depth_with_block(1, 2)
    depth[:, 1] = FAR_MM
    projected = tf.constant(np.full([1, 1, 2, 1, 3], [90.0, -10.0, 0.0], np.float32))

    @tf.function(autograph=False)
    def run(depth):
        with tf.GradientTape() as tape:
            tape.watch(projected)
            value = of_pairs(projected, depth)
        return value, tape.gradient(value, projected)

    np.testing.assert_allclose(run(depth)[0], [60.0], atol=TOLERANCE_MM)
    value, gradient = run(np.full_like(depth, FAR_MM))
    assert value[0] == 0.0 and np.all(gradient.numpy() == 0.0)


@pytest.mark.parametrize("view", [0, 1])
def test_every_view_counts_and_samples_are_independent(rng, view):
    depth = depth_with_block(2, 2)
    projected = rng.uniform(60.0, 120.0, size=[2, 2, 2, 3, 3]).astype(np.float32)
    base = of_pairs(projected, depth)
    moved, other = projected.copy(), depth.copy()
    moved[0, view] += 10.0
    other[0, view, 12, 12] = 0.0
    for arguments in ((moved, depth), (projected, other)):
        changed = of_pairs(*arguments)
        assert abs(changed[0] - base[0]) > 0.1
        assert changed[1] == base[1]


def test_pair_weights_choose_pairs():
    depth = depth_with_block(1, 2)
    projected = np.zeros([1, 2, 2, 1, 3], np.float32)
    projected[0, :, :, 0] = [[[90, -10, 0], [110, -10, 0]], [[130, -10, 0], [150, -10, 0]]]
    value = of_pairs(projected, depth, pair_weights=np.eye(2)[None])
    np.testing.assert_allclose(value, [(60.0 + 120.0) / 2], atol=TOLERANCE_MM)


def test_every_sphere_of_a_finger_beside_the_hand_has_a_gradient():
    """Which equations 5 and 9 do not give: the spheres cover background, others are nearer."""
    hand = spheres.load().centers_mm.astype(np.float32)
    beside, spec = (hand - hand.mean(axis=0))[None, None], crop.CropSpec(64, 300.0)
    finger = skeleton.FINGER_SPHERES["THUMB"]
    # The camera sees nothing of the thumb: it is behind the palm.
    beside[..., finger, :] = [0.0, -30.0, 40.0]
    dense, radii = spheres.dense_spheres(beside[0], tf.constant(spheres.load().radii_mm))
    drawn = rendering.render_depth(dense, radii, image_size=64, cube_mm=300.0)
    beside[..., finger, :] = [80.0, -30.0, 0.0]
    inputs = terms.TermInputs(
        tf.constant(beside), tf.eye(4, batch_shape=[1, 1]), tf.ones([1]), observe(drawn[None], spec)
    )
    weights = loss_weights.only(model_to_data=1.0, data_to_model=0.5)
    without = share_with_gradient(inputs, weights, finger)
    with_term = share_with_gradient(inputs, dataclasses.replace(weights, silhouette=0.5), finger)
    assert without < 0.5 and with_term == 1.0


def share_with_gradient(inputs, weights, chosen):
    with tf.GradientTape() as tape:
        tape.watch(inputs.spheres_mm)
        moved = dataclasses.replace(inputs)
        total, _ = terms.weighted_sum(moved, weights)
    length = tf.norm(tape.gradient(total, inputs.spheres_mm), axis=-1).numpy()
    return np.mean(length[..., chosen] > 1e-4)
