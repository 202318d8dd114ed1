"""Local coordinates: their inverse, their determinant, what a bend changes, degenerate fingers."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.hand import skeleton
from tfhand.models import local_frames

# Sums of a few float32 products of up to 200 mm.
FLOAT_TOLERANCE_MM = 1e-3
INDEX = skeleton.FINGER_SPHERES["INDEX"]


def _random_centers(count=16):
    """Spheres anywhere: nothing may depend on their being a hand."""
    return np.random.default_rng(1).uniform(-80.0, 80.0, [count, 41, 3]).astype(np.float32)


def _straight_centers():
    """A hand of straight fingers that point along y."""
    centers = _random_centers(1)[0]
    for chain in skeleton.FINGER_SPHERES.values():
        centers[chain] = centers[chain[0]] + np.outer(15.0 * np.arange(6), [0.0, 1.0, 0.0])
    return centers


def _straight_back(centers):
    for chain in skeleton.FINGER_SPHERES.values():
        centers[:, chain[2]] = centers[:, chain[0]] - [0.0, 30.0, 0.0]
    return centers


@pytest.mark.parametrize("change", [lambda x: x, _straight_back, lambda x: 0.0 * x])
def test_inverse(change):
    centers = change(_random_centers())
    local = local_frames.to_local(centers)
    np.testing.assert_allclose(local_frames.from_local(local), centers, atol=FLOAT_TOLERANCE_MM)
    bijector = local_frames.FromLocal()
    np.testing.assert_array_equal(bijector.inverse(tf.constant(centers)), local)


def test_determinant_is_one():
    local = tf.constant(_random_centers(4))
    with tf.GradientTape() as tape:
        tape.watch(local)
        centers = local_frames.from_local(local)
    jacobian = tf.reshape(tape.batch_jacobian(centers, local), [4, 123, 123])
    log_determinant = np.linalg.slogdet(jacobian.numpy().astype(np.float64))[1]
    np.testing.assert_allclose(log_determinant, 0.0, atol=1e-3)
    bijector = local_frames.FromLocal()
    assert bijector.forward_log_det_jacobian(local, event_ndims=2) == 0.0


@pytest.mark.parametrize("joint", [1, 2])
def test_a_bend_changes_the_bone_beyond_it_alone(joint):
    """A straight finger bends at its knuckle or its middle joint, without twist."""
    centers = _straight_centers()
    angle = np.radians(70.0)
    # About x and z only: such a rotation of y is the smallest one.
    axis = np.array([np.cos(0.4), 0.0, np.sin(0.4)])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    pivot = INDEX[2 * (joint - 1)]
    bent = centers.copy()
    outer = INDEX[2 * (joint - 1) :]
    bent[outer] = (centers[outer] - centers[pivot]) @ rotation.T + centers[pivot]
    difference = local_frames.to_local(bent) - local_frames.to_local(centers)
    changed = np.flatnonzero(np.abs(difference).max(axis=-1) > FLOAT_TOLERANCE_MM)
    # The end of the bone; what lies on it or beyond has kept its place in the bone's frame.
    assert changed.tolist() == [INDEX[2 * joint]]


def test_palm_and_roots_stay_as_they_are():
    centers = _random_centers()
    local = local_frames.to_local(centers).numpy()
    rigid = [*skeleton.PALM_SPHERES, *(c[0] for c in skeleton.FINGER_SPHERES.values())]
    np.testing.assert_array_equal(local[:, rigid], centers[:, rigid])


def test_frames_are_constants_of_the_gradient():
    """A pull at a tip's coordinates pulls the sphere before it the other way, and no other."""
    centers = tf.constant(_random_centers(1))
    with tf.GradientTape() as tape:
        tape.watch(centers)
        value = tf.reduce_sum(local_frames.to_local(centers)[0, INDEX[5]])
    gradient = tape.gradient(value, centers)[0].numpy()
    np.testing.assert_allclose(gradient[INDEX[5]], -gradient[INDEX[4]], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(gradient[INDEX[5]]), np.sqrt(3.0), rtol=1e-5)
    assert np.flatnonzero(np.abs(gradient).max(axis=-1)).tolist() == sorted(INDEX[4:])
