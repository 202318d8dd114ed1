"""Pulls spheres back over the hand's silhouette. Not in the paper."""

import tensorflow as tf

from tfhand.losses import view_pairs

__all__ = ["silhouette"]

_EPSILON_MM2 = 1e-6


def silhouette(projected_mm, observation):
    """Distance, across the image, from sphere centers to the nearest foreground pixel.

    Not in the paper: `model_to_data` has no gradient where a sphere covers background, and
    `data_to_model` moves only spheres that are nearest to a point, so a sphere beside the hand can
    stay there. This term is zero for centers over foreground, and else their distance in the plane
    of the image to the center of the nearest foreground pixel, read bilinearly from an exact
    distance transform. Beyond the image the distance to the image is added.

    Note: the gradient points to the silhouette, with a length of about one; there is none in depth,
    none to the observation, and none at `clamp_mm` or more.

    Args:
        projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, spheres of view i in the crop frame of
            view j.
        observation: `Observation` of the views j, whose stride makes no difference.

    Returns:
        float32 `[B]`, mm, mean over spheres and pairs; views without foreground are left out.
    """
    projected_mm = tf.convert_to_tensor(projected_mm, dtype=tf.float32)
    spec, outside_mm = observation.spec, observation.outside_mm

    # Views j lead, so that all spheres of one target view read the same image.
    centers = tf.transpose(projected_mm[..., :2], [0, 2, 1, 3, 4])
    shape = tf.shape(centers)
    centers = tf.reshape(centers, tf.concat([shape[:2], [shape[2] * shape[3], 2]], axis=0))
    distances = tf.minimum(_read(outside_mm, centers, spec), observation.clamp_mm)
    distances = tf.reduce_mean(tf.reshape(distances, shape[:4]), axis=3)
    has_surface = tf.reduce_any(outside_mm == 0.0, axis=[2, 3])[:, tf.newaxis]
    return view_pairs.mean_over_pairs(
        tf.transpose(distances, [0, 2, 1]), has_surface, observation.pair_weights
    )


def _read(images, points_mm, spec):
    """Bilinear interpolation of `[B, V, S, S]` at `[B, V, P, 2]` (x, y), extended beyond the image.

    Returns:
        float32 `[B, V, P]`: the value at the nearest point of the image, plus the distance to it.
    """
    limit = spec.far_mm - 0.5 * spec.pixel_mm
    inside_mm = tf.clip_by_value(points_mm, -limit, limit)
    beyond = tf.reduce_sum(tf.square(points_mm - inside_mm), axis=-1)
    beyond = tf.sqrt(beyond + _EPSILON_MM2) - _EPSILON_MM2**0.5

    position = (inside_mm + limit) / spec.pixel_mm
    corner = tf.clip_by_value(tf.floor(position), 0.0, max(spec.image_size - 2.0, 0.0))
    corner = tf.stop_gradient(corner)
    fraction = position - corner
    column, row = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
    fx, fy = tf.unstack(fraction, axis=-1)
    flat = tf.reshape(images, tf.concat([tf.shape(images)[:2], [spec.image_size**2]], axis=0))

    def pixel(down, right):
        rows = tf.minimum(row + down, spec.image_size - 1)
        columns = tf.minimum(column + right, spec.image_size - 1)
        return tf.gather(flat, rows * spec.image_size + columns, batch_dims=2)

    upper = pixel(0, 0) * (1.0 - fx) + pixel(0, 1) * fx
    lower = pixel(1, 0) * (1.0 - fx) + pixel(1, 1) * fx
    return upper * (1.0 - fy) + lower * fy + beyond
