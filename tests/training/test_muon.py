"""Updates of Muon are orthogonal, of the size of Adam's, and Adam's own for everything else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.training import muon


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (16, 16)])
def test_singular_values_become_about_one(shape):
    matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    result = muon.orthogonalize(tf.constant(matrix)).numpy()
    # Same singular vectors: diagonal in their basis.
    inner = left.T @ result @ right.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-3)
    assert np.all((np.diag(inner) > 0.65) & (np.diag(inner) < 1.25))


def test_kernels_move_orthogonally_and_the_rest_as_with_adam():
    random = np.random.default_rng(2)
    shapes = {"kernel": (3, 3, 32, 48), "first": (5, 5, 1, 32), "bias": (48,)}
    start = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    gradients = [
        [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes.values()]
        for _ in range(3)
    ]

    def train(optimizer):
        variables = [keras.Variable(value, name=name) for name, value in start.items()]
        for values in gradients:
            optimizer.apply(values, variables)
        return {v.name: v.numpy() for v in variables}

    ours = train(muon.Muon(0.01, least_channels=32))
    adam = train(keras.optimizers.Adam(0.01))
    for name in ("first", "bias"):
        # Keras scales epsilon with the step.
        np.testing.assert_allclose(ours[name], adam[name], atol=2e-5)
    momentum, expected = 0.0, start["kernel"].reshape(-1, 48).astype(np.float64)
    for kernel_gradient, *_ in gradients:
        gradient = kernel_gradient.numpy().reshape(-1, 48).astype(np.float64)
        momentum = 0.95 * momentum + gradient
        left, _, right = np.linalg.svd(gradient + 0.95 * momentum, full_matrices=False)
        expected = expected - 0.01 * 0.2 * np.sqrt(288) * (left @ right)
    moved = ours["kernel"].reshape(-1, 48)
    # Singular values of an update are about 1, between 0.7 and 1.2.
    assert np.linalg.norm(moved - expected) < 0.25 * np.linalg.norm(
        expected - start["kernel"].reshape(-1, 48)
    )


def test_a_copy_has_the_same_settings():
    optimizer = muon.Muon(0.01, momentum=0.9, exclude=("maps",), weight_decay=1e-4)
    copy = muon.Muon.from_config(optimizer.get_config())
    assert copy.get_config() == optimizer.get_config()
