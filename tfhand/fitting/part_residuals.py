"""Agreement of each part of a fitted hand with the depth maps. Not in the paper.

A fit may have four fingers right and the fifth in a neighbor's place; the residual of the whole
hand hardly tells. Both data terms are means over pixels and points, each of which belongs to one
sphere, the one that is seen or is nearest, and so to one part of the hand.
"""

import numpy as np
import tensorflow as tf

from tfhand.hand import skeleton, spheres
from tfhand.rendering import distance, packed_index
from tfhand.rendering import spheres as rendering

__all__ = ["PARTS", "PART_OF_SPHERE", "part_residuals"]

# The palm, and the fingers in the order of `skeleton.FINGERS`.
PARTS = ("PALM", *skeleton.FINGERS)
PART_OF_SPHERE = np.array(
    [
        next((PARTS.index(f) for f, chain in skeleton.FINGER_SPHERES.items() if i in chain), 0)
        for i in range(len(skeleton.SPHERE_NAMES))
    ]
)


def part_residuals(spheres_mm, radii_mm, observation, margin_mm):
    """Mean difference between each part of the hand and what the cameras see of it.

    The mean, over the pixels of all views that the part's rendering covers and the points whose
    nearest surface is the part's, of `min(difference, clamp)`. A pixel that the part covers where
    the depth map has no surface counts the clamp.

    Args:
        spheres_mm: float32 [B, V, 41, 3], the fitted spheres in the views' crop frames.
        radii_mm: float32 [B, 41].
        observation: `losses.observation.Observation` of the views, with a stride of 1.
        margin_mm: How much larger the dense spheres are taken, see `losses.data_terms.grow_radii`.

    Returns:
        (residual_mm float32 [B, 6], covered float32 [B, 6]): by `PARTS`, the mean, 0 where the
        part neither covers a pixel nor is near a point, and the number of pixels that it covers.
    """
    size, clamp_mm = observation.spec.image_size, observation.clamp_mm
    batch, num_views = tf.shape(spheres_mm)[0], spheres_mm.shape[1]
    centers, radii = spheres.dense_spheres(spheres_mm, radii_mm[:, None])
    count = centers.shape[2]
    centers = tf.reshape(centers, [-1, count, 3])
    radii = tf.reshape(tf.repeat(radii + margin_mm, num_views, axis=1), [-1, count])
    cube_mm = observation.spec.cube_mm
    rendered, covering = rendering.winning_sphere(centers, radii, size, cube_mm, 1)
    depth_mm = tf.reshape(observation.depth_mm, [-1, size, size])
    is_surface = tf.reshape(observation.is_surface, [-1, size, size])
    of_pixels = tf.where(is_surface, tf.minimum(tf.abs(rendered - depth_mm), clamp_mm), clamp_mm)

    points = tf.reshape(observation.points_mm, [-1, size * size, 3])
    distances, nearest = distance.nearest_sphere(points, centers, radii)
    nearest = tf.where(tf.reshape(observation.is_hand, [-1, size * size]), nearest, -1)

    def by_part(values, index):
        """Sums and counts of what belongs to each part, over all views, [B, 6, 2]."""
        values = tf.stack([values, tf.ones_like(values)], axis=-1)
        total = packed_index.sum_by_index(values, index, batch * num_views, count)
        total = tf.reduce_sum(tf.reshape(total, [batch, num_views, count, 2]), axis=1)
        return tf.einsum("bmc,mp->bpc", total, tf.constant(_part_of_dense_spheres()))

    pixels = by_part(of_pixels, covering)
    total = pixels + by_part(tf.minimum(distances, clamp_mm), nearest)
    return tf.math.divide_no_nan(total[..., 0], total[..., 1]), pixels[..., 1]


def _part_of_dense_spheres():
    """Returns one-hot parts of the dense spheres: that of the sphere each is mostly made of."""
    main = spheres.load().dense_weights.argmax(axis=1)
    return np.eye(len(PARTS), dtype=np.float32)[PART_OF_SPHERE[main]]
