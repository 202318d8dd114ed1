"""The hand's skin: points on it, posed and shaped by linear blend skinning.

Letters in the index formulas: b batch, m skin point, k bone, r and c rows and columns.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tfhand.hand import asset, kinematics, template

__all__ = ["Skin", "load_mesh", "pose_points", "sample_skin", "skinning_features"]


@dataclasses.dataclass(frozen=True)
class Skin:
    """Points of the skin at rest.

    Attributes:
        points_mm: float32 [M, 3], hand frame.
        normals: float32 [M, 3], outward unit vectors.
        blend_weights: float32 [M, K], share of each bone of `template.BONES`; rows sum to 1.
        faces: int32 [F, 3] indices of points, or None where the points are no mesh.
    """

    points_mm: np.ndarray
    normals: np.ndarray
    blend_weights: np.ndarray
    faces: np.ndarray | None = None


@functools.lru_cache(maxsize=1)
def load_mesh():
    """Returns the template's skin as a closed mesh, a `Skin` with faces.

    Raises:
        ValueError: If the asset is damaged, or was made for other bones than the template has.
    """
    arrays, bones = asset.read_group("skin")
    expected = [bone.name for bone in template.BONES]
    if bones != expected:
        raise ValueError(f"Expected a hand asset with bones {expected}, received {bones}.")
    points, faces = arrays["vertices_mm"], arrays["faces"]
    weights = arrays["blend_weights"].astype(np.float32)
    return Skin(
        points, _vertex_normals(points, faces), weights / weights.sum(1, keepdims=True), faces
    )


def _vertex_normals(points, faces):
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(points)
    for i in range(3):
        np.add.at(total, faces[:, i], normal)
    total /= np.linalg.norm(total, axis=-1, keepdims=True)
    # Marching cubes may wind its triangles either way; a closed mesh has a positive volume.
    volume = np.einsum("fd,fd->", corners[:, 0], normal)
    return total if volume > 0 else -total


@functools.lru_cache(maxsize=4)
def sample_skin(count, arm_mm=400.0, seed=0):
    """Returns about `count` points spread evenly over the skin, a `Skin` without faces.

    Twelve times as many random points are thinned to one in each cell of a grid whose edge leaves
    about `count` of them: without clusters, few points leave no holes.

    Args:
        count: Number of points; the result has as many within 2 %.
        arm_mm: Length of the forearm that is covered, mm.
        seed: Seed of the random points.

    Raises:
        ValueError: If count is not positive.
    """
    if count < 1:
        raise ValueError(f"Expected count >= 1, received {count}.")
    mesh = load_mesh()
    rng = np.random.default_rng(seed)
    corners = mesh.points_mm[mesh.faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
    )
    area = np.where(corners[..., 1].min(axis=1) < -arm_mm, 0.0, area)
    triangles = rng.choice(len(area), 12 * count, p=area / area.sum())
    mix = rng.dirichlet(np.ones(3), len(triangles)).astype(np.float32)

    def blend(values):
        # out[m,d] = mix[m,c] values[faces[triangles[m],c],d]
        return np.einsum("mc,mcd->md", mix, values[mesh.faces[triangles]])

    points = blend(mesh.points_mm)
    spread = _thin(points, count, np.sqrt(area.sum() / 2 / count))
    triangles, mix = triangles[spread], mix[spread]
    normals = blend(mesh.normals)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Skin(points[spread], normals, blend(mesh.blend_weights))


def _thin(points, count, cell_mm):
    """Returns indices of one point in each occupied cell, about `count` in all."""
    low, high = 0.5 * cell_mm, 3.0 * cell_mm
    for _ in range(20):
        edge = 0.5 * (low + high)
        cell = np.floor((points - points.min(axis=0)) / edge).astype(np.int64)
        # One number a cell: fewer than 4096 cells along any axis.
        _, indices = np.unique(cell @ np.array([1 << 24, 1 << 12, 1]), return_index=True)
        if abs(len(indices) - count) < 0.02 * count:
            break
        low, high = (edge, high) if len(indices) > count else (low, edge)
    return indices


def skinning_features(skin):
    """Returns the factors of `pose_points`, float32 [M, 4 * K], from a `Skin` with M points.

    `features[m, (k, c)] = blend_weights[m, k] (points_mm[m], 1)[c]`: skinning is linear in them,
    so that it becomes one matrix product.
    """
    homogeneous = np.concatenate([skin.points_mm, np.ones_like(skin.points_mm[:, :1])], axis=1)
    features = skin.blend_weights[:, :, None] * homogeneous[:, None, :]
    return features.reshape(len(features), -1).astype(np.float32)


def pose_points(features, angles, shape, rotation=None):
    """Moves skin points with the bones (linear blend skinning).

    Args:
        features: float32 [M, 4 * K], see `skinning_features`.
        angles: float32 [B, 23], radians, see `template.ANGLE_NAMES`.
        shape: float32 [B, P], see `template.SHAPE_NAMES`.
        rotation: Optional float32 [B, 3, 3], applied to the posed hand.

    Returns:
        float32 [B, 3, M]: rows are x, y and z in mm, in the hand frame or, with `rotation`, in
        axes turned by it. Coordinates come first because they are used one at a time.
    """
    motion = kinematics.bone_motion(angles, shape)
    # affine[b,k,r,c]: matrix in c < 3, offset in c = 3.
    affine = tf.concat([motion.matrices, motion.offsets_mm[..., None]], axis=-1)
    if rotation is not None:
        affine = rotation[:, None] @ affine
    # out[b,r,m] = affine[b,r,(k,c)] features[m,(k,c)]
    affine = tf.reshape(tf.transpose(affine, [0, 2, 1, 3]), [-1, 4 * len(template.BONES)])
    points = tf.matmul(affine, features, transpose_b=True)
    return tf.reshape(points, [-1, 3, tf.shape(features)[0]])
