"""The 41 spheres on the skeleton, and the denser surface interpolated from them (section 3.1)."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tfhand.hand import asset, kinematics, skeleton

__all__ = ["SphereModel", "dense_spheres", "joints_from_spheres", "load", "pose_spheres"]


@dataclasses.dataclass(frozen=True)
class SphereModel:
    """The template's spheres at rest.

    Attributes:
        centers_mm: float32 [41, 3], hand frame, in the order of `skeleton.SPHERE_NAMES`.
        radii_mm: float32 [41].
        bones: int32 [41], the bone of `template.BONES` that carries each sphere.
        dense_weights: float32 [M, 41]: the denser surface's centers are this times the 41; its
            first 41 rows are the 41 themselves.
        dense_radius_factors: float32 [M]: its radii are these times the interpolated radii.
    """

    centers_mm: np.ndarray
    radii_mm: np.ndarray
    bones: np.ndarray
    dense_weights: np.ndarray
    dense_radius_factors: np.ndarray


@functools.lru_cache(maxsize=1)
def load():
    """Returns the `SphereModel` of the package.

    Raises:
        ValueError: If the asset is damaged, or does not hold one sphere per name.
    """
    arrays, _ = asset.read_group("spheres")
    model = SphereModel(**arrays)
    if len(model.centers_mm) != len(skeleton.SPHERE_NAMES):
        raise ValueError(
            f"Expected a hand asset with {len(skeleton.SPHERE_NAMES)} spheres, "
            f"received {len(model.centers_mm)}."
        )
    return model


def pose_spheres(angles, shape):
    """Moves the 41 spheres with the bones.

    Args:
        angles: float32 [B, 23], radians, see `template.ANGLE_NAMES`.
        shape: float32 [B, P], see `template.SHAPE_NAMES`.

    Returns:
        (centers_mm [B, 41, 3] in the hand frame, radii_mm [B, 41]); radii grow with the
        thickness of their bone.
    """
    model = load()
    motion = kinematics.bone_motion(angles, shape)
    matrices = tf.gather(motion.matrices, model.bones, axis=1)
    offsets = tf.gather(motion.offsets_mm, model.bones, axis=1)
    # centers[b,n] = matrices[b,n,r,c] rest[n,c] + offsets[b,n]
    centers = tf.einsum("bnrc,nc->bnr", matrices, tf.constant(model.centers_mm)) + offsets
    return centers, model.radii_mm * tf.gather(motion.thickness, model.bones, axis=1)


def dense_spheres(centers_mm, radii_mm):
    """Interpolates a denser surface from the 41 spheres. Not in the paper.

    Forty-one spheres leave gaps, above all across the palm, which the data terms would fill by
    deforming the hand. The map is linear and fixed, so gradients reach the 41 centers and radii.

    Args:
        centers_mm: float32 [..., 41, 3].
        radii_mm: float32 [41] or [..., 41].

    Returns:
        (centers_mm [..., M, 3], radii_mm [M] or [..., M]).
    """
    model = load()
    weights = tf.constant(model.dense_weights)
    # centers[...,m,d] = weights[m,n] centers[...,n,d]
    centers = tf.einsum("mn,...nd->...md", weights, centers_mm)
    radii = tf.einsum("mn,...n->...m", weights, tf.convert_to_tensor(radii_mm))
    return centers, radii * model.dense_radius_factors


def joints_from_spheres(spheres_mm):
    """Picks NYU's 36 joints from the spheres, [..., 41, 3] -> [..., 36, 3]."""
    return tf.gather(spheres_mm, skeleton.SPHERE_FROM_JOINT, axis=-2)
