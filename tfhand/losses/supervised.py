"""Supervision on coordinates or on maps, for synthetic data (section 3.3, equation 3)."""

import tensorflow as tf

__all__ = ["coordinate_l1", "heatmap_mse", "latent_depth_l1"]


def coordinate_l1(pred_mm, target_mm, mask=None):
    """Mean absolute difference of coordinates.

    Args:
        pred_mm: float32 `[..., N, 3]`, mm.
        target_mm: float32 `[..., N, 3]`, mm, same frame.
        mask: None, or bool or float32 `[..., N]`, weights of the points; 0 leaves one out, whatever
            its target holds (NaN included).

    Returns:
        float32 `[...]`, mm, mean over the points in the mask and the coordinates; 0 without points.

    Raises:
        ValueError: If the shapes do not fit.
    """
    pred_mm, target_mm = _same_shape(pred_mm, target_mm, "coordinates")
    if mask is None:
        return tf.reduce_mean(tf.abs(pred_mm - target_mm), axis=[-2, -1])
    weight = tf.cast(mask, tf.float32)
    # Replaced before the difference: NaN * 0 is NaN, in the gradient too.
    target_mm = tf.where(weight[..., tf.newaxis] > 0.0, target_mm, tf.stop_gradient(pred_mm))
    error = tf.reduce_mean(tf.abs(pred_mm - target_mm), axis=-1)
    total = tf.reduce_sum(error * weight, axis=-1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weight, axis=-1))


def heatmap_mse(pred, target):
    """Mean squared difference of heatmaps.

    Args:
        pred: float32 `[M, ..., h, h, N]`, no unit; leading axes, such as network stacks, between.
        target: float32, the same shape, from `tfhand.rendering.heatmaps.target_heatmaps`.

    Returns:
        float32 `[M]`, mean over everything but the batch.

    Raises:
        ValueError: If the shapes differ.
    """
    pred, target = _same_shape(pred, target, "heatmaps")
    return tf.reduce_mean(tf.square(pred - target), axis=list(range(1, pred.shape.rank)))


def latent_depth_l1(pred_mm, target_depth_mm, target_heatmaps):
    """Difference between latent depth maps and equation 3.

    Equation 3 sets the map of sphere j to its depth d_j where its heatmap is positive and to 0
    elsewhere. Only the first half is supervised: the decoder weighs the map with the heatmap, so
    the values elsewhere do not matter, and 0 there would teach a depth that no surface has.

    Args:
        pred_mm: float32 `[M, h, w, N]`, latent depth maps, mm.
        target_depth_mm: float32 `[M, N]`, depth of the sphere centers, mm, crop frame.
        target_heatmaps: float32 `[M, h, w, N]`.

    Returns:
        float32 `[M]`, mm, mean over the cells where target heatmaps are positive; 0 if none are.

    Raises:
        ValueError: If the shapes do not fit.
    """
    pred_mm, target_heatmaps = _same_shape(pred_mm, target_heatmaps, "latent depth and heatmaps")
    target_depth_mm = tf.convert_to_tensor(target_depth_mm, dtype=tf.float32)
    inside = tf.cast(target_heatmaps > 0.0, tf.float32)
    error = tf.abs(pred_mm - target_depth_mm[:, tf.newaxis, tf.newaxis]) * inside
    total = tf.reduce_sum(error, axis=[1, 2, 3])
    return tf.math.divide_no_nan(total, tf.reduce_sum(inside, axis=[1, 2, 3]))


def _same_shape(first, second, what):
    first = tf.convert_to_tensor(first, dtype=tf.float32)
    second = tf.convert_to_tensor(second, dtype=tf.float32)
    if not first.shape.is_compatible_with(second.shape):
        raise ValueError(f"Expected {what} of equal shape, received {first.shape}, {second.shape}.")
    return first, second
