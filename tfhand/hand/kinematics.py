"""Forward kinematics: joint angles and shape to the motion of every bone.

Letters in the index formulas: b batch, k bone, r and c rows and columns of a matrix.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.hand import template

__all__ = ["BoneMotion", "RestPose", "bone_motion", "rest_pose"]


@dataclasses.dataclass(frozen=True)
class RestPose:
    """The skeleton at rest, in the hand frame.

    Attributes:
        origins_mm: float32 [K, 3], the joint that each bone turns about.
        axes: float32 [K, 3, 3], columns are the bone's x, y (along it) and z (palmar) axes.
        lengths_mm: float32 [K].
        parents: int [K], -1 for the root.
    """

    origins_mm: np.ndarray
    axes: np.ndarray
    lengths_mm: np.ndarray
    parents: np.ndarray


@dataclasses.dataclass(frozen=True)
class BoneMotion:
    """Affine motion of each bone's material from the hand frame at rest to the posed hand frame.

    A point p at rest on bone k goes to `matrices[k] @ p + offsets_mm[k]`. The matrices hold the
    bone's scaling too, so they are no rotations unless the shape is zero.

    Attributes:
        matrices: float32 [B, K, 3, 3].
        offsets_mm: float32 [B, K, 3].
        thickness: float32 [B, K], factor by which the bone's cross-section grew.
    """

    matrices: tf.Tensor
    offsets_mm: tf.Tensor
    thickness: tf.Tensor


def rest_pose():
    """Returns the `RestPose` of the template."""
    origins, axes, parents = [], [], []
    for bone in template.BONES:
        y = np.array(bone.direction) / np.linalg.norm(bone.direction)
        z = np.array(bone.palmar) - np.dot(bone.palmar, y) * y
        z /= np.linalg.norm(z)
        axes.append(np.stack([np.cross(y, z), y, z], axis=1))
        parent = template.BONE_INDEX[bone.parent] if bone.parent else -1
        parents.append(parent)
        if bone.origin_mm is not None:
            origins.append(np.array(bone.origin_mm))
        else:
            origins.append(
                origins[parent] + axes[parent][:, 1] * template.BONES[parent].length_mm
            )
    return RestPose(
        np.array(origins, np.float32),
        np.array(axes, np.float32),
        np.array([bone.length_mm for bone in template.BONES], np.float32),
        np.array(parents),
    )


def _scales(shape):
    """Returns the factors along x, y, z of every bone, [B, K, 3], from shape [B, P]."""

    def factor(*names):
        return tf.exp(tf.add_n([shape[:, template.shape_index(name)] for name in names]))

    scales = []
    for bone in template.BONES:
        if bone.name == "PALM":
            x, y, z = (factor("SIZE", f"PALM_{n}") for n in ("WIDTH", "LENGTH", "THICKNESS"))
        elif bone.name == "FOREARM":
            x = z = factor("SIZE", "FOREARM_THICKNESS")
            y = factor("SIZE")
        else:
            finger, number = bone.name.split("_")
            x = z = factor("SIZE", "FINGER_THICKNESS")
            y = factor("SIZE", f"{finger}_LENGTH", f"BONE_{number}_LENGTH")
        scales.append(tf.stack([x, y, z], axis=-1))
    return tf.stack(scales, axis=1)


def _rotation(axis, angle):
    """Returns the rotation by `angle` [B] about the bone's x, y or z axis, [B, 3, 3]."""
    c, s, zero, one = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle), tf.ones_like(angle)
    rows = {
        "x": [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        "y": [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        "z": [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }[axis]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _local_rotation(name, angles):
    """Returns the turn of the bone about its joint in its own axes, [B, 3, 3], or None."""

    def angle(suffix):
        return angles[:, template.angle_index(suffix)]

    if name == "PALM":
        return None
    if name == "FOREARM":
        # The wrist's angles say how the hand bends on the arm; the arm turns the other way in
        # the hand frame. Its y axis runs down the arm, so its x axis is mirrored too.
        return _rotation("z", angle("WRIST_ABDUCT")) @ _rotation("x", angle("WRIST_FLEX"))
    rotation = _rotation("x", angle(f"{name}_FLEX"))
    if f"{name}_ABDUCT" in template.ANGLES:
        rotation = _rotation("z", -angle(f"{name}_ABDUCT")) @ rotation
    if f"{name}_TWIST" in template.ANGLES:
        rotation = rotation @ _rotation("y", angle(f"{name}_TWIST"))
    return rotation


def bone_motion(angles, shape):
    """Poses the skeleton (sections 3.1 and 3.3: the hand that synthetic data comes from).

    Args:
        angles: float32 [B, 23], radians, in the order of `template.ANGLE_NAMES`.
        shape: float32 [B, 14], log factors in the order of `template.SHAPE_NAMES`.

    Returns:
        A `BoneMotion` in the hand frame: the palm stays where it is.

    Raises:
        ValueError: If the last dimensions are not those of the template.
    """
    angles = tf.convert_to_tensor(angles, tf.float32)
    shape = tf.convert_to_tensor(shape, tf.float32)
    for name, tensor, size in (
        ("angles", angles, len(template.ANGLE_NAMES)),
        ("shape", shape, len(template.SHAPE_NAMES)),
    ):
        if tensor.shape.rank != 2 or tensor.shape[-1] != size:
            raise ValueError(f"Expected {name} of shape [B, {size}], received {tensor.shape}.")
    rest = rest_pose()
    scales = _scales(shape)
    # Rotation of each bone's axes from rest, and its joint, both in the hand frame.
    turns, origins = [], []
    for k, bone in enumerate(template.BONES):
        axes = tf.constant(rest.axes[k])
        local = _local_rotation(bone.name, angles)
        turn = axes @ local @ tf.transpose(axes) if local is not None else None
        parent = rest.parents[k]
        if parent < 0:
            turns.append(tf.eye(3, batch_shape=[tf.shape(angles)[0]]))
            origins.append(tf.zeros_like(angles[:, :3]) + rest.origins_mm[k])
            continue
        # How far this joint lies from the parent's, stretched along the parent's axes.
        parent_axes = tf.constant(rest.axes[parent])
        arm = rest.origins_mm[k] - rest.origins_mm[parent]
        stretched = scales[:, parent] * tf.linalg.matvec(parent_axes, arm, transpose_a=True)
        offset = tf.linalg.matvec(turns[parent] @ parent_axes, stretched)
        origins.append(origins[parent] + offset)
        turns.append(turns[parent] @ turn)
    turns, origins = tf.stack(turns, axis=1), tf.stack(origins, axis=1)
    # matrices[b,k] = turns[b,k] axes[k] diag(scales[b,k]) axes[k]^T
    axes = tf.constant(rest.axes)
    stretch = tf.einsum("krc,bkc,ksc->bkrs", axes, scales, axes)
    matrices = turns @ stretch
    # offsets[b,k] = origins[b,k] - matrices[b,k] rest.origins[k]
    offsets = origins - tf.einsum("bkrc,kc->bkr", matrices, tf.constant(rest.origins_mm))
    return BoneMotion(matrices, offsets, tf.sqrt(scales[..., 0] * scales[..., 2]))
