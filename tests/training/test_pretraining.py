"""What is kept of a run, what is done again, and what is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.runs import workdir as workdirs
from tfhand.training import optimization, options, pretraining

SPEC = crop.CropSpec(image_size=32, cube_mm=300.0)


@pytest.fixture
def context(tmp_path):
    return make_context(workdirs.Workdir(tmp_path / "run"))


def make_context(workdir, seed=2):
    run_options = options.RunOptions()
    return optimization.RunContext(workdir, tf.distribute.get_strategy(), SPEC, seed, run_options)


def test_the_trained_network_is_kept(context, monkeypatch):
    calls = []

    def fit(model, make_batch, steps, run):
        calls.append(steps)
        kernel = model.network.trainable_variables[0]
        kernel.assign(kernel + 1.0)

    monkeypatch.setattr(optimization, "fit", fit)
    network_options = options.NetworkOptions(image_size=32, features=8, growth=4, depth=1)

    def run(**changes):
        init = options.InitOptions(**({"steps": 7} | changes))
        return pretraining.train_network(context, network_options, init)

    first = run()
    again = run()
    assert calls == [7]
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="steps=7"):
        run(steps=8)


def test_mixed_precision_trains_and_is_served_in_float32(context, monkeypatch):
    # Synthetic samples have their own tests; compiling them takes long.
    batch = {"depth_mm": tf.random.normal([4, 32, 32]), "spheres_mm": tf.zeros([4, 41, 3])}
    monkeypatch.setattr(pretraining.batches, "synthetic_batches", lambda *_: lambda *_: batch)
    network_options = options.NetworkOptions(
        image_size=32, features=8, growth=4, depth=1, precision="mixed_bfloat16"
    )
    init = options.InitOptions(steps=3, batch=4)
    network = pretraining.train_network(context, network_options, init)
    assert {layer.compute_dtype for layer in network.layers} == {"bfloat16", "float32"}
    assert {variable.dtype for variable in network.variables} == {"float32"}
    untrained = pretraining.build_network(network_options)
    assert keras.config.dtype_policy().name == "float32"
    moved = [
        np.abs(a - b).max()
        for a, b in zip(network.get_weights(), untrained.get_weights(), strict=True)
    ]
    assert np.isfinite(moved).all() and max(moved) > 0.0

    served = pretraining.float32_copy(network, network_options)
    assert {layer.compute_dtype for layer in served.layers} == {"float32"}
    for a, b in zip(served.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    plain = dataclasses.replace(network_options, precision="float32")
    assert pretraining.float32_copy(served, plain) is served


def test_prior_is_trained_by_the_chief_alone(context):
    other = make_context(workdirs.Workdir(context.workdir.path, is_chief=False))
    with pytest.raises(ValueError, match="prior what the chief has made"):
        pretraining.train_prior(other, options.PriorOptions(steps=2))
    assert not list(context.workdir.path.iterdir())


def test_prior_is_kept(context):
    prior_options = options.PriorOptions(steps=2, batch=16)
    first = pretraining.train_prior(context, prior_options)
    marker = context.workdir.stage("prior") / "prior.weights.h5"
    written = marker.stat().st_mtime_ns
    again = pretraining.train_prior(context, prior_options)
    assert marker.stat().st_mtime_ns == written
    assert not again.trainable
    hands = tf.random.normal([3, 41, 3]) * 40.0
    np.testing.assert_allclose(
        first.negative_elbo(hands, sample=False), again.negative_elbo(hands, sample=False)
    )
    errors = json.loads((context.workdir.stage("prior") / "reconstruction.json").read_text())
    assert {"mean_latent_mm", "sampled_latent_mm", "sampled_latent_tips_mm"} < set(errors)
    with pytest.raises(ValueError, match="seed"):
        pretraining.train_prior(make_context(context.workdir, seed=3), prior_options)
