"""The pose prior: invariance to rigid motion, the bound itself, gradients, training and files."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import rotations
from tfhand.data import stateless_rng
from tfhand.geometry import rigid
from tfhand.models import local_frames, pose_prior
from tfhand.training import optimization, options, prior_trainer

NUM_PALM = 11
NUM_SPHERES = 41

# float32 with a singular value decomposition in between, mm.
FLOAT_TOLERANCE_MM = 2e-2


def _toy_hands(num_hands, rng=tf.random):
    """A rigid palm and five fingers of six spheres, each finger bent by one random angle."""
    palm = tf.constant(np.random.default_rng(3).uniform(-40, 40, (NUM_PALM, 3)), tf.float32)
    angles = rng.uniform([num_hands, 5, 1], 0.0, 1.5)
    along = tf.range(1, 7, dtype=tf.float32) * 15.0
    roots = tf.linspace(-40.0, 40.0, 5)[:, tf.newaxis]
    fingers = tf.stack(
        [
            roots + 0.0 * angles * along,
            40.0 + tf.cos(angles) * along,
            tf.sin(angles) * along,
        ],
        axis=-1,
    )
    palm = tf.broadcast_to(palm, [num_hands, NUM_PALM, 3])
    return tf.concat([palm, tf.reshape(fingers, [num_hands, 30, 3])], axis=1)


def _config(**fields):
    palm = _toy_hands(1)[0, :NUM_PALM].numpy()
    return pose_prior.PosePriorConfig(
        reference_palm_mm=palm, **{"latent_size": 8, "hidden_size": 64, **fields}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, read_curves):
    folder = tmp_path_factory.mktemp("prior")
    prior = prior_trainer.train_prior(
        lambda rng, count: _toy_hands(count, rng),
        _config(),
        options.PriorOptions(steps=300, batch=64),
        seed=0,
        run=optimization.TrainingRun(folder, "prior", options.RunOptions(checkpoint_steps=30)),
    )
    return prior, [value for _, value in read_curves(folder)["negative_elbo"]]


def test_training_lowers_the_bound(trained):
    _, history = trained
    assert len(history) == 10
    # A coordinate known to 1 mm costs log(sqrt(2 pi e)) = 1.4 nats, one known to 8 mm 3.5 nats.
    assert history[-1] < 1.7 < 2.0 < history[0]


def test_draws_of_a_given_source_repeat(trained):
    prior, _ = trained
    hands = _toy_hands(8)

    def bound(step):
        return prior.negative_elbo(hands, rng=stateless_rng.for_step(0, "test", step))

    np.testing.assert_array_equal(bound(1), bound(1))
    assert (bound(1) != bound(2)).numpy().any()
    # Drawn like TensorFlow's own: means of 200 draws, whose spread is about a tenth of a nat.
    many = tf.repeat(hands, 200, axis=0)
    values = [
        prior.negative_elbo(many, rng=rng) for rng in (None, stateless_rng.for_step(0, "test", 3))
    ]
    own, given = (tf.reduce_mean(tf.reshape(value, [8, 200]), axis=1) for value in values)
    np.testing.assert_allclose(own, given, atol=0.05)


def test_reconstructs_with_sampled_latents_too(trained):
    prior, _ = trained
    errors = prior.reconstruction_errors(_toy_hands(256))
    # Without the latent, a fingertip is about 35 mm from its mean.
    assert errors["mean_latent_mm"] < 4.0
    assert errors["sampled_latent_mm"] < 1.5 * errors["mean_latent_mm"] + 1.0


def test_prefers_hands_to_scrambled_ones(trained):
    prior, _ = trained
    hands = _toy_hands(64)
    noisy = hands + tf.random.normal(tf.shape(hands), stddev=15.0)
    hand_score = tf.reduce_mean(prior.negative_elbo(hands))
    assert hand_score + 0.5 < tf.reduce_mean(prior.negative_elbo(noisy))


def test_samples_are_hands(trained):
    prior, _ = trained
    samples = prior.sample(64, seed=1)
    assert samples.shape == (64, NUM_SPHERES, 3)
    # Neighboring spheres of a finger are 15 mm apart in every toy hand.
    gaps_mm = tf.norm(samples[:, 12:17] - samples[:, 11:16], axis=-1)
    assert 10.0 < tf.reduce_mean(gaps_mm) < 20.0


def test_rigid_motion_changes_nothing(trained):
    prior, _ = trained
    hands = _toy_hands(8)
    motion = rigid.from_rotation_translation(
        rotations.random_rotation(8, seed=(4, 2)), tf.random.uniform([8, 3], -200.0, 200.0)
    )
    moved = rigid.apply(motion, hands)
    np.testing.assert_allclose(
        prior.align(moved)[0], prior.align(hands)[0], atol=FLOAT_TOLERANCE_MM
    )
    np.testing.assert_allclose(
        prior.negative_elbo(moved, sample=False),
        prior.negative_elbo(hands, sample=False),
        atol=0.02,
    )
    np.testing.assert_allclose(
        prior.reconstruct(moved), rigid.apply(motion, prior.reconstruct(hands)), atol=0.1
    )


def test_bound_equals_the_closed_form(trained):
    """-ELBO at the mean of q, from the formulas of the densities, in float64."""
    prior, _ = trained
    hands = _toy_hands(4)
    aligned, _ = prior.align(hands)
    posterior = prior.encode(aligned)
    mean, scale = (np.asarray(x, np.float64) for x in (posterior.mean(), posterior.stddev()))
    likelihood = prior.decode(posterior.mean())
    loc = likelihood.distribution.mean().numpy().astype(np.float64)
    # The standard deviation of a logistic distribution is pi / sqrt(3) scales.
    scale_mm = likelihood.distribution.stddev().numpy().astype(np.float64) * np.sqrt(3.0) / np.pi
    error = np.abs(local_frames.to_local(aligned).numpy() - loc) / scale_mm
    nll = error + 2.0 * np.log1p(np.exp(-error)) + np.log(scale_mm)
    divergence = 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale))
    expected = (nll.sum(axis=(1, 2)) + divergence.sum(axis=1)) / (3 * NUM_SPHERES)
    actual = prior.negative_elbo(hands, sample=False)
    assert actual.shape == (4,)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_starts_as_the_best_linear_model():
    """Hands whose local coordinates are linear in three numbers are reproduced untrained."""
    random = np.random.default_rng(5)
    rest = local_frames.to_local(_toy_hands(1))[0].numpy()
    # The palm and the roots keep their places, so that the alignment changes nothing.
    directions = random.normal(size=[3, NUM_SPHERES, 3]) * (np.arange(NUM_SPHERES) > 10)[:, None]
    local = rest + np.einsum("ml,lnd->mnd", random.normal(size=[512, 3]), directions)
    hands = local_frames.from_local(tf.constant(local, tf.float32))
    prior = pose_prior.PosePrior(_config())
    prior.start_at_principal_components(hands)
    error_mm = tf.norm(prior.reconstruct(hands) - hands, axis=-1)
    # Shrunk by l / (l + v), here 1 - 1 / 90, of about 1.7 mm a sphere; summed along a finger.
    assert tf.reduce_mean(error_mm) < 0.1
    assert tf.reduce_mean(tf.norm(hands - tf.reduce_mean(hands, axis=0), axis=-1)) > 2.0
    assert np.linalg.norm(prior.encode(hands).mean().numpy().std(axis=0)[:3] - 1.0) < 0.1
    assert np.abs(prior.encode(hands).mean().numpy()[:, 3:]).max() < 0.01


@pytest.mark.parametrize("turned", ["end", "middle"])
def test_rejects_fingers_that_bend_where_none_does(trained, turned):
    """The toy's fingers have no joints: 40 degrees sideways keep every length."""
    prior, _ = trained
    hands = _toy_hands(200)
    pivot, outer = (15, [16]) if turned == "end" else (13, [14, 15, 16])
    angle = np.radians(40.0)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    broken = hands.numpy()
    broken[:, outer] = (broken[:, outer] - broken[:, [pivot]]) @ rotation.T + broken[:, [pivot]]
    threshold = np.percentile(prior.negative_elbo(hands), 95.0)
    assert np.mean(prior.negative_elbo(broken) > threshold) > 0.9


