"""Agreement of the views on one hand (section 3.4.1, equation 12)."""

import tensorflow as tf

__all__ = ["median_over_views", "multi_view_consistency"]


def multi_view_consistency(spheres_ref_mm, view_weights=None):
    """Squared distance of each view's spheres to their median over views, equation 12.

    `mean over v and j of ||T_v(c^(j, v)) - median_v T_v(c^(j, v))||^2`; the paper sums. One view
    alone, or two, agree with their median as well as they can: one gives 0.

    Note: the median is a target, without gradient: each view is drawn to it, and the view that is
    the median in a coordinate is not pushed in that coordinate. With a gradient the term would pull
    the best view toward the outliers.

    Args:
      spheres_ref_mm: float32 `[B, V, N, 3]`, mm, all views in one common frame.
      view_weights: None or float32 `[B, V]`, not negative; a view with weight 0 (missing, not
        trusted) is left out of the median and of the mean. Weights do not bias the median
        otherwise.

    Returns:
      float32 `[B]`, mm^2; 0 for a sample whose views all have weight 0.

    Raises:
      ValueError: if the shapes do not fit.
    """
    spheres_ref_mm = tf.convert_to_tensor(spheres_ref_mm, dtype=tf.float32)
    if spheres_ref_mm.shape.rank != 4 or spheres_ref_mm.shape[3] != 3:
        raise ValueError(
            f"Expected spheres of shape [batch, view, sphere, 3], received {spheres_ref_mm.shape}."
        )
    if view_weights is None:
        view_weights = tf.ones(tf.shape(spheres_ref_mm)[:2])
    view_weights = tf.convert_to_tensor(view_weights, dtype=tf.float32)
    if not view_weights.shape.is_compatible_with(spheres_ref_mm.shape[:2]):
        raise ValueError(
            f"Expected view weights of shape {spheres_ref_mm.shape[:2]}, "
            f"received {view_weights.shape}."
        )
    median = tf.stop_gradient(median_over_views(spheres_ref_mm, view_weights > 0.0))
    squared = tf.reduce_sum(tf.square(spheres_ref_mm - median[:, tf.newaxis]), axis=-1)
    per_view = tf.reduce_mean(squared, axis=-1)
    total = tf.reduce_sum(per_view * view_weights, axis=1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(view_weights, axis=1))


def median_over_views(spheres_ref_mm, use_view=None):
    """The paper's robust average: the median over views, coordinate by coordinate.

    Args:
      spheres_ref_mm: float32 `[B, V, N, 3]`, mm, all views in one common frame.
      use_view: None or bool `[B, V]`, the views that count.

    Returns:
      float32 `[B, N, 3]`, mm. For an even number of views the mean of the middle two; 0 for a
      sample without a view.
    """
    spheres_ref_mm = tf.convert_to_tensor(spheres_ref_mm, dtype=tf.float32)
    if use_view is None:
        use_view = tf.ones(tf.shape(spheres_ref_mm)[:2], tf.bool)
    # Unused views sort to the end.
    last = spheres_ref_mm.dtype.max
    ordered = tf.sort(tf.where(use_view[..., tf.newaxis, tf.newaxis], spheres_ref_mm, last), axis=1)
    count = tf.reduce_sum(tf.cast(use_view, tf.int32), axis=1)
    final = tf.maximum(count - 1, 0)
    lower = tf.gather(ordered, final // 2, axis=1, batch_dims=1)
    upper = tf.gather(ordered, tf.minimum(count // 2, final), axis=1, batch_dims=1)
    return tf.where(count[:, tf.newaxis, tf.newaxis] > 0, 0.5 * lower + 0.5 * upper, 0.0)
