"""The learned pose prior of equation 13: a variational auto-encoder of sphere centers.

The prior judges the shape of a hand, not where it is: sphere centers x are first moved to a
canonical frame, in which the palm's spheres lie on a reference palm. There, with latent z,

    p(z) = Normal(0, I),   p(x | z) = Normal(decoder(z), sigma^2),   q(z | x) = Normal(encoder(x)),

where sigma is learned, one value a coordinate, in mm (Rybkin et al., "Simple and effective VAE
training with calibrated decoders", 2021). The prior term is the negative evidence lower bound

    -E_q[log p(x | z)] + KL(q(z | x) || p(z)),

in nats, divided by the number of coordinates, so that neither the batch nor the number of spheres
changes its size.
"""

import dataclasses
import pathlib

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers

from tfhand import files
from tfhand.geometry import rigid
from tfhand.hand import skeleton
from tfhand.models import weights

tfd = tfp.distributions

__all__ = ["PosePrior", "PosePriorConfig", "load_prior", "save_prior"]

_CONFIG_NAME = "prior.json"
_WEIGHTS_NAME = "prior.weights.h5"

# Aligned coordinates are divided by this before the encoder: about their standard deviation.
_UNIT_MM = 50.0
# Range of the decoder's scale. Below it the gradients of estimates that are far off would explode;
# above it the decoder would call all poses noise before the latent has learned any.
_MIN_SCALE_MM = 0.5
_MAX_SCALE_MM = 8.0
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
        reference_palm_mm: Positions of the palm's spheres in the canonical frame, mm, P rows of 3.
        palm_spheres: The P indices of the palm's spheres.
        num_spheres: Number N of spheres.
        latent_size: Dimensions of the latent z. Those that are not needed collapse to the prior.
        hidden_size: Width of the two hidden layers of encoder and decoder.
        input_noise_mm: Standard deviation of noise on the encoder's input in training. Estimates of
            a network are noisy hands, and the encoder must know what to do with them; for any
            encoder the bound stays a bound (Im et al., "Denoising criterion for variational
            auto-encoding framework", 2017).
    """

    reference_palm_mm: tuple
    palm_spheres: tuple = tuple(int(i) for i in skeleton.PALM_SPHERES)
    num_spheres: int = len(skeleton.SPHERE_NAMES)
    latent_size: int = 32
    hidden_size: int = 256
    input_noise_mm: float = 4.0

    def __post_init__(self):
        palm = tuple(tuple(float(value) for value in row) for row in self.reference_palm_mm)
        object.__setattr__(self, "reference_palm_mm", palm)
        object.__setattr__(self, "palm_spheres", tuple(int(i) for i in self.palm_spheres))
        if len(palm) != len(self.palm_spheres) or any(len(row) != 3 for row in palm):
            raise ValueError(
                f"Expected reference_palm_mm of shape [{len(self.palm_spheres)}, 3], received "
                f"{len(palm)} rows of lengths {sorted({len(row) for row in palm})}."
            )
        if not all(abs(value) < _FARTHEST_MM for row in palm for value in row):
            raise ValueError(f"Expected finite positions as reference_palm_mm, received {palm}.")
        if len(palm) < 3:
            raise ValueError(f"Expected at least 3 palm spheres, received {len(palm)}.")
        if not all(0 <= i < self.num_spheres for i in self.palm_spheres):
            raise ValueError(
                f"Expected palm_spheres in [0, {self.num_spheres}), received {self.palm_spheres}."
            )
        sizes = (self.num_spheres, self.latent_size, self.hidden_size)
        is_noise = 0 <= self.input_noise_mm < _FARTHEST_MM
        if not (all(1 <= size <= _MOST_UNITS for size in sizes) and is_noise):
            raise ValueError(
                f"Expected num_spheres, latent_size and hidden_size of 1 to {_MOST_UNITS} and an "
                f"input_noise_mm of at least 0, received {sizes} and {self.input_noise_mm}."
            )


class PosePrior(keras.Model):
    """Variational auto-encoder of the centers of a hand's spheres.

    Args:
        config: A `PosePriorConfig`.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.pose_config = config
        self.num_coordinates = 3 * config.num_spheres
        self.encoder = _perceptron(
            self.num_coordinates, config.hidden_size, 2 * config.latent_size, "encoder"
        )
        self.decoder = _perceptron(
            config.latent_size, config.hidden_size, self.num_coordinates, "decoder"
        )
        self.raw_scale = self.add_weight(
            shape=(config.num_spheres, 3), initializer="zeros", name="raw_scale"
        )
        self.built = True

    def encode(self, aligned_mm):
        """Returns q(z | x), a `tfd.MultivariateNormalDiag` of batch shape `[M]`.

        Args:
            aligned_mm: float32 `[M, N, 3]`, sphere centers, canonical frame, mm.
        """
        flat = tf.reshape(aligned_mm, [-1, self.num_coordinates]) / _UNIT_MM
        mean, raw_scale = tf.split(self.encoder(flat), 2, axis=-1)
        scale = tf.nn.softplus(raw_scale) + _MIN_POSTERIOR_SCALE
        return tfd.MultivariateNormalDiag(mean, scale_diag=scale)

    def decode(self, latents):
        """Returns p(x | z) in mm, a `tfd.Independent` of event shape `[N, 3]`.

        Args:
            latents: float32 `[M, latent_size]`.
        """
        loc = tf.reshape(self.decoder(latents), [-1, self.pose_config.num_spheres, 3]) * _UNIT_MM
        position = tf.sigmoid(_SCALE_RATE * tf.convert_to_tensor(self.raw_scale))
        scale_mm = _MIN_SCALE_MM + (_MAX_SCALE_MM - _MIN_SCALE_MM) * position
        return tfd.Independent(tfd.Normal(loc, scale_mm), reinterpreted_batch_ndims=2)

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
        palm_mm = tf.gather(spheres_mm, self.pose_config.palm_spheres, axis=1)
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
        return self._negative_elbo(aligned_mm, aligned_mm, sample, rng)

    def denoising_loss(self, spheres_mm, rng):
        """Returns the loss of training: the negative bound, with noise on the encoder's input.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            rng: Source of noise and latents, such as a `tf.random.Generator`.

        Returns:
            float32 `[M]`, nats a coordinate.
        """
        aligned_mm, _ = self.align(spheres_mm)
        noise_mm = self.pose_config.input_noise_mm * rng.normal(tf.shape(aligned_mm))
        return self._negative_elbo(aligned_mm + noise_mm, aligned_mm, True, rng)

    def start_at_mean(self, spheres_mm):
        """Makes the decoder's bias the mean of some hands: training starts with their shape.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
        """
        mean_mm = tf.reduce_mean(self.align(spheres_mm)[0], axis=0)
        self.decoder.layers[-1].bias.assign(tf.reshape(mean_mm, [-1]) / _UNIT_MM)

    def reconstruct(self, spheres_mm, sample=False, rng=None):
        """Returns hands after encoding and decoding, float32 `[M, N, 3]`, mm, in the input's frame.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            sample: True to decode a sample of q(z | x), False for its mean.
            rng: As for `negative_elbo`.
        """
        aligned_mm, canonical_from_input = self.align(spheres_mm)
        latents = _latents(self.encode(aligned_mm), sample, rng)
        return rigid.apply(rigid.inverse(canonical_from_input), self.decode(latents).mean())

    def sample(self, num_hands, seed=None):
        """Returns hands of the prior, float32 `[num_hands, N, 3]`, mm, canonical frame."""
        latents = tf.random.normal([num_hands, self.pose_config.latent_size], seed=seed)
        return self.decode(latents).mean()

    def reconstruction_errors(self, spheres_mm, rng=None):
        """Measures reconstructions, to tell a prior from a mere auto-encoder.

        Args:
            spheres_mm: float32 `[M, N, 3]`, mm, any frame.
            rng: As for `negative_elbo`.

        Returns:
            A dict of scalars: `mean_latent_mm` and `sampled_latent_mm`, the mean distance of a
            sphere from its reconstruction with the mean of q(z | x) and with samples of it.
        """

        def mean_distance(sample):
            residual_mm = self.reconstruct(spheres_mm, sample, rng) - spheres_mm
            return tf.reduce_mean(tf.norm(residual_mm, axis=-1))

        return {"mean_latent_mm": mean_distance(False), "sampled_latent_mm": mean_distance(True)}

    def call(self, spheres_mm):
        """Same as `reconstruct`."""
        return self.reconstruct(spheres_mm)

    def _negative_elbo(self, encoded_mm, decoded_mm, sample, rng):
        posterior = self.encode(encoded_mm)
        latents = _latents(posterior, sample, rng)
        prior = tfd.MultivariateNormalDiag(tf.zeros_like(latents), tf.ones_like(latents))
        log_likelihood = self.decode(latents).log_prob(decoded_mm)
        divergence = tfd.kl_divergence(posterior, prior)
        return (divergence - log_likelihood) / self.num_coordinates


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
        raise ValueError(f"Cannot use {directory / _CONFIG_NAME}: {error}") from error
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
    return keras.Sequential(
        [
            keras.Input((input_size,)),
            layers.Dense(hidden_size, activation="silu"),
            layers.Dense(hidden_size, activation="silu"),
            layers.Dense(output_size),
        ],
        name=name,
    )
