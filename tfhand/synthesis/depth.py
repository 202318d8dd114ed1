"""Depth maps from points of the skin, by a z-buffer in the graph (section 3.3).

Points are dense enough that every pixel the surface covers receives some; the nearest one wins.
"""

import tensorflow as tf

__all__ = ["nearest_depth", "orthographic_pixels", "splat_orthographic", "splat_perspective"]


def nearest_depth(depth, pixel, valid, num_pixels, empty):
    """Returns the smallest depth of each pixel, [B, num_pixels].

    Args:
        depth: float32 [B, M], depth of each point, mm.
        pixel: int32 [B, M], its pixel, row by row.
        valid: bool [B, M], whether it has one.
        num_pixels: Pixels of an image.
        empty: Value of a pixel without points.
    """
    batch = tf.shape(depth)[0]
    first = tf.range(batch)[:, None] * num_pixels
    # The minimum over a segment skips negative indices.
    index = tf.reshape(tf.where(valid, pixel + first, -1), [-1])
    nearest = tf.math.unsorted_segment_min(
        tf.reshape(depth, [-1]), index, batch * num_pixels
    )
    nearest = tf.where(nearest < depth.dtype.max, nearest, empty)
    return tf.reshape(nearest, [batch, num_pixels])


def orthographic_pixels(points_mm, spec):
    """Finds the pixel of a crop that each point falls in.

    Args:
        points_mm: float32 [B, 3, M], crop frame, rows x, y and z.
        spec: `crop.CropSpec`.

    Returns:
        (pixel int32 [B, M], row by row; depth float32 [B, M], mm; inside bool [B, M], whether
        the point lies in the cube).
    """
    size, far = spec.image_size, spec.far_mm
    x, y, z = tf.unstack(points_mm, axis=1)
    # Pixel i covers [i, i + 1) * pixel_mm - far.
    u = tf.cast(tf.floor((x + far) / spec.pixel_mm), tf.int32)
    v = tf.cast(tf.floor((y + far) / spec.pixel_mm), tf.int32)
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size) & (z >= -far) & (z < far - 0.05)
    return v * size + u, z, inside


def splat_orthographic(points_mm, spec):
    """Renders points into depth crops.

    Args:
        points_mm: float32 [B, 3, M], crop frame, rows x, y and z.
        spec: `crop.CropSpec`.

    Returns:
        float32 [B, S, S], mm relative to the center, the far value where there is no surface.
        Points outside the cube leave no trace.
    """
    size = spec.image_size
    pixel, depth, inside = orthographic_pixels(points_mm, spec)
    nearest = nearest_depth(depth, pixel, inside, size * size, spec.far_mm)
    return tf.reshape(nearest, [-1, size, size])


def splat_perspective(points_mm, intrinsics, height, width, footprint=1):
    """Renders points into the depth image of a pinhole camera.

    Args:
        points_mm: float32 [B, 3, M], camera frame, rows x, y and z.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        height: Rows of the image.
        width: Columns of the image.
        footprint: Every point covers a square of that many pixels a side; 2 closes the holes
            that a sparse surface leaves near the camera.

    Returns:
        float32 [B, height, width], mm along z, 0 where there is no surface.
    """
    x, y, z = tf.unstack(points_mm, axis=1)
    fx, fy, cx, cy = (intrinsics[:, i, None] for i in range(4))
    in_front = z > 1.0
    safe_z = tf.where(in_front, z, 1.0)
    # Integer coordinates index pixel centers; an even footprint starts half a pixel earlier.
    start = 0.5 * (footprint - 1)
    u = tf.cast(tf.floor(fx * x / safe_z + cx + 0.5 - start), tf.int32)
    v = tf.cast(tf.floor(fy * y / safe_z + cy + 0.5 - start), tf.int32)
    shifts = [(i, j) for i in range(footprint) for j in range(footprint)]
    us = tf.concat([u + i for i, _ in shifts], axis=1)
    vs = tf.concat([v + j for _, j in shifts], axis=1)
    depth = tf.tile(z, [1, len(shifts)])
    valid = tf.tile(in_front, [1, len(shifts)])
    valid &= (us >= 0) & (us < width) & (vs >= 0) & (vs < height)
    nearest = nearest_depth(depth, vs * width + us, valid, height * width, 0.0)
    return tf.reshape(nearest, [-1, height, width])
