"""Depth maps from points of the skin, by a z-buffer in the graph (section 3.3).

The nearest point of a pixel wins. A recorded crop shows the nearest of the readings in a pixel, a
grid of `pitch_mm`; points stand for patches of the skin, so that few of them cover it. Patch and
grid enter in one number, the reach of a point: along an axis, points with a spacing s cover on
average all but s of a pixel of edge a, readings all but their pitch p. A pixel that takes in the
points up to (s - p) / 2 beyond its edges therefore finds the same nearest surface on average, and
ends the same silhouette at the same place. Where the surface turns away, points crowd: s is the
spacing on the skin times the cosine of the angle to the ray.
"""

import functools

import tensorflow as tf

from tfhand.geometry import crop

__all__ = [
    "fill_pinholes",
    "nearest_depth",
    "nearest_of_strips",
    "occluder_table",
    "ray_cells",
    "orthographic_pixels",
    "splat_orthographic",
    "splat_perspective",
    "strips",
]

# Cells of rays from the camera, a side; 5 mm at the crop's center, so that each holds some points.
RAY_CELLS = 80
_RAY_CELL_MM = 5.0


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


def strips(position_mm, reach_mm, spec):
    """Finds the strip of a crop's axis that each point falls in.

    Along an axis strip 2 i + 1 is pixel i alone, and strip 2 i the edge before it, which counts
    for both of its pixels: a point within its reach of an edge. With a negative reach, points so
    near an edge count for none.

    Args:
        position_mm: float32 [B, M], x or y, crop frame.
        reach_mm: float32 [B, M], at most half a pixel counts.
        spec: `crop.CropSpec`.

    Returns:
        (strip int32 [B, M], 0 to 2 S; valid bool [B, M]).
    """
    x = (position_mm + spec.far_mm) / spec.pixel_mm
    reach = tf.minimum(reach_mm / spec.pixel_mm, 0.5)
    edge = tf.round(x)
    beside = tf.abs(x - edge)
    strip = tf.cast(tf.where(beside < reach, 2.0 * edge, 2.0 * tf.floor(x) + 1.0), tf.int32)
    return strip, (beside >= -reach) & (strip >= 0) & (strip <= 2 * spec.image_size)


def nearest_of_strips(image):
    """Returns the nearest of each pixel's 3 x 3 strips: [B, S, S] from [B, 2 S + 1, 2 S + 1]."""
    rows = tf.minimum(tf.minimum(image[:, :-1:2], image[:, 1::2]), image[:, 2::2])
    return tf.minimum(tf.minimum(rows[..., :-1:2], rows[..., 1::2]), rows[..., 2::2])


def ray_cells(points_mm, center_mm):
    """Finds the bundle of rays from the camera that each point lies in.

    Args:
        points_mm: float32 [B, 3, M], camera frame.
        center_mm: float32 [B, 3], of the crop, camera frame.

    Returns:
        (cell int32 [B, M], 0 to RAY_CELLS^2 - 1; inside bool [B, M]; corner int32 [B, M], 0 to (
        RAY_CELLS + 1)^2 - 1, where four of the cells meet, the nearest to the point).
    """
    z = tf.maximum(points_mm[:, 2:], 1.0)
    # Where the ray meets the plane of the center, in cells.
    u, v = tf.unstack(
        (points_mm[:, :2] * center_mm[:, 2, None, None] / z - center_mm[:, :2, None]) / _RAY_CELL_MM
        + 0.5 * RAY_CELLS,
        axis=1,
    )
    i, j = (tf.cast(tf.floor(t), tf.int32) for t in (u, v))
    inside = (i >= 0) & (i < RAY_CELLS) & (j >= 0) & (j < RAY_CELLS)
    k, m = (tf.cast(tf.clip_by_value(tf.round(t), 0.0, RAY_CELLS), tf.int32) for t in (u, v))
    return j * RAY_CELLS + i, inside, m * (RAY_CELLS + 1) + k


def occluder_table(depth_mm):
    """Returns what hides a point, from the nearest depth of each of the `ray_cells`.

    A cell counts as covered if any point lies in it, which widens surfaces by half a cell; the
    farthest of the four cells around a point narrows them by as much.

    Args:
        depth_mm: float32 [B, RAY_CELLS^2], large where there is no surface.

    Returns:
        float32 [B, (RAY_CELLS + 1)^2], depth of the farthest of the four cells at each corner.
    """
    cells = tf.reshape(depth_mm, [-1, RAY_CELLS, RAY_CELLS])
    cells = tf.pad(cells, [[0, 0], [1, 1], [1, 1]], constant_values=cells.dtype.max)
    rows = tf.maximum(cells[:, 1:], cells[:, :-1])
    corners = tf.maximum(rows[..., 1:], rows[..., :-1])
    return tf.reshape(corners, [-1, (RAY_CELLS + 1) ** 2])


def splat_perspective(points_mm, intrinsics, height, width, closing=1):
    """Renders points into the depth image of a pinhole camera.

    Args:
        points_mm: float32 [B, 3, M], camera frame, rows x, y and z.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        height: Rows of the image.
        width: Columns of the image.
        closing: Gaps of fewer pixels, as a sparse surface has near the camera, are closed: every
            point covers a square of that many pixels a side, and silhouettes give back what lies
            outside of them.

    Returns:
        float32 [B, height, width], mm along z, 0 where there is no surface.
    """
    x, y, z = tf.unstack(points_mm, axis=1)
    fx, fy, cx, cy = (intrinsics[:, i, None] for i in range(4))
    in_front = z > 1.0
    safe_z = tf.where(in_front, z, 1.0)
    # Integer coordinates index pixel centers. One pixel a point, with room on all sides.
    room = closing - 1
    u = tf.cast(tf.floor(fx * x / safe_z + cx + 0.5), tf.int32) + room
    v = tf.cast(tf.floor(fy * y / safe_z + cy + 0.5), tf.int32) + room
    rows, columns = height + 2 * room, width + 2 * room
    valid = in_front & (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
    far = z.dtype.max
    image = nearest_depth(z, v * columns + u, valid, rows * columns, far)
    image = tf.reshape(image, [-1, rows, columns])
    # A morphological closing: the nearest of the squares that cover a pixel, then the farthest of
    # the squares' other corners.
    image = _reduce_squares(tf.minimum, image, closing)
    nearest = _reduce_squares(tf.maximum, image, closing)
    return tf.where(nearest < far, nearest, 0.0)


def _reduce_squares(reduce, image, side):
    """Reduces every square of an image [B, H, W], to [B, H + 1 - side, W + 1 - side]."""
    height, width = image.shape[1] + 1 - side, image.shape[2] + 1 - side
    shifts = [(i, j) for i in range(side) for j in range(side)]
    return functools.reduce(reduce, [image[:, i : i + height, j : j + width] for i, j in shifts])
