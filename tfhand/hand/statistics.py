"""Statistics of the poses and subjects of the hand model, of equations 14 to 16 and of fits."""

import functools

import numpy as np
import tensorflow as tf

from tfhand.hand import pose_sampling, skeleton, spheres, template

__all__ = ["collision_distances", "length_ranges", "pose_deviations", "sample_spheres"]

_SEED = 20
_SUBJECTS_AND_POSES = 6000
# The sampled shapes' spread times this: joints are not found to the millimeter, and a term that
# flags a real subject does harm.
_SHAPE_SCALE = 1.1
# Shares of the sampled lengths outside of their range, each side.
_OUTSIDE_SHARE = 0.001
# Share of the sum of two mean radii that their centers keep: of 200 people the one with the
# thinnest fingers has 0.78 of the mean radii (`template.SHAPE_STDDEV`), and flesh that is pressed
# together gives way by about a fifth (an assumption: 3 of 16 mm where two finger tips meet).
_TOUCHING_SHARE = 0.6
# Of the joint angles beside what they share, rad: no direction is certain.
_ANGLE_NOISE = 0.02
_IS_FINGER = np.array([not name.startswith("WRIST_") for name in template.ANGLE_NAMES])


def sample_spheres(rng, batch, shape_scale=1.0):
    """Draws sphere centers of random subjects in random poses.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of hands B.
        shape_scale: Factor on the spread of shapes.

    Returns:
        float32 [B, 41, 3], mm, hand frame.
    """
    angles = pose_sampling.sample_angles(rng, batch)
    shape = pose_sampling.sample_shape(rng, batch, shape_scale)
    return spheres.pose_spheres(angles, shape)[0]


@functools.lru_cache(maxsize=1)
def length_ranges():
    """Returns the ranges of equation 14 over the subjects that the hand model can make.

    Returns:
        (min_mm [K], max_mm [K]), float32, for `skeleton.LENGTH_PAIRS`.
    """
    rng = tf.random.Generator.from_seed(_SEED)
    draw = tf.function(sample_spheres, autograph=False)
    hands = draw(rng, _SUBJECTS_AND_POSES, _SHAPE_SCALE).numpy()
    first, second = skeleton.LENGTH_PAIRS.T
    lengths = np.linalg.norm(hands[:, first] - hands[:, second], axis=-1)
    low, high = np.quantile(lengths, [_OUTSIDE_SHARE, 1.0 - _OUTSIDE_SHARE], axis=0)
    return low.astype(np.float32), high.astype(np.float32)


@functools.lru_cache(maxsize=1)
def collision_distances():
    """Returns the smallest distances of equation 16: 0.6 of the sum of the two radii.

    Spheres that are closer belong to fingers that lie in each other, of whatever person. The whole
    sum, r_j + r_k, would flag every touch, a fist, and each person with thin fingers.

    Returns:
        float32 [K], mm, for `skeleton.COLLISION_PAIRS`.
    """
    radii = spheres.load().radii_mm[skeleton.COLLISION_PAIRS]
    return (_TOUCHING_SHARE * radii.sum(axis=1)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _finger_poses():
    """Returns mean [F] of the fingers' sampled angles, and what makes them independent [F, F]."""
    rng = tf.random.Generator.from_seed(_SEED)
    angles = pose_sampling.sample_angles(rng, 2 * _SUBJECTS_AND_POSES).numpy()[:, _IS_FINGER]
    covariance = np.cov(angles, rowvar=False) + _ANGLE_NOISE**2 * np.eye(angles.shape[1])
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    return angles.mean(axis=0), whitening.astype(np.float32)


def pose_deviations(angles):
    """Returns how far poses are from the mean of sampled ones, in standard deviations.

    Args:
        angles: float32 [B, 23], radians.

    Returns:
        float32 [B, F], independent and of variance 1 over sampled poses; without the wrist.
    """
    mean, whitening = _finger_poses()
    return tf.matmul(tf.boolean_mask(angles, _IS_FINGER, axis=1) - mean, whitening)
