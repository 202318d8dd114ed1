"""Pairs of views: spheres estimated in view i against the depth of view j (section 3.4.1).

Axes: `[batch, source view i, target view j, sphere, 3]`. The data terms of view j take the spheres
of all views i, in the crop frame of view j; the diagonal i = j is the single-view case.
"""

import tensorflow as tf

from tfhand.geometry import rigid

__all__ = ["fold_pairs", "mean_over_pairs", "project_to_views"]


def project_to_views(spheres_mm, ref_from_crop):
    """Moves the spheres of each view into the crop frame of every view.

    Args:
        spheres_mm: float32 `[B, V, N, 3]`, mm, crop frame of their own view.
        ref_from_crop: float32 `[B, V, 4, 4]`, rigid.

    Returns:
        float32 `[B, V, V, N, 3]`, mm: `[b, i, j]` are the spheres of view i in the crop frame of
        view j.

    Raises:
        ValueError: If the shapes do not fit.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, dtype=tf.float32)
    ref_from_crop = tf.convert_to_tensor(ref_from_crop, dtype=tf.float32)
    if not ref_from_crop.shape.is_compatible_with([*spheres_mm.shape[:2], 4, 4]):
        raise ValueError(
            f"Expected transforms of shape {[*spheres_mm.shape[:2], 4, 4]} for spheres of shape "
            f"{spheres_mm.shape}, received {ref_from_crop.shape}."
        )
    # crop_j_from_crop_i[b,i,j] = inverse(ref_from_crop[b,j]) ref_from_crop[b,i]
    crop_j_from_crop_i = rigid.compose(
        rigid.inverse(ref_from_crop)[:, tf.newaxis], ref_from_crop[:, :, tf.newaxis]
    )
    return rigid.apply(crop_j_from_crop_i, spheres_mm[:, :, tf.newaxis])


def fold_pairs(projected_mm, radii_mm, observation):
    """Merges batch and view pairs, for the renderer and the search.

    Args:
        projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, crop frame of view j.
        radii_mm: float32 `[N]` or `[B, N]`, mm.
        observation: `Observation` of the views j.

    Returns:
        (centers float32 `[B * Vi * Vj, N, 3]`, radii `[N]` or `[B * Vi * Vj, N]`).

    Raises:
        ValueError: If the spheres are not those of pairs with the observed views.
    """
    projected_mm = tf.convert_to_tensor(projected_mm, dtype=tf.float32)
    radii_mm = tf.convert_to_tensor(radii_mm, dtype=tf.float32)
    batch, views = observation.depth_mm.shape[:2]
    if not projected_mm.shape.is_compatible_with([batch, None, views, None, 3]):
        raise ValueError(
            f"Expected projected spheres of shape {[batch, 'view i', views, 'N', 3]} beside depth "
            f"maps of {views} views, received {projected_mm.shape}."
        )
    if radii_mm.shape.rank == 2:
        shape = tf.concat([tf.shape(projected_mm)[:3], tf.shape(radii_mm)[1:]], axis=0)
        radii_mm = tf.broadcast_to(radii_mm[:, tf.newaxis, tf.newaxis], shape)
        radii_mm = tf.reshape(radii_mm, [-1, radii_mm.shape[3]])
    return tf.reshape(projected_mm, [-1, *projected_mm.shape[3:]]), radii_mm


def mean_over_pairs(values, has_surface, pair_weights=None):
    """Weighted mean over view pairs, of those whose target view shows something.

    Args:
        values: float32 `[B, Vi, Vj]`.
        has_surface: bool `[B, 1 or Vi, Vj]`; pairs without a surface are left out.
        pair_weights: None for 1, or float32 `[B, Vi, Vj]` (or what broadcasts to it), not negative.
            The identity matrix gives the single-view case.

    Returns:
        float32 `[B]`; 0 for a sample without any weight left.
    """
    weight = tf.cast(has_surface, tf.float32)
    if pair_weights is not None:
        weight *= tf.stop_gradient(tf.convert_to_tensor(pair_weights, dtype=tf.float32))
    weight = tf.broadcast_to(weight, tf.shape(values))
    total = tf.reduce_sum(values * weight, axis=[1, 2])
    return tf.math.divide_no_nan(total, tf.reduce_sum(weight, axis=[1, 2]))
