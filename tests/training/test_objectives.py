"""What a step minimizes: views and samples, targets, single views."""

import numpy as np
import pytest
import tensorflow as tf

from tests import loss_weights
from tfhand.data import augmentation
from tfhand.losses import terms
from tfhand.training import objectives

WEIGHTS = terms.LossWeights(pose_prior=0.0)
DATA_TERMS = ("model_to_data", "data_to_model", "silhouette")
# float32 sums over pixels in another order.
FLOAT_RTOL = 1e-4


class Fixed:
    """A network that answers with given spheres, `[B * V, 41, 3]` a stack, whatever it sees."""

    def __init__(self, *stacks):
        self.stacks = tf.stack([tf.reshape(spheres_mm, [-1, 41, 3]) for spheres_mm in stacks], 1)

    def __call__(self, depth, training):
        del depth, training
        return {"spheres_mm": self.stacks[:, -1], "stack_spheres_mm": self.stacks}


def make(spec, **changes):
    fields = {"weights": WEIGHTS, "target_weight": 1.0, "negative_elbo": None, "spec": spec}
    return objectives.RecordedObjective(**(fields | changes))


@pytest.fixture(scope="session")
def estimate(batch):
    """Estimates some mm off the truth, different in every view."""
    shape = batch["target_mm"].shape
    noise = np.random.default_rng(9).normal(0.0, 5.0, shape)
    # Palm spheres that are no joint have no label: the middle of the hand stands in for them.
    middle = tf.reduce_sum(batch["target_mm"], axis=2, keepdims=True) / 36.0
    has_label = batch["target_mask"][..., None] > 0
    return tf.where(has_label, batch["target_mm"], middle) + noise.astype(np.float32)


@pytest.fixture
def rng():
    return tf.random.Generator.from_seed(1)


def with_depth(batch, depth_mm):
    return {**batch, "depth_mm": depth_mm}


def nearer(batch, sample, view):
    """The batch with one crop's surface 10 mm nearer."""
    depth = batch["depth_mm"].numpy()
    image = depth[sample, view]
    depth[sample, view] = np.where(image < 149.0, image - 10.0, image)
    return with_depth(batch, tf.constant(depth))


def test_every_view_counts_and_samples_are_independent(batch, estimate, spec, rng):
    objective, network = make(spec), Fixed(estimate)
    loss, values = objective(network, batch, rng)
    assert loss.shape == (4,) and loss.dtype == tf.float32
    for view in range(3):
        moved, moved_values = objective(network, nearer(batch, 1, view), rng)
        assert abs(moved[1] - loss[1]) > 1e-3, view
        for other in (0, 2, 3):
            np.testing.assert_allclose(moved[other], loss[other], rtol=FLOAT_RTOL)
        for name in ("model_to_data", "data_to_model"):
            assert abs(moved_values[name][1] - values[name][1]) > 1e-2, (name, view)


def test_every_view_has_a_gradient_of_every_term(batch, estimate, spec, rng):
    for name in (*DATA_TERMS, "multi_view_consistency", "bone_length"):
        weights = loss_weights.only(**{name: 1.0})
        objective = make(spec, weights=weights, target_weight=0.0)
        # Far enough off that every term has something to say.
        spheres = tf.Variable(estimate * 1.3)
        with tf.GradientTape() as tape:
            loss, values = objective(Fixed(spheres), batch, rng)
        assert list(values) == [name]
        gradient = tape.gradient(loss, spheres).numpy()
        assert np.isfinite(gradient).all()
        assert (np.abs(gradient).max(axis=(2, 3)) > 0).all(), name


def test_single_view_uses_the_diagonal_and_no_consistency(batch, estimate, spec, rng):
    objective = make(spec, target_weight=0.0)
    _, values = objective(Fixed(estimate), {**batch, "is_multi_view": tf.zeros([4])}, rng)
    np.testing.assert_array_equal(values["multi_view_consistency"], np.zeros(4))
    # Each view as a sample of its own gives the same, averaged over the views.
    alone = {
        "depth_mm": tf.reshape(batch["depth_mm"], [12, 1, 32, 32]),
        "ref_from_crop": tf.reshape(batch["ref_from_crop"], [12, 1, 4, 4]),
    }
    _, expected = objective(Fixed(estimate), alone, rng)
    for name in DATA_TERMS:
        mean = tf.reduce_mean(tf.reshape(expected[name], [4, 3]), axis=1)
        np.testing.assert_allclose(values[name], mean, rtol=FLOAT_RTOL, err_msg=name)
    _, all_pairs = make(spec, target_weight=0.0)(Fixed(estimate), batch, rng)
    assert (all_pairs["multi_view_consistency"].numpy() > 1.0).all()
    assert (np.abs(all_pairs["model_to_data"] - values["model_to_data"]) > 1e-3).all()


def test_truth_scores_better_than_noise(recording, hands_mm, batch, spec, rng):
    from tfhand.data import batches

    truth = batches.targets_in_views(hands_mm, recording.ref_from_crop)
    noisy = truth + np.random.default_rng(2).normal(0.0, 8.0, truth.shape).astype(np.float32)
    # Rendered along the rays of pixel centers, unlike the crops that the margin is for.
    exact = make(spec, margin_px=0.0)
    _, right = exact(Fixed(truth), batch, rng)
    _, wrong = exact(Fixed(noisy), batch, rng)
    for name in (*DATA_TERMS[:2], "multi_view_consistency", "target"):
        assert (right[name].numpy() < 0.5 * wrong[name].numpy()).all(), name
    # The recording was rendered from these very spheres, pixel by pixel.
    assert right["model_to_data"].numpy().max() < 2.0
    assert right["multi_view_consistency"].numpy().max() < 1e-4
    assert right["target"].numpy().max() < 1e-3


