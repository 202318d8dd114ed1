"""Spheres estimated in one view, seen from every other view (section 3.4.1).

Axes of the result: `[batch, source view i, target view j, sphere, 3]`. The data terms of view j
take the spheres of all views i, in the crop frame of view j; the diagonal i = j is the single-view
case.
"""

import tensorflow as tf

from tfhand.geometry import rigid

__all__ = ["project_to_views"]


def project_to_views(spheres_mm, crop_j_from_crop_i):
    """Moves the spheres of each view into the crop frame of every view.

    `p_j = R_ji (p_i + center_i) + t_ji - center_j`, with everything on the right folded into one
    transform by `tfhand.geometry.rigid.crop_j_from_crop_i`.

    Args:
      spheres_mm: float32 `[B, V, N, 3]`, sphere centers, mm, crop frame of their own view.
      crop_j_from_crop_i: float32 `[B, V, V, 4, 4]`, index `[b, i, j]` maps crop i to crop j.

    Returns:
      float32 `[B, V, V, N, 3]`, mm: `[b, i, j]` are the spheres of view i in the crop frame of
      view j.

    Raises:
      ValueError: if the shapes do not fit.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, dtype=tf.float32)
    crop_j_from_crop_i = tf.convert_to_tensor(crop_j_from_crop_i, dtype=tf.float32)
    if spheres_mm.shape.rank != 4 or spheres_mm.shape[3] != 3:
        raise ValueError(
            f"Expected spheres of shape [batch, view, sphere, 3], received {spheres_mm.shape}."
        )
    batch, views = spheres_mm.shape[:2]
    if not crop_j_from_crop_i.shape.is_compatible_with([batch, views, views, 4, 4]):
        raise ValueError(
            f"Expected transforms of shape {[batch, views, views, 4, 4]} for spheres of shape "
            f"{spheres_mm.shape}, received {crop_j_from_crop_i.shape}."
        )
    return rigid.apply(crop_j_from_crop_i, spheres_mm[:, :, tf.newaxis])
