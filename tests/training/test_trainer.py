"""`PoseTrainer`: one or two devices, what it learns, what it logs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests import loss_weights, small_networks
from tfhand.data import augmentation
from tfhand.losses import terms
from tfhand.training import objectives, trainer
from tfhand.training import replicas as replicas_module

# The two halves of a batch are summed in another order: float32 round-off of gradients of order
# one, times the learning rate, over three steps.
REPLICA_TOLERANCE = 2e-5
RATE = 0.05


def make_objective(spec, augment=None, weights=None):
    weights = weights or terms.LossWeights(pose_prior=0.0)
    return objectives.RecordedObjective(
        weights=weights, target_weight=1.0, negative_elbo=None, spec=spec, augment=augment
    )


def make_trainer(network, spec, *, synthetic=True, recorded=True, objective=None):
    objective = objective or make_objective(spec)
    return trainer.PoseTrainer(
        network,
        synthetic=objectives.SyntheticObjective(spec.cube_mm) if synthetic else None,
        recorded=objective if recorded else None,
        synthetic_weight=0.5,
    )


def compiled(model, optimizer, eager=False):
    model.compile(optimizer=optimizer, run_eagerly=eager, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    return model


def fit(model, make_batch, first=0, epochs=1, steps=1):
    batches = replicas_module.distribute_batches(model.distribute_strategy, make_batch, first)
    return model.fit(
        batches, epochs=epochs, steps_per_epoch=steps, verbose=0, shuffle=False
    ).history


def share(batch, shard):
    """The rows of a replica."""
    index, count = shard
    return tf.nest.map_structure(
        lambda rows: tf.reshape(rows, [count, -1, *rows.shape[1:]])[index], batch
    )


@pytest.fixture
def make_batch(batch):
    """The same global batch of both kinds at every step."""
    both = {
        "synthetic": {"depth_mm": batch["depth_mm"][:, 0], "spheres_mm": batch["target_mm"][:, 0]},
        "recorded": batch,
    }
    return lambda step, shard: share(both, shard)


def train(strategy, make_network, spec, make_batch):
    """Trains on the replicas; returns weights before, after one step and after three, and logs."""
    # A term of all views and one of each: the others cost only time here.
    weights = loss_weights.only(multi_view_consistency=0.01, bone_length=0.1)
    objective = make_objective(spec, weights=weights)
    with strategy.scope():
        model = make_trainer(make_network(), spec, objective=objective)
        compiled(model, keras.optimizers.SGD(RATE))
    assert model.distribute_strategy is strategy
    weights = [[w.copy() for w in model.network.get_weights()]]
    logs = []
    for first, steps in ((0, 1), (1, 2)):
        logs.append(fit(model, make_batch, first, steps=steps))
        weights.append([w.copy() for w in model.network.get_weights()])
    return weights, logs


def test_two_devices_train_as_one(replicas, make_network, spec, make_batch):
    weights_1, logs_1 = train(replicas(1), make_network, spec, make_batch)
    assert replicas(2).num_replicas_in_sync == 2
    weights_2, logs_2 = train(replicas(2), make_network, spec, make_batch)
    for a, b in zip(weights_1[0], weights_2[0], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(weights_1[2], weights_2[2], strict=True):
        np.testing.assert_allclose(a, b, atol=REPLICA_TOLERANCE)
    moved = max(np.abs(a - b).max() for a, b in zip(weights_1[0], weights_1[2], strict=True))
    assert moved > 100 * REPLICA_TOLERANCE
    for one, two in zip(logs_1, logs_2, strict=True):
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-3, err_msg=name)
    # The gradient is longer than the limit of 1, which is that of both devices together.
    assert logs_1[0]["gradient_norm"][0] > 1.0
    for before, after, _ in (weights_1, weights_2):
        step = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(after, before, strict=True)))
        np.testing.assert_allclose(step, RATE, rtol=1e-2)


def test_overfits_one_batch_and_logs_every_term(make_network, spec, make_batch):
    weights = terms.LossWeights(pose_prior=0.0, collision=0.0)
    model = make_trainer(make_network(), spec, objective=make_objective(spec, weights=weights))
    compiled(model, keras.optimizers.Adam(5e-3))
    expected = {
        "loss",
        "gradient_norm",
        "synthetic_error_mm",
        "target",
        "model_to_data",
        "data_to_model",
        "multi_view_consistency",
        "bone_length",
        "silhouette",
    }
    assert {m.name for m in model.metrics} == expected
    logs = fit(model, make_batch, epochs=4, steps=15)
    assert set(logs) == expected
    for name in ("loss", "target", "synthetic_error_mm"):
        assert logs[name][-1] < 0.7 * logs[name][0], name
    assert np.isfinite(list(logs.values())).all()


def test_metrics_start_anew_each_epoch(make_network, spec, make_batch):
    model = make_trainer(make_network(), spec, recorded=False)
    logs = fit(
        compiled(model, keras.optimizers.SGD(0.0), eager=True), make_batch, epochs=2, steps=2
    )
    np.testing.assert_allclose(logs["loss"][0], logs["loss"][1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["synthetic", "recorded"])
def test_either_objective_alone(make_network, spec, make_batch, kind):
    model = make_trainer(
        make_network(),
        spec,
        synthetic=kind == "synthetic",
        recorded=kind == "recorded",
        objective=make_objective(spec, augmentation.AugmentationConfig()),
    )
    compiled(model, keras.optimizers.SGD(0.01), eager=True)
    logs = fit(model, lambda *shard: {kind: make_batch(*shard)[kind]})
    assert ("synthetic_error_mm" in logs) == (kind == "synthetic")
    assert ("model_to_data" in logs) == (kind == "recorded")
    assert np.isfinite(logs["loss"][0])


def test_a_bad_sample_changes_nothing_and_its_term_is_counted(replicas, spec, batch):
    weights = loss_weights.only(bone_length=0.1)
    with replicas(2).scope():
        # With means and variances, which the forward pass changes.
        network = small_networks.build(32, [layers.BatchNormalization()])
        model = make_trainer(
            network, spec, synthetic=False, objective=make_objective(spec, weights=weights)
        )
        compiled(model, keras.optimizers.AdamW(1e-2))
    target = batch["target_mm"].numpy()
    target[3, 1] = np.inf
    targets = tf.stack([batch["target_mm"], target, batch["target_mm"]])

    def make(step, shard):
        return {"recorded": share({**batch, "target_mm": targets[step]}, shard)}

    def state():
        return [v.numpy() for v in (*model.network.weights, *model.optimizer.variables)]

    fit(model, make)
    before = state()
    fit(model, make, first=1)
    for a, b in zip(before, state(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.counter.read() == (1, 1, {"loss": 1, "bone_length": 0, "target": 1})
    assert all(float(tf.convert_to_tensor(m.count.value)) == 0.0 for m in model.metrics)
    fit(model, make, first=2)
    assert (before[0] != state()[0]).any()
    assert model.counter.read()[:2] == (1, 1)


def test_no_objective_is_an_error(make_network):
    with pytest.raises(ValueError, match="objective"):
        trainer.PoseTrainer(make_network())
