"""`PoseTrainer`: one or two devices, what it learns, what it logs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.losses import terms
from tfhand.training import augmentation, objectives, trainer

# The two halves of a batch are summed in another order: float32 round-off of gradients of order
# one, times a learning rate of 0.05, over three steps.
REPLICA_TOLERANCE = 2e-5


def make_trainer(network, spec, *, synthetic=True, recorded=True, augment=None, weights=None):
    weights = weights or terms.LossWeights(pose_prior=0.0)
    objective = objectives.RecordedObjective(
        weights=weights, target_weight=1.0, negative_elbo=None, spec=spec, augment=augment
    )
    return trainer.PoseTrainer(
        network,
        synthetic=objectives.SyntheticObjective(spec.cube_mm) if synthetic else None,
        recorded=objective if recorded else None,
        synthetic_weight=0.5,
    )


def compiled(model, optimizer):
    model.compile(optimizer=optimizer)
    model.optimizer.build(model.network.trainable_variables)
    model.track(model.metric_names())
    return model


@pytest.fixture
def batches(batch):
    """One global batch of both kinds, again and again."""
    both = {
        "synthetic": {"depth_mm": batch["depth_mm"][:, 0], "spheres_mm": batch["target_mm"][:, 0]},
        "recorded": batch,
    }
    return tf.data.Dataset.from_tensors(both).repeat()


def train(strategy, make_network, spec, batches, steps):
    with strategy.scope():
        network = make_network()
        model = compiled(make_trainer(network, spec), keras.optimizers.SGD(0.05))
    before = [w.copy() for w in network.get_weights()]
    history = model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
    return before, network.get_weights(), history.history


def test_two_devices_train_as_one(two_cpus, make_network, spec, batches):
    one = tf.distribute.MirroredStrategy(two_cpus[:1])
    two = tf.distribute.MirroredStrategy(two_cpus)
    assert two.num_replicas_in_sync == 2
    start_1, weights_1, logs_1 = train(one, make_network, spec, batches, steps=3)
    start_2, weights_2, logs_2 = train(two, make_network, spec, batches, steps=3)
    moved = 0.0
    for a, b, after_1, after_2 in zip(start_1, start_2, weights_1, weights_2, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(after_1, after_2, atol=REPLICA_TOLERANCE)
        moved = max(moved, np.abs(after_1 - a).max())
    assert moved > 100 * REPLICA_TOLERANCE
    assert set(logs_1) == set(logs_2)
    for name in logs_1:
        np.testing.assert_allclose(logs_1[name], logs_2[name], rtol=1e-3, err_msg=name)


def test_gradient_limit_counts_all_devices(two_cpus, make_network, spec, batches):
    # SGD with rate 1 moves by the gradient: its norm is the limit, not twice or half of it.
    for devices in (two_cpus[:1], two_cpus):
        strategy = tf.distribute.MirroredStrategy(devices)
        with strategy.scope():
            network = make_network()
            model = compiled(make_trainer(network, spec), keras.optimizers.SGD(1.0))
        before = [w.copy() for w in network.get_weights()]
        history = model.fit(batches, epochs=1, steps_per_epoch=1, verbose=0, shuffle=False).history
        after = network.get_weights()
        step = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(after, before, strict=True)))
        norm = history["gradient_norm"][0]
        assert norm > 0
        np.testing.assert_allclose(step, min(norm, 1.0), rtol=1e-3)


def test_overfits_one_batch(make_network, spec, batches):
    model = compiled(make_trainer(make_network(), spec), keras.optimizers.Adam(5e-3))
    losses = model.fit(batches, epochs=6, steps_per_epoch=15, verbose=0, shuffle=False).history
    assert losses["loss"][-1] < 0.7 * losses["loss"][0]
    assert losses["target"][-1] < 0.7 * losses["target"][0]
    assert losses["synthetic_error_mm"][-1] < 0.7 * losses["synthetic_error_mm"][0]


def test_logs_name_every_term(make_network, spec, batches):
    weights = terms.LossWeights(pose_prior=0.0, collision=0.0)
    model = make_trainer(make_network(), spec, weights=weights)
    expected = {
        "loss", "gradient_norm", "synthetic_error_mm", "target", "model_to_data", "data_to_model",
        "multi_view_consistency", "bone_length", "silhouette",
    }
    assert set(model.metric_names()) == expected
    compiled(model, keras.optimizers.SGD(0.0))
    assert {m.name for m in model.metrics} == expected
    logs = model.fit(batches, epochs=1, steps_per_epoch=2, verbose=0, shuffle=False).history
    assert set(logs) == expected
    assert np.isfinite([values[0] for values in logs.values()]).all()


def test_metrics_start_anew_each_epoch(make_network, spec, batches):
    model = compiled(make_trainer(make_network(), spec), keras.optimizers.SGD(0.0))
    logs = model.fit(batches, epochs=2, steps_per_epoch=2, verbose=0, shuffle=False).history
    np.testing.assert_allclose(logs["loss"][0], logs["loss"][1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["synthetic", "recorded"])
def test_either_objective_alone(make_network, spec, batches, kind):
    model = make_trainer(
        make_network(), spec, synthetic=kind == "synthetic", recorded=kind == "recorded",
        augment=augmentation.AugmentationConfig(),
    )
    compiled(model, keras.optimizers.SGD(0.01))
    logs = model.fit(
        batches.map(lambda both: {kind: both[kind]}), epochs=1, steps_per_epoch=1, verbose=0,
        shuffle=False,
    ).history
    assert ("synthetic_error_mm" in logs) == (kind == "synthetic")
    assert ("model_to_data" in logs) == (kind == "recorded")
    assert np.isfinite(logs["loss"][0])


def test_no_objective_is_an_error(make_network):
    with pytest.raises(ValueError, match="objective"):
        trainer.PoseTrainer(make_network())
