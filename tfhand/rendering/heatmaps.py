"""Target heatmaps of sphere centers, the labels behind equation 3 of the paper.

Heatmaps are h x h grids over a crop of side `cube_mm`. Rows are y, columns are x, and the center of
cell i is at (i + 1/2) cube_mm / h - cube_mm / 2.
"""

import tensorflow as tf

__all__ = ["target_heatmaps"]

# Where a target heatmap ends, in standard deviations. Equation 3 labels the latent depth where the
# heatmap is positive, which needs a heatmap of finite extent.
_CUTOFF_SIGMAS = 3.0


def target_heatmaps(spheres_mm, heatmap_size, cube_mm, sigma_px=1.0):
    """Draws a truncated Gaussian of height 1 around the projection of each sphere center.

    With (u, v) the projected center in cells and (i, j) the column and row of a cell,

        heatmap(j, i) = exp(-((i + 1/2 - u)^2 + (j + 1/2 - v)^2) / (2 sigma^2))

    up to a distance of 3 sigma, and 0 beyond. The paper gives no width; see section 3.3.

    Args:
        spheres_mm: float32 `[M, N, 3]`, sphere centers, crop frame, mm. A center far enough outside
            the crop has a heatmap of zeros.
        heatmap_size: Number h of cells in each direction.
        cube_mm: Side of the crop, mm.
        sigma_px: Standard deviation, in heatmap cells.

    Returns:
        float32 `[M, h, h, N]` in [0, 1].
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, tf.float32)
    centers_px = tf.range(heatmap_size, dtype=tf.float32) + 0.5
    projections_px = (spheres_mm[..., :2] / cube_mm + 0.5) * heatmap_size
    # [M, h, N, 2]: squared offsets along x and along y, in standard deviations.
    offsets = (centers_px[:, tf.newaxis, tf.newaxis] - projections_px[:, tf.newaxis]) / sigma_px
    square_x, square_y = tf.unstack(tf.square(offsets), axis=-1)
    square_distance = square_y[:, :, tf.newaxis] + square_x[:, tf.newaxis]
    inside = square_distance <= _CUTOFF_SIGMAS**2
    return tf.where(inside, tf.exp(-0.5 * square_distance), 0.0)
