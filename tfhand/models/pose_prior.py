"""The learned pose prior of equation 13: a variational auto-encoder of sphere centers.

The prior judges the shape of a hand, not where it is: sphere centers are first moved to a canonical
frame, in which the palm's spheres lie on a reference palm. There, with x the local coordinates of
`local_frames` and latent z,

    p(z) = Normal(0, I),   p(x | z) = Logistic(decoder(z), s),   q(z | x) = Normal(encoder(x)),

where the scales s are learned, one a coordinate, in mm (Rybkin et al., "Simple and effective VAE
training with calibrated decoders", 2021). The map from x to centers has determinant 1, so p(x | z)
is the density of the centers too. The prior term is the negative evidence lower bound

    -E_q[log p(x | z)] + KL(q(z | x) || p(z)),

in nats, divided by the number of coordinates, so that neither the batch nor the number of spheres
changes its size.

Why so (`benchmarks/pose_prior.py` measures it): of centers in the palm's frame, which vary over
150 mm at the tips, the decoder leaves errors of many mm, and its scale then hides a broken finger.
Noise on the encoder's input does the same, as the likelihood of what was not seen is wide. A normal
density would reject as well, but pull at estimates in proportion to their error: a logistic one is
convex and its gradient at most 1 / s.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers

from tfhand import files
from tfhand.geometry import rigid
from tfhand.hand import skeleton
from tfhand.models import local_frames, weights

tfd = tfp.distributions

__all__ = ["PosePrior", "PosePriorConfig", "load_prior", "save_prior"]

_CONFIG_NAME = "prior.json"
_WEIGHTS_NAME = "prior.weights.h5"

_SPHERES = len(skeleton.SPHERE_NAMES)
_COORDINATES = 3 * _SPHERES

# Local coordinates are divided by this before the encoder: about the length of a bone.
_UNIT_MM = 20.0
# Range of the decoder's scale. The lower end is reached nearly everywhere: it bounds the gradient,
# and estimates that are off by more than about 1 mm all meet the same pull. Above the upper end the
# decoder would call all poses noise before the latent has learned any.
_MIN_SCALE_MM = 0.5
_MAX_SCALE_MM = 8.0
# Of the linear model that training starts from.
_START_SCALE_MM = 1.0
# Adam moves a weight by about its learning rate a step; the scale has to follow the errors of the
# reconstruction, which fall faster.
_SCALE_RATE = 10.0
# Keeps the divergence finite far from all training poses.
_MIN_POSTERIOR_SCALE = 1e-4
# Of a layer. A damaged file may say any number, which would be allocated.
_MOST_UNITS = 4096
_FARTHEST_MM = 1e6


@dataclasses.dataclass(frozen=True)
class PosePriorConfig:
    """Architecture and canonical frame of a pose prior.

    Attributes:
        reference_palm_mm: Positions of the palm's spheres in the canonical frame, mm, P rows of 3,
            in the order of `skeleton.PALM_SPHERES`; the fingers point along y.
        latent_size: Dimensions of the latent z: more than the hand's angles and proportions
            together. Those that are not needed collapse to the prior.
        hidden_size: Width of the two hidden layers of encoder and decoder.
    """

    reference_palm_mm: tuple
    latent_size: int = 64
    hidden_size: int = 512

    def __post_init__(self):
        palm = tuple(tuple(float(value) for value in row) for row in self.reference_palm_mm)
        object.__setattr__(self, "reference_palm_mm", palm)
        num_palm = len(skeleton.PALM_SPHERES)
        if len(palm) != num_palm or any(len(row) != 3 for row in palm):
            raise ValueError(
                f"Expected reference_palm_mm of shape [{num_palm}, 3], received "
                f"{len(palm)} rows of lengths {sorted({len(row) for row in palm})}."
            )
        if not all(abs(value) < _FARTHEST_MM for row in palm for value in row):
            raise ValueError(f"Expected finite positions as reference_palm_mm, received {palm}.")
        sizes = (self.latent_size, self.hidden_size)
        if not all(1 <= size <= _MOST_UNITS for size in sizes):
            raise ValueError(
                f"Expected latent_size and hidden_size of 1 to {_MOST_UNITS}, received {sizes}."
            )


class PosePrior(keras.Model):
    """Variational auto-encoder of the centers of a hand's spheres.

    Args:
        config: A `PosePriorConfig`.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.pose_config = config
        sizes = config.hidden_size, 2 * config.latent_size
        self.encoder = _perceptron(_COORDINATES, *sizes, "encoder")
        self.decoder = _perceptron(config.latent_size, sizes[0], _COORDINATES, "decoder")
        self.raw_scale = self.add_weight(shape=(_SPHERES, 3), initializer="zeros", name="raw_scale")
        self.built = True

    def encode(self, aligned_mm):
        """Returns q(z | x), a `tfd.MultivariateNormalDiag` of batch shape `[M]`.

        Args:
            aligned_mm: float32 `[M, N, 3]`, sphere centers, canonical frame, mm.
        """
        flat = tf.reshape(local_frames.to_local(aligned_mm), [-1, _COORDINATES]) / _UNIT_MM
        mean, raw_scale = tf.split(self.encoder(flat), 2, axis=-1)
        scale = tf.nn.softplus(raw_scale) + _MIN_POSTERIOR_SCALE
        return tfd.MultivariateNormalDiag(mean, scale_diag=scale)

    def decode(self, latents):
        """Returns p(x | z), a `tfd.TransformedDistribution` of centers.

        Args:
            latents: float32 `[M, latent_size]`.

        Returns:
            Distribution of event shape `[N, 3]`, mm, canonical frame; its `distribution` is that of
            the local coordinates, which are independent, and its `bijector` takes them to centers.
        """
        loc_mm = tf.reshape(self.decoder(latents), [-1, _SPHERES, 3]) * _UNIT_MM
        position = tf.sigmoid(_SCALE_RATE * tf.convert_to_tensor(self.raw_scale))
        scale_mm = _MIN_SCALE_MM + (_MAX_SCALE_MM - _MIN_SCALE_MM) * position
        local = tfd.Independent(tfd.Logistic(loc_mm, scale_mm), reinterpreted_batch_ndims=2)
        return tfd.TransformedDistribution(local, local_frames.FromLocal())

    def align(self, spheres_mm):
        """Moves hands to the canonical frame.

        Note: the rotation is taken as a constant by the gradient, since the gradient of the
        singular value decomposition is unbounded for nearly symmetric palms. The translation is
        differentiated, so the gradients of one hand sum to zero: the prior moves no hand as a
        whole.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.

        Returns:
            float32 `[M, N, 3]` in the canonical frame, mm, and `canonical_from_input`
            `[M, 4, 4]`, without gradient.
        """
        palm_mm = tf.gather(spheres_mm, skeleton.PALM_SPHERES, axis=1)
        reference_mm = tf.constant(self.pose_config.reference_palm_mm, tf.float32)
        canonical_from_input = tf.stop_gradient(
            rigid.kabsch(palm_mm, tf.broadcast_to(reference_mm, tf.shape(palm_mm)))
        )
        offsets_mm = spheres_mm - tf.reduce_mean(palm_mm, axis=1, keepdims=True)
        # y_mni = R_mij x_mnj
        rotated_mm = tf.einsum("mij,mnj->mni", canonical_from_input[:, :3, :3], offsets_mm)
        return rotated_mm + tf.reduce_mean(reference_mm, axis=0), canonical_from_input

    def negative_elbo(self, spheres_mm, sample=True, rng=None):
        """Returns the prior term of equation 13 for each hand.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            sample: True to estimate the expectation with one sample of q(z | x), as the bound asks
                for; False for the mean of q(z | x), which has no noise but is no bound.
            rng: Source of the sample, such as a `tf.random.Generator`; None: TensorFlow's global
                state.

        Returns:
            float32 `[M]`, nats divided by the 3 N coordinates. Can be negative, as any density.
        """
        aligned_mm, _ = self.align(spheres_mm)
        posterior = self.encode(aligned_mm)
        latents = _latents(posterior, sample, rng)
        prior = tfd.MultivariateNormalDiag(tf.zeros_like(latents), tf.ones_like(latents))
        log_likelihood = self.decode(latents).log_prob(aligned_mm)
        return (tfd.kl_divergence(posterior, prior) - log_likelihood) / _COORDINATES

    def start_at_principal_components(self, spheres_mm):
        """Makes encoder and decoder the best linear ones for some hands: training starts there.

        Local coordinates are close to linear in the hand's proportions and small bends. With mean
        mu, and the largest eigenvalues l and eigenvectors U of their covariance, probabilistic
        principal components with noise variance v (Tipping and Bishop, 1999) are

            x = mu + U sqrt(l) z,   q(z | x) = Normal(sqrt(l) / (l + v) U^T (x - mu), v / (l + v)).

        The hidden layers, whose output starts at zero, learn what bends.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
        """
        local_mm = local_frames.to_local(self.align(spheres_mm)[0])
        flat = tf.reshape(local_mm, [-1, _COORDINATES]).numpy().astype(np.float64) / _UNIT_MM
        mean = flat.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
        size = self.pose_config.latent_size
        # Components of the largest eigenvalues first; latents beyond them say nothing.
        missing = max(size - _COORDINATES, 0)
        values = np.pad(np.maximum(values, 0.0)[::-1][:size], [0, missing])
        vectors = np.pad(vectors[:, ::-1][:, :size], [[0, 0], [0, missing]])
        loadings = vectors * np.sqrt(values)
        noise = (_START_SCALE_MM / _UNIT_MM) ** 2
        back = loadings / (values + noise)
        raw_scale = np.log(np.expm1(np.sqrt(noise / (values + noise))))
        decoder, encoder = (m.get_layer("linear") for m in (self.decoder, self.encoder))
        decoder.set_weights([loadings.T, mean])
        encoder.set_weights(
            [np.concatenate([back, np.zeros_like(back)], axis=1),
             np.concatenate([-mean @ back, raw_scale])]
        )  # fmt: skip

    def reconstruct(self, spheres_mm, sample=False, rng=None):
        """Returns hands after encoding and decoding, float32 `[M, N, 3]`, mm, in the input's frame.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            sample: True to decode a sample of q(z | x), False for its mean.
            rng: As for `negative_elbo`.
        """
        aligned_mm, canonical_from_input = self.align(spheres_mm)
        centers_mm = self._centers(_latents(self.encode(aligned_mm), sample, rng))
        return rigid.apply(rigid.inverse(canonical_from_input), centers_mm)

    def sample(self, num_hands, seed=None):
        """Returns hands of the prior, float32 `[num_hands, N, 3]`, mm, canonical frame."""
        latents = tf.random.normal([num_hands, self.pose_config.latent_size], seed=seed)
        return self._centers(latents)

    def reconstruction_errors(self, spheres_mm, rng=None):
        """Measures reconstructions, to tell a prior from a mere auto-encoder.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            rng: As for `negative_elbo`.

        Returns:
            A dict of scalars, mean distances of a sphere from its reconstruction:
            `mean_latent_mm` and `sampled_latent_mm` of all spheres, with the mean of q(z | x) and
            with samples of it, and the same of the tips and of the palm apart, such as
            `sampled_latent_tips_mm`.
        """
        tips = [skeleton.FINGER_SPHERES[finger][-1] for finger in skeleton.FINGERS]
        errors = {}
        for name, sample in (("mean_latent", False), ("sampled_latent", True)):
            residual_mm = self.reconstruct(spheres_mm, sample, rng) - spheres_mm
            distance_mm = tf.reduce_mean(tf.norm(residual_mm, axis=-1), axis=0)
            errors[f"{name}_mm"] = tf.reduce_mean(distance_mm)
            for part, index in (("tips", tips), ("palm", skeleton.PALM_SPHERES)):
                errors[f"{name}_{part}_mm"] = tf.reduce_mean(tf.gather(distance_mm, index))
        return errors

    def call(self, spheres_mm):
        """Same as `reconstruct`."""
        return self.reconstruct(spheres_mm)

    def _centers(self, latents):
        likelihood = self.decode(latents)
        return likelihood.bijector.forward(likelihood.distribution.mean())


