"""Pairs of views: spheres of view i against the depth of view j, for V x V pairs of a sample."""

import tensorflow as tf

__all__ = ["check_pairs", "fold_pairs", "mean_over_pairs"]


def check_pairs(projected_mm, depth_mm):
    """Checks spheres of view pairs against depth maps.

    Args:
      projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, crop frame of view j.
      depth_mm: float32 `[B, Vj, S, S]`, mm.

    Returns:
      Both as tensors; `depth_mm` without gradient.

    Raises:
      ValueError: if the shapes do not fit, or N or S is not static.
    """
    projected_mm = tf.convert_to_tensor(projected_mm, dtype=tf.float32)
    depth_mm = tf.stop_gradient(tf.convert_to_tensor(depth_mm, dtype=tf.float32))
    spheres, depth = projected_mm.shape, depth_mm.shape
    if spheres.rank != 5 or not spheres[3] or spheres[4] != 3:
        raise ValueError(
            "Expected projected spheres of shape [batch, view i, view j, N, 3] with a static N, "
            f"received {spheres}."
        )
    if depth.rank != 4 or not depth[2] or depth[2] != depth[3]:
        raise ValueError(
            f"Expected depth of shape [batch, view j, S, S] with a static S, received {depth}."
        )
    if not depth[:2].is_compatible_with([spheres[0], spheres[2]]):
        raise ValueError(
            f"Expected spheres and depth of the same views, received {spheres}, {depth}."
        )
    return projected_mm, depth_mm


def fold_pairs(projected_mm, radii_mm):
    """Merges batch and view pairs.

    Args:
      projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm.
      radii_mm: float32 `[N]` or `[B, N]`, mm.

    Returns:
      centers float32 `[B * Vi * Vj, N, 3]`, and radii `[N]` or `[B * Vi * Vj, N]`.

    Raises:
      ValueError: if the radii do not fit.
    """
    shape, count = tf.shape(projected_mm), projected_mm.shape[3]
    radii_mm = tf.convert_to_tensor(radii_mm, dtype=tf.float32)
    if radii_mm.shape.rank not in (1, 2) or radii_mm.shape[-1] != count:
        raise ValueError(
            f"Expected radii of shape [{count}] or [batch, {count}], received {radii_mm.shape}."
        )
    if radii_mm.shape.rank == 2:
        radii_mm = tf.broadcast_to(radii_mm[:, tf.newaxis, tf.newaxis], shape[:4])
        radii_mm = tf.reshape(radii_mm, [-1, count])
    return tf.reshape(projected_mm, [-1, count, 3]), radii_mm


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