def test_pull_of_the_likelihood_is_bounded(trained):
    """A sphere has its own coordinates and at most two spheres measured from it, 1 / s each."""
    prior, _ = trained
    likelihood = prior.decode(tf.zeros([8, 8]))
    slope = np.pi / np.sqrt(3.0) / likelihood.distribution.stddev().numpy().min()
    for noise_mm in (10.0, 1000.0):
        centers = _toy_hands(8) + noise_mm * tf.random.stateless_normal([8, 41, 3], (2, 3))
        with tf.GradientTape() as tape:
            tape.watch(centers)
            value = likelihood.log_prob(centers)
        pull = np.linalg.norm(tape.gradient(value, centers), axis=-1)
        assert pull.max() < 3.0 * np.sqrt(3.0) * slope
        assert pull.mean() > slope


def test_a_policy_of_mixed_precision_changes_nothing():
    hands = _toy_hands(4)
    policy = keras.config.dtype_policy()
    values = []
    try:
        for name in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(name)
            keras.utils.set_random_seed(0)
            prior = pose_prior.PosePrior(_config())
            prior.start_at_principal_components(hands)
            values.append(prior.negative_elbo(hands, sample=False))
    finally:
        keras.config.set_dtype_policy(policy)
    assert values[1].dtype == tf.float32
    np.testing.assert_array_equal(values[0], values[1])