def test_targets_supervise_all_stacks_and_terms_the_last(batch, estimate, spec, rng):
    objective = make(spec)
    _, last = objective(Fixed(estimate), batch, rng)
    _, first = objective(Fixed(estimate + 7.0), batch, rng)
    loss, values = objective(Fixed(estimate + 7.0, estimate), batch, rng)
    for name in DATA_TERMS:
        np.testing.assert_array_equal(values[name], last[name])
    expected = 0.5 * (first["target"] + last["target"])
    np.testing.assert_allclose(values["target"], expected, rtol=FLOAT_RTOL)
    alone, _ = objective(Fixed(estimate), batch, rng)
    np.testing.assert_allclose(loss - alone, 0.1 * (expected - last["target"]), rtol=1e-3)


def test_target_mask(batch, estimate, spec, rng):
    weights = loss_weights.only()
    objective = make(spec, weights=weights, target_weight=2.0)
    mask = batch["target_mask"].numpy()
    mask[1] = 0.0
    target = batch["target_mm"].numpy()
    target[1] = np.nan
    loss, values = objective(
        Fixed(estimate), {**batch, "target_mask": mask, "target_mm": target}, rng
    )
    assert list(values) == ["target"]
    difference = np.abs(estimate - batch["target_mm"])
    shown = batch["target_mask"].numpy()[..., None] > 0
    expected = np.mean(difference, axis=(1, 2, 3), where=shown)
    expected[1] = 0.0
    np.testing.assert_allclose(values["target"], expected, rtol=FLOAT_RTOL)
    np.testing.assert_allclose(loss, 0.2 * expected, rtol=FLOAT_RTOL)


def test_augmentation_is_undone_before_the_terms(batch, estimate, spec):
    """A network that follows the motion of its crop gets the loss of one that saw no motion."""
    config = augmentation.AugmentationConfig()

    class Follows(Fixed):
        def __call__(self, depth, training):
            del depth, training
            # The objective draws the motion first, from the same seed.
            motion = augmentation.sample_motion(tf.random.Generator.from_seed(7), 12, config)
            turned = tf.matmul(self.stacks[:, -1], motion.rotation, transpose_b=True)
            resized = motion.scale[:, None, None] * turned
            return {"stack_spheres_mm": (resized + motion.translation_mm[:, None])[:, None]}

    rng = tf.random.Generator.from_seed(7)
    still, _ = make(spec)(Fixed(estimate), batch, rng)
    moved, _ = make(spec, augment=config)(Follows(estimate), batch, rng)
    np.testing.assert_allclose(moved, still, rtol=1e-3)


def test_measure_evaluates_every_term_without_weights_or_augmentation(
    make_network, batch, spec, rng
):
    weights = loss_weights.only(bone_length=1.0)
    network = make_network()
    objective = make(spec, weights=weights, negative_elbo=lambda s, rng: s[..., 0, 0] * 0.0 + 2.0)
    values = objective.measure(network, batch)
    assert set(values) == set(terms.TERMS)
    assert all(value.shape == (4,) and np.isfinite(value).all() for value in values.values())
    np.testing.assert_array_equal(values["pose_prior"], np.full(4, 2.0))
    _, trained = objective(network, batch, rng)
    np.testing.assert_allclose(trained["bone_length"], values["bone_length"], rtol=1e-4)
    assert "pose_prior" not in make(spec).measure(network, batch)


def test_prior_is_called_with_every_view(batch, estimate, spec, rng):
    weights = loss_weights.only(pose_prior=1.0)
    objective = make(
        spec, weights=weights, target_weight=0.0,
        negative_elbo=lambda spheres, rng: tf.reduce_mean(spheres[..., 0], axis=1),
    )  # fmt: skip
    loss, _ = objective(Fixed(estimate), batch, rng)
    np.testing.assert_allclose(loss, np.mean(estimate[..., 0], axis=(1, 2)) / 10.0, rtol=1e-3)


@pytest.mark.parametrize("supervision", ["coordinates", "maps"])
def test_synthetic_objective(make_network, batch, spec, supervision):
    network = make_network()
    objective = objectives.SyntheticObjective(spec.cube_mm, supervision)
    samples = {"depth_mm": batch["depth_mm"][:, 0], "spheres_mm": batch["target_mm"][:, 0]}
    with tf.GradientTape() as tape:
        loss, logs = objective(network, samples)
    assert loss.shape == (4,)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(np.isfinite(g).all() for g in gradients if g is not None)
    spheres = network(samples["depth_mm"][..., None] / 150.0)["spheres_mm"]
    error = np.linalg.norm(spheres - samples["spheres_mm"], axis=-1).mean(axis=1)
    np.testing.assert_allclose(logs["synthetic_error_mm"], error, rtol=1e-3)
    other = {
        **samples,
        "spheres_mm": tf.concat(
            [samples["spheres_mm"][:1] + 5.0, samples["spheres_mm"][1:]], axis=0
        ),
    }
    changed, _ = objective(network, other)
    assert abs(changed[0] - loss[0]) > 1e-4
    np.testing.assert_allclose(changed[1:], loss[1:], rtol=FLOAT_RTOL)
