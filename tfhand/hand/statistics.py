"""Ranges of distances over the poses and subjects of the hand model (equations 14-16)."""

import functools

import numpy as np
import tensorflow as tf

from tfhand.hand import pose_sampling, skeleton, spheres

__all__ = ["collision_distances", "length_ranges", "sample_spheres"]

_SEED = 20
_SUBJECTS_AND_POSES = 6000
# Share of valid poses that the collision term may flag.
_FLAGGED_SHARE = 0.03
# Shares of the sampled lengths outside of their range, each side.
_OUTSIDE_SHARE = 0.002


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
def _hands():
    rng = tf.random.Generator.from_seed(_SEED)
    # Somewhat wider than the synthetic stage: a term that flags a real subject does harm.
    return tf.function(sample_spheres, autograph=False)(rng, _SUBJECTS_AND_POSES, 1.25).numpy()


def _distances(pairs):
    hands = _hands()
    return np.linalg.norm(hands[:, pairs[:, 0]] - hands[:, pairs[:, 1]], axis=-1)


@functools.lru_cache(maxsize=1)
def length_ranges():
    """Returns the ranges of equation 14 over the subjects that the hand model can make.

    Returns:
        (min_mm [K], max_mm [K]), float32, for `skeleton.LENGTH_PAIRS`.
    """
    lengths = _distances(skeleton.LENGTH_PAIRS)
    low, high = np.quantile(lengths, [_OUTSIDE_SHARE, 1.0 - _OUTSIDE_SHARE], axis=0)
    return low.astype(np.float32), high.astype(np.float32)


@functools.lru_cache(maxsize=1)
def collision_distances():
    """Returns the smallest distances of equation 16: they flag at most 3 % of valid poses.

    The physical r_j + r_k would flag them all, since neighboring spheres overlap. Every pair has
    the same quantile of its own distances, the largest one that keeps to the share.

    Returns:
        float32 [K], mm, for `skeleton.COLLISION_PAIRS`.
    """
    distances = _distances(skeleton.COLLISION_PAIRS)
    best = distances.min(axis=0)
    for share in np.geomspace(1e-4, 1e-2, 25):
        limits = np.quantile(distances, share, axis=0)
        if (distances < limits).any(axis=1).mean() > _FLAGGED_SHARE:
            break
        best = limits
    return best.astype(np.float32)