def test_sampling_is_on_by_default(trained):
    prior, _ = trained
    hands = _toy_hands(4)
    assert np.any(prior.negative_elbo(hands) != prior.negative_elbo(hands))
    np.testing.assert_array_equal(
        prior.negative_elbo(hands, sample=False), prior.negative_elbo(hands, sample=False)
    )


def test_hands_do_not_depend_on_each_other(trained):
    prior, _ = trained
    hands = _toy_hands(3)
    changed = tf.concat([hands[:1], _toy_hands(2)], axis=0)
    first = prior.negative_elbo(hands, sample=False)
    second = prior.negative_elbo(changed, sample=False)
    np.testing.assert_allclose(first[0], second[0], atol=1e-4)
    assert abs(first[1] - second[1]) > 1e-3


@pytest.mark.parametrize("degenerate", [False, True])
def test_gradient_is_finite_and_moves_no_hand(trained, degenerate):
    prior, _ = trained
    hands = _toy_hands(4)
    if degenerate:
        # All spheres in one point: the rotation is arbitrary, its gradient must not be taken.
        hands = tf.zeros_like(hands)

    @tf.function(autograph=False)
    def evaluate(spheres_mm):
        with tf.GradientTape() as tape:
            tape.watch(spheres_mm)
            loss = tf.reduce_sum(prior.negative_elbo(spheres_mm))
        return tape.gradient(loss, spheres_mm)

    gradient = evaluate(hands).numpy()
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient != 0)
    total = np.abs(gradient.sum(axis=1))
    assert np.all(total < 1e-4 * np.abs(gradient).sum(axis=1) + 1e-5)


def test_graph_with_unknown_batch_equals_eager(trained):
    prior, _ = trained
    hands = _toy_hands(5)
    graph = tf.function(
        lambda x: prior.negative_elbo(x, sample=False),
        input_signature=[tf.TensorSpec([None, NUM_SPHERES, 3], tf.float32)],
        autograph=False,
    )
    actual = graph(hands)
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, prior.negative_elbo(hands, sample=False), atol=1e-3)


def test_survives_files(trained, tmp_path):
    prior, _ = trained
    pose_prior.save_prior(prior, tmp_path / "prior")
    loaded = pose_prior.load_prior(tmp_path / "prior")
    assert loaded.pose_config == prior.pose_config
    assert not loaded.trainable_variables
    hands = _toy_hands(3)
    np.testing.assert_array_equal(
        loaded.negative_elbo(hands, sample=False), prior.negative_elbo(hands, sample=False)
    )


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"prior\.json"):
        pose_prior.load_prior(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference_palm_mm": np.zeros((10, 3))}, r"\[11, 3\]"),
        ({"reference_palm_mm": np.zeros((11, 2))}, r"\[11, 3\]"),
        ({"latent_size": 0}, "latent_size"),
        ({"hidden_size": 10**5}, "hidden_size"),
    ],
)
def test_rejects_bad_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        pose_prior.PosePriorConfig(**{"reference_palm_mm": np.zeros((11, 3)), **fields})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.update(hidden_size=10**8), "of 1 to 4096"),
        (lambda fields: fields.update(latent_size=10**9), "of 1 to 4096"),
        # A prior of before the local coordinates.
        (lambda fields: fields.update(input_noise_mm=4.0), "trained again.*input_noise_mm"),
        (lambda fields: fields["reference_palm_mm"][0].__setitem__(0, float("nan")), "finite"),
        (lambda fields: fields["reference_palm_mm"][0].__setitem__(0, 1e39), "finite"),
        (lambda fields: fields.update(hidden_size="8"), "not supported"),
        (lambda fields: fields.update(width=8), "width"),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, change, message):
    pose_prior.save_prior(pose_prior.PosePrior(_config()), tmp_path)
    path = tmp_path / "prior.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=rf"Cannot use .*prior\.json.*{message}"):
        pose_prior.load_prior(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff", b"[" * 200000])
def test_a_configuration_that_is_none(tmp_path, content):
    pose_prior.save_prior(pose_prior.PosePrior(_config()), tmp_path)
    (tmp_path / "prior.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"prior\.json"):
        pose_prior.load_prior(tmp_path)
