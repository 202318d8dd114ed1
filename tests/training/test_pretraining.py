"""What is kept of a run, what is done again, and what is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.runs import workdir as workdirs
from tfhand.training import loop, options, pretraining

SPEC = crop.CropSpec(image_size=32, cube_mm=300.0)


@pytest.fixture
def workdir(tmp_path):
    return workdirs.Workdir(tmp_path / "run")


def test_batches_are_shared_evenly():
    loop.check_batches(2, tune_batch=10, init_batch=72)
    with pytest.raises(ValueError, match=r"--tune_batch.*multiple of the 4 devices, found 10"):
        loop.check_batches(4, tune_batch=10)


def test_initialize_is_kept(workdir, monkeypatch):
    calls = []

    def fit(model, make_batch, steps, folder, name, run):
        calls.append(steps)
        kernel = model.network.trainable_variables[0]
        kernel.assign(kernel + 1.0)

    monkeypatch.setattr(loop, "fit", fit)
    network_options = options.NetworkOptions(image_size=32, features=8, growth=4, depth=1)

    def run(**changes):
        init = options.InitOptions(**({"steps": 7} | changes))
        strategy = tf.distribute.get_strategy()
        return pretraining.initialize(
            workdir, strategy, network_options, init, 2, options.RunOptions()
        )

    first = run()
    again = run()
    assert calls == [7]
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="steps=7"):
        run(steps=8)


def test_mixed_precision_trains_and_is_served_in_float32(workdir):
    network_options = options.NetworkOptions(
        image_size=32, features=8, growth=4, depth=1, precision="mixed_bfloat16"
    )
    init = options.InitOptions(steps=3, batch=4)
    strategy = tf.distribute.get_strategy()
    network = pretraining.initialize(
        workdir, strategy, network_options, init, 2, options.RunOptions()
    )
    assert {layer.compute_dtype for layer in network.layers} == {"bfloat16", "float32"}
    assert {variable.dtype for variable in network.variables} == {"float32"}
    untrained = pretraining.build_network(network_options)
    assert keras.config.dtype_policy().name == "float32"
    moved = [
        np.abs(a - b).max()
        for a, b in zip(network.get_weights(), untrained.get_weights(), strict=True)
    ]
    assert np.isfinite(moved).all() and max(moved) > 0.0

    served = pretraining.in_float32(network, network_options)
    assert {layer.compute_dtype for layer in served.layers} == {"float32"}
    for a, b in zip(served.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    plain = dataclasses.replace(network_options, precision="float32")
    assert pretraining.in_float32(served, plain) is served


def test_prior_is_trained_by_the_chief_alone(workdir):
    other = workdirs.Workdir(workdir.path, writes=False)
    with pytest.raises(ValueError, match="prior what the chief has made"):
        pretraining.train_prior(other, options.PriorOptions(steps=2), 1, options.RunOptions())
    assert not list(workdir.path.iterdir())


def test_prior_is_kept(workdir):
    prior_options = options.PriorOptions(steps=2, batch=16)
    first = pretraining.train_prior(workdir, prior_options, 1, options.RunOptions())
    marker = workdir.stage("prior") / "prior.weights.h5"
    written = marker.stat().st_mtime_ns
    again = pretraining.train_prior(workdir, prior_options, 1, options.RunOptions())
    assert marker.stat().st_mtime_ns == written
    assert not again.trainable
    hands = tf.random.normal([3, 41, 3]) * 40.0
    np.testing.assert_allclose(
        first.negative_elbo(hands, sample=False), again.negative_elbo(hands, sample=False)
    )
    errors = json.loads((workdir.stage("prior") / "reconstruction.json").read_text())
    assert set(errors) == {"mean_latent_mm", "sampled_latent_mm"}
    with pytest.raises(ValueError, match="seed"):
        pretraining.train_prior(workdir, prior_options, 2, options.RunOptions())
