"""Residuals of fingers: nothing where the hand is right, and the wrong finger by name."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfhand.fitting import part_residuals
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres
from tfhand.losses.observation import observe
from tfhand.rendering import spheres as rendering

SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)
CLAMP_MM = 40.0
# The depth maps are drawn from the spheres that are compared with them.
ROUND_OFF_MM = 0.01


@pytest.fixture(scope="module")
def hand():
    """The hand at rest, seen from its front and from its side, and its depth maps."""
    model = spheres.load()
    centers = tf.constant(model.centers_mm - model.centers_mm.mean(axis=0), tf.float32)
    turns = rigid.rotation_from_axis_angle(tf.constant([[0.0, 0.0, 0.0], [0.0, 0.9, 0.0]]))
    in_views = tf.einsum("vij,nj->vni", turns, centers)[None]
    radii = tf.constant(model.radii_mm)[None]
    dense, dense_radii = spheres.dense_spheres(in_views[0], radii)
    depth = rendering.render_depth(
        dense, tf.tile(dense_radii, [2, 1]), image_size=64, cube_mm=SPEC.cube_mm
    )
    return in_views, radii, depth[None]


def measure(in_views, radii, depth, is_hand=True):
    observation = observe(depth, SPEC, clamp_mm=CLAMP_MM)
    observation = dataclasses.replace(observation, is_hand=observation.is_hand & is_hand)
    residuals = part_residuals.part_residuals(in_views, radii, observation, margin_mm=0.0)
    return [value.numpy()[0] for value in residuals]


def test_every_sphere_belongs_to_a_part():
    counts = np.bincount(part_residuals.PART_OF_SPHERE)
    np.testing.assert_array_equal(counts, [11, 6, 6, 6, 6, 6])


def test_nothing_where_the_hand_is_right(hand):
    residual, pixels = measure(*hand)
    assert residual.max() < ROUND_OFF_MM
    # Pixels of both views, each of one part.
    covered = crop.foreground_mask(hand[2], SPEC.cube_mm).numpy().sum()
    assert pixels.sum() == covered and (pixels > 20).all()


@pytest.mark.parametrize("finger", skeleton.FINGERS)
def test_the_wrong_finger_is_named(hand, finger):
    in_views, radii, depth = hand
    moved = in_views.numpy()
    # Toward the first camera, beyond the knuckle.
    moved[:, :, list(skeleton.FINGER_SPHERES[finger][2:]), 2] -= 25.0
    residual, _ = measure(tf.constant(moved), radii, depth)
    place = part_residuals.PARTS.index(finger)
    assert residual.argmax() == place
    assert residual[place] > 2.0 * np.delete(residual, place).max()


def test_the_clamp_is_the_most(hand):
    in_views, radii, depth = hand
    residual, _ = measure(in_views, radii, tf.fill(depth.shape, SPEC.far_mm))
    np.testing.assert_allclose(residual, CLAMP_MM, rtol=1e-5)


def test_points_that_no_hand_explains_do_not_count(hand):
    in_views, radii, depth = hand
    with_arm = depth.numpy()
    with_arm[:, :, -6:] = 0.0
    everything, _ = measure(in_views, radii, tf.constant(with_arm))
    rows = np.tile(np.arange(64)[:, None] < 58, (1, 64))
    left_out, _ = measure(in_views, radii, tf.constant(with_arm), rows)
    assert everything.max() > left_out.max() + 1.0


def test_nothing_drawn_and_nothing_seen_is_finite(hand):
    in_views, radii, depth = hand
    empty = tf.fill(depth.shape, SPEC.far_mm)
    residual, pixels = measure(in_views + 1000.0, radii, empty)
    np.testing.assert_array_equal(residual, 0.0)
    np.testing.assert_array_equal(pixels, 0.0)
