"""Means of estimates over turned crops."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.fitting.turned_crops import TurnedNetwork
from tfhand.geometry import crop

SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)


def nearest_point(normalized, training=False):
    """Estimates that all spheres are where the crop's nearest reading is."""
    depth_mm = normalized[..., 0] * SPEC.far_mm
    nearest = tf.argmin(tf.reshape(depth_mm, [len(depth_mm), -1]), axis=1)
    points_mm = tf.gather(crop.points_from_crop(depth_mm, SPEC), nearest, batch_dims=1)
    return {
        "spheres_mm": tf.tile(points_mm[:, None], [1, 41, 1]),
        "spread_mm": tf.tile(depth_mm[:, :1, 0], [1, 41]),
    }


def test_every_turn_sees_the_same_point():
    depth_mm = np.full([2, 64, 64], SPEC.far_mm, np.float32)
    rows, columns = np.mgrid[:64, :64]
    places = [(40, 12), (22, 45)]
    for image, (row, column) in zip(depth_mm, places, strict=True):
        distance = np.hypot(rows - row, columns - column)
        image[distance < 6] = -20.0 + distance[distance < 6]
    images = crop.normalize(depth_mm, SPEC.cube_mm)
    output = TurnedNetwork(nearest_point, SPEC.cube_mm)(images)
    for spheres_mm, (row, column) in zip(output["spheres_mm"].numpy(), places, strict=True):
        expected = [(column + 0.5) * SPEC.pixel_mm - 150, (row + 0.5) * SPEC.pixel_mm - 150, -20.0]
        # Of five nearest pixels, each within half a pixel of the turned one.
        np.testing.assert_allclose(spheres_mm, np.tile(expected, (41, 1)), atol=0.7 * SPEC.pixel_mm)
    # Of the crop as it is, whose corner shows background.
    np.testing.assert_allclose(output["spread_mm"], 150.0)


def test_a_mistake_that_does_not_turn_with_the_crop_shrinks():
    def off_to_the_right(normalized, training=False):
        spheres_mm = tf.tile(tf.constant([[[10.0, 0.0, 3.0]]]), [len(normalized), 41, 1])
        return {"spheres_mm": spheres_mm, "spread_mm": tf.ones([len(normalized), 41])}

    output = TurnedNetwork(off_to_the_right, SPEC.cube_mm)(tf.ones([3, 64, 64, 1]))
    mean_cosine = np.mean(np.cos(np.radians([0.0, 15.0, 15.0, 30.0, 30.0])))
    expected = np.tile([10.0 * mean_cosine, 0.0, 3.0], (3, 41, 1))
    np.testing.assert_allclose(output["spheres_mm"], expected, atol=1e-4)


def test_what_turns_in_is_background():
    seen = []

    def network(normalized, training=False):
        seen.append(normalized.numpy())
        return {"spheres_mm": tf.zeros([5, 41, 3]), "spread_mm": tf.zeros([5, 41])}

    TurnedNetwork(network, SPEC.cube_mm)(tf.fill([1, 64, 64, 1], -0.5))
    (images,) = seen
    assert (images[0] == -0.5).all()
    for image in images[1:]:
        assert image[0, 0] == 1.0 and image[32, 32] == -0.5


@pytest.mark.parametrize("shape", [(None, 64, 64, 1), None])
def test_it_takes_the_crops_that_the_network_takes(shape):
    def network(normalized):
        raise AssertionError

    if shape is not None:
        network.input_shape = shape
    assert TurnedNetwork(network, SPEC.cube_mm).input_shape == shape
