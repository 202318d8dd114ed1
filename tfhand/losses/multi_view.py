"""Agreement of the views on one hand (section 3.4.1, equation 12)."""

import tensorflow as tf

__all__ = ["median_over_views", "multi_view_consistency"]


def multi_view_consistency(spheres_ref_mm):
    """Squared distance of each view's spheres to their median over views, equation 12.

    `mean over v and j of ||T_v(c^(j, v)) - median_v T_v(c^(j, v))||^2`; the paper sums. One view
    alone, or two, agree with their median as well as they can: one gives 0.

    Note: the median is a target, without gradient: each view is drawn to it, and the view that is
    the median in a coordinate is not pushed in that coordinate. With a gradient the term would pull
    the best view toward the outliers.

    Args:
        spheres_ref_mm: float32 `[B, V, N, 3]`, mm, all views in one common frame.

    Returns:
        float32 `[B]`, mm^2.

    Raises:
        ValueError: If the shape does not fit.
    """
    spheres_ref_mm = tf.convert_to_tensor(spheres_ref_mm, dtype=tf.float32)
    if spheres_ref_mm.shape.rank != 4 or spheres_ref_mm.shape[3] != 3:
        raise ValueError(
            f"Expected spheres of shape [batch, view, sphere, 3], received {spheres_ref_mm.shape}."
        )
    median = tf.stop_gradient(median_over_views(spheres_ref_mm))
    squared = tf.reduce_sum(tf.square(spheres_ref_mm - median[:, tf.newaxis]), axis=-1)
    return tf.reduce_mean(tf.reduce_mean(squared, axis=-1), axis=1)


def median_over_views(spheres_ref_mm):
    """The paper's robust average: the median over views, coordinate by coordinate.

    Args:
        spheres_ref_mm: float32 `[B, V, N, 3]`, mm, all views in one common frame; V is static.

    Returns:
        float32 `[B, N, 3]`, mm. For an even number of views the mean of the middle two.
    """
    ordered = tf.sort(tf.convert_to_tensor(spheres_ref_mm, dtype=tf.float32), axis=1)
    num_views = ordered.shape[1]
    return 0.5 * ordered[:, (num_views - 1) // 2] + 0.5 * ordered[:, num_views // 2]
