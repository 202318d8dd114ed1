"""Hands of known pose and shape, seen by three clean cameras."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.geometry import crop, rigid
from tfhand.hand import pose_sampling, skeleton, spheres, surface, template
from tfhand.synthesis import depth

__all__ = ["SPEC", "SeenHands", "see"]

SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)
# Degrees about x and y from the first camera to the three views.
VIEW_ANGLES_DEG = ((0.0, 0.0), (8.0, 52.0), (-5.0, -48.0))


@dataclasses.dataclass(frozen=True)
class SeenHands:
    """Hands and their depth maps; two subjects take turns.

    Attributes:
        spheres_mm: float32 [n, 41, 3], reference frame.
        depth_mm: float32 [n, 3, 64, 64], crop depth, without noise but with the forearm.
        ref_from_crop: float32 [n, 3, 4, 4].
        group: int [n].
        shape: float32 [2, P].
    """

    spheres_mm: np.ndarray
    depth_mm: np.ndarray
    ref_from_crop: np.ndarray
    group: np.ndarray
    shape: np.ndarray

    def noisy(self, rng, per_axis_mm):
        """Sphere centers with independent noise."""
        noise = rng.normal(0.0, per_axis_mm, self.spheres_mm.shape)
        return (self.spheres_mm + noise).astype(np.float32)

    def errors_mm(self, spheres_mm):
        """Mean error of the 14 evaluation joints, [n]."""
        chosen = skeleton.EVALUATION_SPHERES
        difference = spheres_mm[:, chosen] - self.spheres_mm[:, chosen]
        return np.linalg.norm(difference, axis=-1).mean(axis=1)


def see(count, seed):
    """Draws `count` hands of two subjects and renders their skin for three cameras."""
    rng = tf.random.Generator.from_seed(seed)
    angles = pose_sampling.sample_angles(rng, count)
    shape = np.clip(
        np.random.default_rng(seed).normal(0.0, 0.8, (2, len(template.SHAPE_NAMES))), -1.5, 1.5
    )
    shape = (shape * template.SHAPE_STDDEV).astype(np.float32)
    group = np.arange(count) % 2
    rotation = pose_sampling.sample_rotation(rng, count)
    skin = surface.skinning_features(surface.sample_skin(20000, arm_mm=150.0))
    points = surface.pose_points(tf.constant(skin), angles, shape[group], rotation)
    centers, _ = spheres.pose_spheres(angles, tf.constant(shape[group]))
    centers = tf.matmul(centers, rotation, transpose_b=True)
    middle = tf.reduce_mean(centers, axis=1, keepdims=True)
    points -= tf.transpose(middle, [0, 2, 1])
    rotation_vectors = np.radians([[x, y, 0.0] for x, y in VIEW_ANGLES_DEG]).astype(np.float32)
    translations = rng.normal([count, len(rotation_vectors), 3], 0.0, 8.0)
    ref_from_crop = rigid.from_rotation_translation(
        rigid.rotation_from_axis_angle(rotation_vectors)[None], translations
    )
    in_view = rigid.apply(rigid.inverse(ref_from_crop), tf.transpose(points, [0, 2, 1])[:, None])
    in_view = tf.reshape(in_view, [count * len(rotation_vectors), -1, 3])
    crops = depth.splat_orthographic(tf.transpose(in_view, [0, 2, 1]), SPEC)
    size = SPEC.image_size
    return SeenHands(
        (centers - middle).numpy(),
        crops.numpy().reshape(count, len(rotation_vectors), size, size),
        ref_from_crop.numpy(),
        group,
        shape,
    )
