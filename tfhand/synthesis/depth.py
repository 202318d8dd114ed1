"""Depth maps from points of the skin, by a z-buffer in the graph (section 3.3).

Points are dense enough that every pixel the surface covers receives some; the nearest one wins.
"""

import functools

import tensorflow as tf

from tfhand.geometry import crop

__all__ = [
    "fill_pinholes",
    "nearest_depth",
    "orthographic_pixels",
    "splat_orthographic",
    "splat_perspective",
]


def nearest_depth(depth, pixel, valid, num_pixels, empty):
    """Returns the smallest depth of each pixel, float32 [B, num_pixels], mm.

    Args:
        depth: float32 [B, M], depth of each point, mm.
        pixel: int32 [B, M], its pixel, row by row.
        valid: bool [B, M], False for a point without pixel.
        num_pixels: Pixels of an image.
        empty: Value of a pixel without points.
    """
    batch = tf.shape(depth)[0]
    first = tf.range(batch)[:, None] * num_pixels
    # The minimum over a segment skips negative indices.
    index = tf.reshape(tf.where(valid, pixel + first, -1), [-1])
    nearest = tf.math.unsorted_segment_min(tf.reshape(depth, [-1]), index, batch * num_pixels)
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
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size) & (z >= -far)
    return v * size + u, z, inside & crop.foreground_mask(z, spec.cube_mm)


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


def fill_pinholes(depth_mm, step_mm=10.0):
    """Closes single pixels through which a farther surface or the background shows.

    Points scattered over the skin miss a pixel now and then. A pixel that lies deeper than all of
    its four neighbors takes the depth of the deepest of them; a gap between fingers does not, for
    it goes on in one direction.

    Args:
        depth_mm: float32 [B, H, W], the background farther than any surface.
        step_mm: Smaller pits are left alone.

    Returns:
        float32 [B, H, W].
    """
    # Beyond the border there is no surface, so border pixels stay.
    padded = tf.pad(depth_mm, [[0, 0], [1, 1], [1, 1]], constant_values=depth_mm.dtype.max)
    across = tf.maximum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    deepest = tf.maximum(across, tf.maximum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]))
    return tf.where(depth_mm > deepest + step_mm, deepest, depth_mm)


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
    # One pixel a point in a picture with room for squares that reach in from outside; then each
    # pixel takes the nearest of those whose squares cover it, the same as drawing them all.
    room = footprint - 1
    u = tf.cast(tf.floor(fx * x / safe_z + cx + 0.5 + 0.5 * room), tf.int32)
    v = tf.cast(tf.floor(fy * y / safe_z + cy + 0.5 + 0.5 * room), tf.int32)
    rows, columns = height + room, width + room
    valid = in_front & (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    far = z.dtype.max
    image = nearest_depth(z, v * columns + u, valid, rows * columns, far)
    image = tf.reshape(image, [-1, rows, columns])
    shifts = [(i, j) for i in range(footprint) for j in range(footprint)]
    nearest = functools.reduce(
        tf.minimum, [image[:, i : i + height, j : j + width] for i, j in shifts]
    )
    return tf.where(nearest < far, nearest, 0.0)
