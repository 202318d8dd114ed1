"""A gradient that is not finite, of a loss that is: term and samples are found afterwards."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.data import augmentation, stateless_rng
from tfhand.geometry import crop
from tfhand.losses import terms
from tfhand.models import pose_prior
from tfhand.training import diagnosis, loop, objectives, options, prior_trainer, trainer

# float32 sums over rows in another order.
FLOAT_RTOL = 1e-4


def make_trainer(make_network, spec, **weights):
    objective = objectives.RecordedObjective(
        weights=terms.LossWeights(**dict.fromkeys(terms.TERMS, 0.0) | weights),
        target_weight=0.0,
        negative_elbo=None,
        spec=spec,
        augment=augmentation.AugmentationConfig(),
    )
    network = make_network()
    model = trainer.PoseTrainer(network, objectives.SyntheticObjective(), objective, seed=3)
    model.compile(optimizer=keras.optimizers.SGD(0.05))
    model.optimizer.build(network.trainable_variables)
    model.track(model.metric_names())
    return model


@pytest.fixture
def dealt(batch):
    """Batches of 2 synthetic and 4 recorded samples; the third has no surface in step 1."""
    synthetic = {"depth_mm": batch["depth_mm"][:2, 0], "spheres_mm": batch["target_mm"][:2, 0]}
    is_empty = tf.reshape(tf.range(4) == 2, [4, 1, 1, 1])

    def make(step, part):
        index, count = part
        empty = is_empty & tf.equal(step, 1)
        recorded = {**batch, "depth_mm": tf.where(empty, 150.0, batch["depth_mm"])}
        return tf.nest.map_structure(
            lambda rows: tf.reshape(rows, [count, -1, *rows.shape[1:]])[index],
            {"synthetic": synthetic, "recorded": recorded},
        )

    return make


def infinite_slope(projected, depth_mm, **_):
    """A term whose value is 0 without a surface, and its gradient 0 times infinity."""
    is_seen = tf.reduce_any(crop.foreground_mask(depth_mm, 300.0), axis=[1, 2, 3])
    return tf.sqrt(tf.cast(is_seen, tf.float32) * tf.reduce_mean(projected**2, axis=[1, 2, 3, 4]))


@pytest.mark.parametrize("count", [1, 2])
def test_term_and_sample_are_named(
    replicas, make_network, spec, dealt, tmp_path, monkeypatch, caplog, count
):
    monkeypatch.setattr(objectives.silhouette, "silhouette", infinite_slope)
    with replicas(count).scope():
        model = make_trainer(make_network, spec, bone_length=0.1, silhouette=1.0)
    with caplog.at_level(logging.WARNING, "absl"):
        loop.fit(
            model,
            dealt,
            3,
            tmp_path,
            "toy",
            options.RunOptions(checkpoint_steps=2),
            describe=lambda term, step, row: f"sample {row} of step {step} ({term})",
        )
    (message,) = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert message == (
        "toy: skipped step 2, because the gradient of silhouette is not finite on sample 2 of "
        "step 1 (silhouette)."
    )
    assert all(np.isfinite(weight).all() for weight in model.network.get_weights())


def test_a_sample_alone_is_what_it_was_in_its_batch(make_network, spec, dealt):
    """StatelessRng included: otherwise the fault might not be met again."""
    model = make_trainer(make_network, spec, bone_length=1.0, multi_view_consistency=1.0)
    whole = dealt(0, (0, 1))
    _, expected = model.losses_of(model.network, whole, 7, (0, 1))["recorded"]
    assert np.ptp(expected["bone_length"]) > 1e-3
    for row in range(4):
        alone = {name: rows[row : row + 1] for name, rows in whole["recorded"].items()}
        losses = model.losses_of(model.network, {"recorded": alone}, 7, (row, 4))
        assert set(losses) == {"recorded"}
        for name, values in losses["recorded"][1].items():
            np.testing.assert_allclose(values[0], expected[name][row], rtol=FLOAT_RTOL)


def make_prior_trainer():
    keras.utils.set_random_seed(3)
    palm = np.random.default_rng(3).uniform(-40.0, 40.0, (11, 3))
    config = pose_prior.PosePriorConfig(palm, latent_size=2, hidden_size=8)
    return prior_trainer.PriorTrainer(pose_prior.PosePrior(config), 3, seed=4)


def make_hands(step, part=(0, 1)):
    return {"prior": 40.0 * stateless_rng.for_step(5, "hands", step, part).normal([6, 41, 3])}


@pytest.mark.parametrize(
    ("slope", "what"), [(np.nan, "the gradient"), (np.inf, "the gradient"), (None, "the value")]
)
def test_faults_of_the_prior(monkeypatch, slope, what):
    original = pose_prior.PosePrior.denoising_loss

    def denoising_loss(self, spheres_mm, rng):
        is_bad = tf.reduce_max(spheres_mm, axis=[1, 2]) >= highest

        @tf.custom_gradient
        def steep(values):
            return tf.identity(values), lambda upstream: tf.where(is_bad, slope, upstream)

        values = original(self, spheres_mm, rng)
        return tf.where(is_bad, np.nan, values) if slope is None else steep(values)

    hands = make_hands(tf.constant(0, tf.int64))["prior"]
    tallest = np.sort(np.max(hands, axis=(1, 2)))
    highest = tallest[-2]
    rows = np.flatnonzero(np.max(hands, axis=(1, 2)) >= highest).tolist()
    model = make_prior_trainer()
    model.kept.update_unless(tf.constant(False))
    examiner = diagnosis.Examiner(model, make_hands)
    monkeypatch.setattr(pose_prior.PosePrior, "denoising_loss", denoising_loss)
    assert examiner.find(0) == [diagnosis.Fault("negative_elbo", row, what) for row in rows]
    highest = np.inf
    assert diagnosis.Examiner(model, make_hands).find(0) == []


def test_weights_are_those_that_the_step_met():
    model = make_prior_trainer()
    before = model.prior.get_weights()
    model.kept.update_unless(tf.constant(False))
    for weight in model.prior.weights:
        weight.assign(weight + 1.0)
    model.kept.update_unless(tf.constant(True))
    for kept, expected in zip(model.kept.numpy(), before, strict=True):
        np.testing.assert_array_equal(kept, expected)
    # Keras does not count them: checkpoints and files stay as they are.
    assert len(model.weights) == len(before)
