"""The forearm in the data terms: the spheres do not model it. Not in the paper.

An arm has no end in a crop. Its points drag the hand toward the elbow, and the spheres of the wrist
can slide along it and meet no more or less of it. So its points are left out, and where along the
arm the wrist is, the data terms do not tell: bone lengths, the prior and the synthetic samples do.
"""

import numpy as np
import tensorflow as tf

from tfhand.hand import skeleton

__all__ = ["hold_wrist", "point_mask"]

_EPSILON_MM2 = 1e-6
_IS_WRIST = np.isin(np.arange(len(skeleton.SPHERE_NAMES)), skeleton.WRIST_SPHERES)


def point_mask(points_mm, spheres_mm, margin_mm=10.0):
    """Tells which points can belong to the hand: those not beyond the wrist.

    The plane through the wrist, moved by the margin toward the elbow, is orthogonal to the line
    from wrist to palm.

    Note: no gradient; spheres must not move to choose their points.

    Args:
        points_mm: float32 `[..., P, 3]`, mm.
        spheres_mm: float32 `[..., 41, 3]`, mm, same frame; leading axes broadcast.
        margin_mm: float, how far beyond the wrist points are still kept, mm.

    Returns:
        bool `[..., P]`, True for points to keep; all of them where wrist and palm coincide.
    """
    points_mm = tf.convert_to_tensor(points_mm, dtype=tf.float32)
    wrist, axis = _wrist_and_axis(spheres_mm)
    along = tf.reduce_sum((points_mm - wrist) * axis, axis=-1)
    return along >= -margin_mm


def hold_wrist(spheres_mm):
    """Takes from the wrist its gradient along the arm.

    Args:
        spheres_mm: float32 `[..., 41, 3]`, mm.

    Returns:
        float32 `[..., 41, 3]`, the same values. The gradient of the two spheres of the wrist has
        lost its part along the line from wrist to palm; nothing of it where the two coincide.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, dtype=tf.float32)
    _, axis = _wrist_and_axis(spheres_mm)
    # Zero, with the gradient of what is taken away.
    moved = spheres_mm - tf.stop_gradient(spheres_mm)
    along = tf.reduce_sum(moved * axis, axis=-1, keepdims=True) * axis
    return spheres_mm - tf.where(_IS_WRIST[:, np.newaxis], along, 0.0)


def _wrist_and_axis(spheres_mm):
    """Center of the wrist and direction from there to the palm, `[..., 1, 3]`, without gradient."""
    spheres_mm = tf.stop_gradient(tf.convert_to_tensor(spheres_mm, dtype=tf.float32))
    wrist = tf.gather(spheres_mm, skeleton.WRIST_SPHERES, axis=-2)
    wrist = tf.reduce_mean(wrist, axis=-2, keepdims=True)
    axis = spheres_mm[..., skeleton.PALM_CENTER_SPHERE, :][..., tf.newaxis, :] - wrist
    return wrist, axis / tf.sqrt(tf.reduce_sum(axis**2, axis=-1, keepdims=True) + _EPSILON_MM2)