def save_prior(prior, directory):
    """Writes `prior.json` and `prior.weights.h5` into a directory, made if needed."""
    directory = pathlib.Path(directory)
    weights.save_weights(prior, directory / _WEIGHTS_NAME)
    files.write_json(directory / _CONFIG_NAME, dataclasses.asdict(prior.pose_config))


def load_prior(directory):
    """Reads a pose prior that `save_prior` wrote.

    Returns:
        A `PosePrior` that is not trainable.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If one of them is damaged.
    """
    directory = pathlib.Path(directory)
    for name in (_CONFIG_NAME, _WEIGHTS_NAME):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"Expected {name} of a pose prior in {directory}.")
    fields = files.read_json(directory / _CONFIG_NAME)
    try:
        config = PosePriorConfig(**fields)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"Cannot use {directory / _CONFIG_NAME} (a prior of another version has to be trained "
            f"again: tfhand.train --init_from=none): {error}"
        ) from error
    prior = PosePrior(config)
    weights.load_weights(prior, directory / _WEIGHTS_NAME)
    prior.trainable = False
    return prior


def _latents(posterior, sample, rng):
    if not sample:
        return posterior.mean()
    if rng is None:
        return posterior.sample()
    return posterior.mean() + posterior.stddev() * rng.normal(tf.shape(posterior.mean()))


def _perceptron(input_size, hidden_size, output_size, name):
    """Returns a linear map plus two hidden layers, whose output starts at zero; always float32."""
    inputs = keras.Input((input_size,), dtype="float32")
    hidden = inputs
    for _ in range(2):
        hidden = layers.Dense(hidden_size, activation="silu", dtype="float32")(hidden)
    linear = layers.Dense(output_size, dtype="float32", name="linear")(inputs)
    correction = layers.Dense(
        output_size, use_bias=False, kernel_initializer="zeros", dtype="float32"
    )(hidden)
    outputs = layers.Add(dtype="float32")([linear, correction])
    return keras.Model(inputs, outputs, name=name)
