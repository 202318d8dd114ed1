"""Motion of crops: images and points move alike, and come back."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.data import augmentation
from tfhand.geometry import crop
from tfhand.rendering import spheres

SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)
STILL = augmentation.AugmentationConfig(rotation_deg=30.0, translation_mm=8.0, dropout=0.0)
FLOAT_MM = 1e-3


@pytest.fixture
def rng():
    return tf.random.Generator.from_seed(3)


def moved(motion, points_mm):
    turned = tf.matmul(points_mm, motion.rotation, transpose_b=True)
    return motion.scale[:, None, None] * turned + motion.translation_mm[:, None]


def render(centers_mm, radii_mm):
    return spheres.render_depth(
        centers_mm, radii_mm, image_size=SPEC.image_size, cube_mm=SPEC.cube_mm
    )


def test_undo_is_the_inverse(rng):
    motion = augmentation.sample_motion(rng, 5, STILL)
    points = rng.normal([5, 41, 3], 0.0, 50.0)
    back = augmentation.undo(motion, moved(motion, points))
    np.testing.assert_allclose(back, points, atol=FLOAT_MM)


def test_motion_has_the_asked_spread(rng):
    motion = augmentation.sample_motion(rng, 4000, STILL)
    turn = np.degrees(np.arctan2(motion.rotation[:, 1, 0], motion.rotation[:, 0, 0]))
    # 4000 draws: the standard deviation is known to about 1 %, three of those.
    np.testing.assert_allclose(turn.std(), 30.0, rtol=0.04)
    np.testing.assert_allclose(np.std(motion.translation_mm, axis=0), [8.0] * 3, rtol=0.04)
    np.testing.assert_array_equal(motion.rotation[:, 2], np.tile([0.0, 0.0, 1.0], (4000, 1)))
    # A normal distribution cut off at two standard deviations keeps 0.88 of its spread.
    np.testing.assert_allclose(np.log(motion.scale).std(), 0.88 * 0.06, rtol=0.04)
    assert np.abs(np.log(motion.scale)).max() <= 2 * 0.06 + 1e-6


def test_depth_moves_with_the_points(rng):
    centers = tf.constant([[[-40.0, 20.0, -10.0], [35.0, -30.0, 25.0], [10.0, 50.0, 0.0]]] * 6)
    radii = tf.constant([24.0, 18.0, 14.0])
    motion = augmentation.sample_motion(rng, 6, STILL)
    result = augmentation.apply(motion, render(centers, radii), SPEC, rng, STILL).numpy()
    expected = render(moved(motion, centers), motion.scale[:, None] * radii).numpy()
    surface, wanted = result < 149.0, expected < 149.0
    # Nearest pixels are taken, so outlines differ by up to a pixel: a tenth of these discs.
    assert (surface != wanted).sum() < 0.12 * wanted.sum()
    both = surface & wanted
    difference = np.abs(result - expected)[both]
    # Half a pixel (2.3 mm) sideways on a sphere; steep only near the outline.
    assert np.median(difference) < 1.5
    assert np.abs(np.mean((result - expected)[both])) < 0.3
    # Without the motion they differ by far more.
    assert (render(centers, radii).numpy() < 149.0)[wanted].mean() < 0.8


def test_no_motion_changes_nothing(rng):
    config = augmentation.AugmentationConfig(
        rotation_deg=0.0, translation_mm=0.0, log_scale=0.0, dropout=0.0
    )
    depth = render(tf.constant([[[0.0, 10.0, -20.0]]]), tf.constant([60.0]))
    motion = augmentation.sample_motion(rng, 1, config)
    result = augmentation.apply(motion, depth, SPEC, rng, config)
    np.testing.assert_allclose(result, depth, atol=FLOAT_MM)


def test_what_leaves_the_cube_is_background(rng):
    plane = tf.fill([2, 64, 64], 140.0)
    shift = tf.constant([[0.0, 0.0, 20.0], [150.0, 0.0, 0.0]])
    motion = augmentation.CropMotion(tf.eye(3, batch_shape=[2]), tf.ones([2]), shift)
    config = augmentation.AugmentationConfig(dropout=0.0)
    result = augmentation.apply(motion, plane, SPEC, rng, config).numpy()
    np.testing.assert_array_equal(result[0], np.full([64, 64], 150.0))
    np.testing.assert_array_equal(result[1, :, :32], np.full([64, 32], 150.0))
    np.testing.assert_array_equal(result[1, :, 32:], np.full([64, 32], 140.0))


def test_dropout_removes_up_to_its_share(rng):
    config = augmentation.AugmentationConfig(
        rotation_deg=0.0, translation_mm=0.0, log_scale=0.0, dropout=0.4
    )
    motion = augmentation.sample_motion(rng, 50, config)
    result = augmentation.apply(motion, tf.zeros([50, 64, 64]), SPEC, rng, config).numpy()
    missing = (result == 150.0).mean(axis=(1, 2))
    assert 0.3 < missing.max() < 0.42
    assert missing.min() < 0.1
    assert set(np.unique(result)) == {0.0, 150.0}
