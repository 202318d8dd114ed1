"""The pose network: decoding, shapes, independence, gradients, and saving without this package."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.models import pose_network
from tfhand.models.pose_network import PoseNetworkConfig
from tfhand.rendering import heatmaps as target

SMALL = {"features": 16, "growth": 4, "depth": 1}
VARIANTS = [
    {},
    {"normalization": "group"},
    {"normalization": "batch"},
    {"block": "bottleneck"},
    {"decoder": "normalized"},
    {"num_stacks": 2},
    {"depth": 2},
    {"image_size": 32, "heatmap_size": 8, "growth": 0},
]
# The same float32 operations in another order or on another batch size, in mm.
FLOAT_TOLERANCE_MM = 2e-3
FLOAT_TOLERANCE_RELATIVE = 1e-5


def _build(**fields):
    return pose_network.build_pose_network(PoseNetworkConfig(**{**SMALL, **fields}))


def _perturb(network, rng, scale=0.1):
    """Moves every weight, since the last convolution of each residual unit starts at zero."""
    for variable in network.weights:
        value = variable.numpy() + scale * rng.standard_normal(variable.shape)
        variable.assign(np.abs(value) if variable.name == "moving_variance" else value)
    return network


def _crops(rng, batch, size=64):
    return rng.uniform(-1, 1, (batch, size, size, 1)).astype(np.float32)


@pytest.mark.parametrize("fields", VARIANTS)
def test_outputs_and_finite_gradients(rng, fields):
    config = PoseNetworkConfig(**{**SMALL, **fields})
    network = _perturb(pose_network.build_pose_network(config), rng)
    stacks, cells, spheres = config.num_stacks, config.heatmap_size, config.num_spheres

    with tf.GradientTape() as tape:
        outputs = network(_crops(rng, 2, config.image_size), training=True)
        loss = tf.reduce_mean(tf.square(outputs["stack_spheres_mm"]))
    gradients = tape.gradient(loss, network.trainable_variables)
    shapes = {
        "spheres_mm": (2, spheres, 3),
        "spread_mm": (2, spheres),
        "heatmaps": (2, stacks, cells, cells, spheres),
        "latent_depth_mm": (2, stacks, cells, cells, spheres),
        "stack_spheres_mm": (2, stacks, spheres, 3),
    }
    assert {name: tuple(value.shape) for name, value in outputs.items()} == shapes
    assert all(value.dtype == tf.float32 for value in outputs.values())
    np.testing.assert_array_equal(outputs["spheres_mm"], outputs["stack_spheres_mm"][:, -1])
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.all(np.isfinite(gradient)), variable.path
        # With a normalization the bias before it may have none.
        if config.normalization == "none":
            assert np.any(gradient.numpy() != 0), variable.path


@pytest.mark.parametrize("decoder", pose_network.DECODERS)
def test_points_are_the_integrals_of_the_maps(rng, decoder):
    """Equations 1 and 2 from the returned maps, in float64, cell by cell."""
    config = PoseNetworkConfig(**SMALL, decoder=decoder, num_stacks=2)
    network = _perturb(pose_network.build_pose_network(config), rng, scale=0.15)
    outputs = {k: v.numpy().astype(np.float64) for k, v in network(_crops(rng, 2)).items()}
    cells_mm = (np.arange(16) + 0.5) * 300 / 16 - 150
    for b, k, n in np.ndindex(2, 2, 41):
        heatmap = outputs["heatmaps"][b, k, :, :, n]
        weights = np.maximum(heatmap, 0) + 1e-6
        if decoder == "softmax":
            weights = np.exp(10 * (heatmap - heatmap.max()))
        weights /= weights.sum()
        x = np.sum(weights * cells_mm[np.newaxis, :])
        y = np.sum(weights * cells_mm[:, np.newaxis])
        z = np.sum(weights * outputs["latent_depth_mm"][b, k, :, :, n])
        np.testing.assert_allclose(
            outputs["stack_spheres_mm"][b, k, n],
            [x, y, z],
            rtol=FLOAT_TOLERANCE_RELATIVE,
            atol=FLOAT_TOLERANCE_MM,
        )
        if k == 1:
            variance = np.sum(
                weights * ((cells_mm[np.newaxis, :] - x) ** 2 + (cells_mm[:, np.newaxis] - y) ** 2)
            )
            # The epsilon under the root, in half cubes, is 0.15 mm.
            expected = np.sqrt(variance + 0.15**2)
            np.testing.assert_allclose(outputs["spread_mm"][b, n], expected, atol=0.05)


@pytest.mark.parametrize(
    ("decoder", "alpha", "tolerance_mm"),
    # Measured for perfect heatmaps of one cell: the softmax also weighs the 250 empty cells.
    [("softmax", 10.0, 3.5), ("normalized", 10.0, 0.4)],
)
def test_decoding_perfect_maps_gives_the_spheres(rng, decoder, alpha, tolerance_mm):
    config = PoseNetworkConfig(decoder=decoder, alpha=alpha)
    spheres_mm = rng.uniform(-85, 85, (4, 41, 3)).astype(np.float32)
    heatmap = target.target_heatmaps(spheres_mm, 16, 300.0)
    latent_depth = tf.where(heatmap > 0, spheres_mm[:, np.newaxis, np.newaxis, :, 2], 0.0)
    decoded, _ = pose_network._decode(heatmap, latent_depth / 150.0, config)
    error_mm = np.abs(150.0 * decoded.numpy()[..., :2] - spheres_mm[..., :2])
    assert error_mm.mean() < tolerance_mm
    # Any shift by half a cell, 9.4 mm, would show in the mean over spheres on both sides.
    shift_mm = (150.0 * decoded.numpy()[..., :2] - spheres_mm[..., :2]).mean(axis=(0, 1))
    np.testing.assert_allclose(shift_mm, 0.0, atol=0.7)


@pytest.mark.parametrize("normalization", ["none", "group", "batch"])
def test_samples_do_not_depend_on_each_other(rng, normalization):
    network = _perturb(_build(normalization=normalization), rng)
    crops = _crops(rng, 3)
    first = network(crops, training=False)["spheres_mm"].numpy()
    changed = np.concatenate([crops[:1], _crops(rng, 2)])
    second = network(changed, training=False)["spheres_mm"].numpy()
    np.testing.assert_allclose(first[0], second[0], atol=FLOAT_TOLERANCE_MM)
    assert np.max(np.abs(first[1] - second[1])) > 0.01


@pytest.mark.parametrize("normalization", ["none", "group"])
def test_training_flag_changes_nothing_without_batch_statistics(rng, normalization):
    network = _perturb(_build(normalization=normalization), rng)
    crops = _crops(rng, 2)
    np.testing.assert_array_equal(
        network(crops, training=True)["spheres_mm"], network(crops, training=False)["spheres_mm"]
    )


def test_group_normalization_equals_the_keras_layer(rng):
    from tfhand.models import hourglass

    inputs = keras.Input((5, 4, 32))
    model = keras.Model(inputs, hourglass._group_normalize(inputs, "norm"))
    reference = keras.layers.GroupNormalization(2, epsilon=1e-5)
    gamma, beta = rng.standard_normal((2, 32)).astype(np.float32)
    reference.build((None, 5, 4, 32))
    reference.set_weights([gamma, beta])
    # The scale enters the shift as well; its own kernel stays at one.
    model.set_weights([gamma, np.ones(32), beta])
    x = (3 + 2 * rng.standard_normal((2, 5, 4, 32))).astype(np.float32)
    # One-pass moments of values around 3 in float32.
    np.testing.assert_allclose(model(x), reference(x), atol=1e-4)


def test_inference_network_shares_weights(rng):
    network = _perturb(_build(num_stacks=2), rng)
    inference = pose_network.build_inference_network(network)
    crops = _crops(rng, 2)
    before = inference(crops)
    assert set(before) == {"spheres_mm", "spread_mm"}
    np.testing.assert_array_equal(before["spheres_mm"], network(crops)["spheres_mm"])
    _perturb(network, rng)
    np.testing.assert_array_equal(inference(crops)["spheres_mm"], network(crops)["spheres_mm"])


@pytest.mark.parametrize("fields", [{}, {"num_stacks": 2, "decoder": "normalized"}])
def test_mixed_precision_keeps_maps_and_coordinates_in_float32(rng, fields):
    network = _perturb(_build(**fields), rng, scale=0.05)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = _build(**fields)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(network.get_weights())
    crops = _crops(rng, 2)
    outputs, expected = mixed(crops), network(crops)
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    assert {layer.compute_dtype for layer in mixed.layers} == {"float32", "bfloat16"}
    # bfloat16 has 8 bits; coordinates in it would be off by up to 0.5 mm from rounding alone.
    difference = np.abs(outputs["spheres_mm"] - expected["spheres_mm"])
    assert 0.0 < difference.mean() < 0.5
    # A coordinate in millimeters has more digits than bfloat16 could hold.
    rounded = tf.cast(tf.cast(outputs["spheres_mm"], tf.bfloat16), tf.float32)
    assert np.mean(rounded == outputs["spheres_mm"]) < 0.1


@pytest.mark.parametrize("fields", VARIANTS)
def test_inference_network_has_built_in_layers_only(fields):
    inference = pose_network.build_inference_network(_build(**fields))
    modules = {type(layer).__module__.split(".")[0] for layer in inference.layers}
    assert modules == {"keras"}
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in inference.layers)


@pytest.mark.parametrize("fields", [{}, {"decoder": "normalized"}])
def test_learns_one_batch(rng, fields):
    network = _build(image_size=32, heatmap_size=8, **fields)
    crops = tf.constant(_crops(rng, 4, 32))
    truth_mm = tf.constant(rng.uniform(-60, 60, (4, 41, 3)), tf.float32)
    optimizer = keras.optimizers.Adam(5e-3)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            error = tf.abs(network(crops, training=True)["spheres_mm"] - truth_mm)
            loss = tf.reduce_mean(error)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    optimizer.build(network.trainable_variables)
    first = step().numpy()
    for _ in range(59):
        last = step().numpy()
    # About 30 mm before; noise images with random labels are learned by heart.
    assert last < 0.5 * first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heatmap_size": 8}, "image_size of 4 times"),
        ({"depth": 5}, "divisible by"),
        ({"decoder": "argmax"}, "softmax, normalized.*argmax"),
        ({"normalization": "layer"}, "normalization"),
        ({"block": "dense"}, "block"),
        ({"features": 7}, "features"),
        ({"growth": -2}, "growth"),
        ({"num_stacks": 0}, "num_stacks"),
        ({"alpha": 0.0}, "alpha"),
    ],
)
def test_rejects_bad_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        PoseNetworkConfig(**fields)
