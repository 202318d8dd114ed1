"""Forward kinematics: joint angles and shape to the motion of every bone.

Letters in the index formulas: b batch, k bone, a angle, p parameter of the shape, r, c, d and s
rows and columns of a matrix.
"""

import dataclasses
import functools

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


@functools.lru_cache(maxsize=1)
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
            origins.append(origins[parent] + axes[parent][:, 1] * template.BONES[parent].length_mm)
    return RestPose(
        np.array(origins, np.float32),
        np.array(axes, np.float32),
        np.array([bone.length_mm for bone in template.BONES], np.float32),
        np.array(parents),
    )


@functools.lru_cache(maxsize=1)
def _levels():
    """Returns bones by their distance from the root: int arrays, each after its parents'."""
    depth = []
    for parent in rest_pose().parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [np.flatnonzero(np.array(depth) == d) for d in range(max(depth) + 1)]


@functools.lru_cache(maxsize=1)
def _shape_table():
    """Returns the share of each parameter in the log factors along x, y, z, float32 [P, K, 3]."""
    table = np.zeros((len(template.SHAPE_NAMES), len(template.BONES), 3), np.float32)
    for k, bone in enumerate(template.BONES):
        if bone.name == "PALM":
            names = ["PALM_WIDTH"], ["PALM_LENGTH"], ["PALM_THICKNESS"]
        elif bone.name == "FOREARM":
            names = ["FOREARM_THICKNESS"], [], ["FOREARM_THICKNESS"]
        else:
            finger, number = bone.name.split("_")
            along = [f"{finger}_LENGTH", f"{bone.name}_LENGTH"]
            across = ["FINGER_THICKNESS"]
            if finger == "THUMB":
                across.append("THUMB_THICKNESS")
            else:
                along.append(f"BONE_{number}_LENGTH")
            names = across, along, across
        for axis, added in enumerate(names):
            for name in ["SIZE", *added]:
                table[template.shape_index(name), k, axis] = 1.0
    return table


@functools.lru_cache(maxsize=1)
def _place_table():
    """Returns the share of each parameter in the log factors of a joint's place, [P, K, 3].

    Along the hand frame's x, y, z, before the parent's own stretch.
    """
    table = np.zeros((len(template.SHAPE_NAMES), len(template.BONES), 3), np.float32)
    for name, bone, axis in (
        ("INDEX_METACARPAL_LENGTH", "INDEX_1", 1),
        ("RING_METACARPAL_LENGTH", "RING_1", 1),
        ("PINKY_METACARPAL_LENGTH", "PINKY_1", 1),
        ("THUMB_BASE_ACROSS", "THUMB_1", 0),
        ("THUMB_BASE_ALONG", "THUMB_1", 1),
    ):
        table[template.shape_index(name), template.BONE_INDEX[bone], axis] = 1.0
    return table


@functools.lru_cache(maxsize=1)
def _angle_table():
    """Returns the share of each angle in a bone's rotations about x, y, z, float32 [A, K, 3]."""
    table = np.zeros((len(template.ANGLE_NAMES), len(template.BONES), 3), np.float32)
    for k, bone in enumerate(template.BONES):
        # The wrist's angles say how the hand bends on the arm; the arm turns the other way in
        # the hand frame. Its y axis runs down the arm, so its x axis is mirrored too.
        prefix, abduct = ("WRIST", 1.0) if bone.name == "FOREARM" else (bone.name, -1.0)
        for axis, (suffix, sign) in enumerate((("FLEX", 1.0), ("TWIST", 1.0), ("ABDUCT", abduct))):
            if f"{prefix}_{suffix}" in template.ANGLES:
                table[template.angle_index(f"{prefix}_{suffix}"), k, axis] = sign
    return table


def _local_rotations(angles):
    """Returns Rz Rx Ry, each bone's rotation in its own axes: abduct, then flex, twist first."""
    # about[b,k,d] = angles[b,a] table[a,k,d]
    about = tf.einsum("ba,akd->bkd", angles, _angle_table())
    (cx, cy, cz), (sx, sy, sz) = (tf.unstack(f(about), axis=-1) for f in (tf.cos, tf.sin))
    # Rows of Rx Ry.
    first, second = (cy, tf.zeros_like(cy), sy), (sx * sy, cx, -sx * cy)
    rows = [
        [cz * a - sz * b for a, b in zip(first, second, strict=True)],
        [sz * a + cz * b for a, b in zip(first, second, strict=True)],
        [-cx * sy, sx, cx * cy],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _chain(rotations, arms):
    """Follows the chains from the root outwards, all bones of one level at a time.

    Args:
        rotations: float32 [B, K, 3, 3], of each bone about its joint, hand frame.
        arms: float32 [B, K, 3], mm, from the parent's joint to its own with the parent at rest; the
            root's is 0.

    Returns:
        (rotations float32 [B, K, 3, 3], origins float32 [B, K, 3]), hand frame.
    """
    parents, levels = rest_pose().parents, _levels()
    rotation = [tf.gather(rotations, levels[0], axis=1)]
    origin = [tf.gather(arms, levels[0], axis=1)]
    for above, level in zip(levels[:-1], levels[1:], strict=True):
        parent = np.searchsorted(above, parents[level])
        parent_rotation = tf.gather(rotation[-1], parent, axis=1)
        reach = tf.linalg.matvec(parent_rotation, tf.gather(arms, level, axis=1))
        origin.append(tf.gather(origin[-1], parent, axis=1) + reach)
        rotation.append(parent_rotation @ tf.gather(rotations, level, axis=1))
    order = np.argsort(np.concatenate(levels))
    return tuple(tf.gather(tf.concat(v, axis=1), order, axis=1) for v in (rotation, origin))


def bone_motion(angles, shape):
    """Poses the skeleton (sections 3.1 and 3.3: the hand that synthetic data comes from).

    Args:
        angles: float32 [B, 23], radians, in the order of `template.ANGLE_NAMES`.
        shape: float32 [B, P], log factors in the order of `template.SHAPE_NAMES`.

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
    axes = tf.constant(rest.axes)
    # scales[b,k,d] = exp(shape[b,p] table[p,k,d])
    scales = tf.exp(tf.einsum("bp,pkd->bkd", shape, _shape_table()))
    # stretch[b,k] = axes[k] diag(scales[b,k]) axes[k]^T
    stretch = tf.einsum("krc,bkc,ksc->bkrs", axes, scales, axes)
    # rotations[b,k] = axes[k] local[b,k] axes[k]^T
    rotations = tf.einsum("krc,bkcd,ksd->bkrs", axes, _local_rotations(angles), axes)
    # From the parent's joint to its own, at its person's place, stretched as the parent is.
    parents = np.maximum(rest.parents, 0)
    arms = rest.origins_mm - np.where(rest.parents[:, None] < 0, 0, rest.origins_mm[parents])
    # places[b,k,d] = exp(shape[b,p] table[p,k,d]) arms[k,d]
    places = tf.exp(tf.einsum("bp,pkd->bkd", shape, _place_table())) * arms
    # arms[b,k,r] = stretch[b,parent(k),r,s] places[b,k,s]
    arms = tf.einsum("bkrs,bks->bkr", tf.gather(stretch, parents, axis=1), places)
    rotations, origins = _chain(rotations, arms)
    matrices = rotations @ stretch
    # offsets[b,k] = origins[b,k] - matrices[b,k] rest.origins[k]
    offsets = origins - tf.einsum("bkrc,kc->bkr", matrices, tf.constant(rest.origins_mm))
    return BoneMotion(matrices, offsets, tf.sqrt(scales[..., 0] * scales[..., 2]))
