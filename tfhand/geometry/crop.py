"""The depth crop: an orthographic depth image of a cube around a center.

Letters used here: S is the image size in pixels, the cube has a side of `cube_mm`, and the crop
frame has the camera's axes and its origin at the center. Pixel (row r, column c) covers
`[c, c + 1) x [r, r + 1)`; its ray runs along z through

    x = (c + 0.5) cube / S - cube / 2,    y = (r + 0.5) cube / S - cube / 2.

A crop holds mm relative to the center. A pixel that no surface covers holds the far value
`cube / 2` exactly, which no surface reaches: surfaces end 0.05 mm (half a step of the records)
before it. `foreground_mask` is the only place where that rule is written down.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

__all__ = [
    "CropSpec",
    "crop_depth",
    "foreground_mask",
    "normalize",
    "pixel_centers_mm",
    "points_from_crop",
]

# Half of the 0.1 mm step of stored crops, so that rounding never turns a surface into background.
_FAR_MARGIN_MM = 0.05

# A source pixel is split until its parts are this many times smaller than a crop pixel: a
# surface seen at a slant spreads its readings further apart than one that faces the camera.
_OVERSAMPLING = 1.25

# Batches up to this size are cropped without a loop in the graph, which is a little faster.
_MAX_UNROLLED = 4

# Readings in a row that are listed together.
_GROUP = 8

# Stands for a coordinate that is not finite.
_NOWHERE_MM = 1e9

# Bounds the work for cameras of very low resolution or a center very far away.
_MAX_SPLIT = 16


@dataclasses.dataclass(frozen=True)
class CropSpec:
    """Size of a crop.

    Attributes:
        image_size: int, S, pixels a side.
        cube_mm: float, side of the cube, mm.

    Raises:
        ValueError: If a value is not positive and finite.
    """

    image_size: int = 64
    cube_mm: float = 300.0

    def __post_init__(self):
        if isinstance(self.image_size, bool) or int(self.image_size) != self.image_size:
            raise ValueError(f"image_size must be an integer, received {self.image_size!r}.")
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1, received {self.image_size}.")
        if not (math.isfinite(self.cube_mm) and self.cube_mm > 2 * _FAR_MARGIN_MM):
            raise ValueError(f"cube_mm must be positive and finite, received {self.cube_mm}.")
        object.__setattr__(self, "image_size", int(self.image_size))
        object.__setattr__(self, "cube_mm", float(self.cube_mm))

    @property
    def far_mm(self) -> float:
        """Depth of the background, mm relative to the center, half of the cube."""
        return 0.5 * self.cube_mm

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.cube_mm / self.image_size


def pixel_centers_mm(spec: CropSpec) -> tf.Tensor:
    """Returns x of the rays of all columns, which is also y of those of all rows.

    Args:
        spec: Size of the crop.

    Returns:
        float32 `[S]`, mm, crop frame, ascending.
    """
    return (tf.range(spec.image_size, dtype=tf.float32) + 0.5) * spec.pixel_mm - spec.far_mm


def foreground_mask(depth_mm, cube_mm: float):
    """Tells surface from background: `depth < cube / 2 - 0.05 mm`. NaN is background.

    Args:
        depth_mm: float `[...]`, crop depth, mm relative to the center.
        cube_mm: float, side of the cube, mm.

    Returns:
        bool `[...]`, True where there is a surface; a NumPy array of a NumPy array.
    """
    if not isinstance(depth_mm, np.ndarray):
        depth_mm = tf.convert_to_tensor(depth_mm, dtype_hint=tf.float32)
    return depth_mm < 0.5 * cube_mm - _FAR_MARGIN_MM


def normalize(depth_mm, cube_mm: float) -> tf.Tensor:
    """The network's input: `depth / (cube / 2)`, background exactly +1.

    Args:
        depth_mm: float32 `[..., S, S]`, crop depth, mm relative to the center.
        cube_mm: float, side of the cube, mm.

    Returns:
        float32 `[..., S, S, 1]`, in [-1, 1] for depths inside the cube.
    """
    depth_mm = tf.convert_to_tensor(depth_mm, dtype_hint=tf.float32)
    scaled = depth_mm * (2.0 / cube_mm)
    # A number instead of all these ones makes it several times slower.
    scaled = tf.where(foreground_mask(depth_mm, cube_mm), scaled, tf.ones_like(scaled))
    return scaled[..., tf.newaxis]


def points_from_crop(depth_mm, spec: CropSpec) -> tf.Tensor:
    """Returns one point a pixel, in the crop frame, row by row.

    Args:
        depth_mm: float32 `[..., S, S]`, crop depth, mm relative to the center.
        spec: Size of the crop.

    Returns:
        float32 `[..., S * S, 3]`, mm, crop frame; background pixels give points on the far face
        of the cube (z = cube / 2). Pair with `foreground_mask`.
    """
    depth_mm = tf.convert_to_tensor(depth_mm, dtype_hint=tf.float32)
    centers = pixel_centers_mm(spec)
    x = tf.broadcast_to(centers[tf.newaxis, :], tf.shape(depth_mm))
    y = tf.broadcast_to(centers[:, tf.newaxis], tf.shape(depth_mm))
    points = tf.stack([x, y, depth_mm], axis=-1)
    shape = tf.concat([tf.shape(depth_mm)[:-2], [spec.image_size**2, 3]], axis=0)
    static = depth_mm.shape[:-2].concatenate([spec.image_size**2, 3])
    return tf.ensure_shape(tf.reshape(points, shape), static)


def crop_depth(depth_mm, intrinsics, center_mm, spec: CropSpec) -> tf.Tensor:
    """Crops depth images: every reading inside the cube re-projected orthographically.

    Readings become points, points fall into the pixel whose square they hit, and each pixel keeps
    its nearest surface. Where source pixels are coarse against crop pixels (large S, distant
    hand, low resolution), each is split into k x k equal parts first so that a surface gets no
    pinholes; k follows from the focal length and the far face of the cube.

    Note: not differentiable (pixels are discrete). Batch and image size may be known only at run
    time. The cost grows with the part of the image that the cube can cover, and is mostly that of
    the readings in the depth range of the cube.

    Args:
        depth_mm: float32 or uint16 `[B, H, W]`, mm along the camera axis; 0, negative or non-finite
            values are no reading.
        intrinsics: float32 `[B, 4]`, (fx, fy, cx, cy) in px.
        center_mm: float32 `[B, 3]`, cube center, camera frame. A non-finite center gives an empty
            crop.
        spec: Size of the crop.

    Returns:
        float32 `[B, S, S]`, mm relative to the center, in [-cube / 2, cube / 2 - 0.05), and
        cube / 2 where there is no surface.

    Raises:
        ValueError: If `depth_mm` has not three axes.
    """
    depth_mm = tf.convert_to_tensor(depth_mm, dtype_hint=tf.float32)
    if depth_mm.dtype != tf.uint16:
        depth_mm = tf.cast(depth_mm, tf.float32)
    intrinsics = tf.convert_to_tensor(intrinsics, dtype=tf.float32)
    center_mm = tf.convert_to_tensor(center_mm, dtype=tf.float32)
    if depth_mm.shape.rank != 3:
        raise ValueError(
            f"Expected depth of shape [batch, height, width], received {depth_mm.shape}."
        )
    # Nothing is there.
    center_mm = tf.where(tf.math.is_finite(center_mm), center_mm, -_NOWHERE_MM)

    # Frame by frame: each has its own window, and its own scalars instead of gathered rows.
    def crop_one(i):
        return _crop_frame(depth_mm, i, intrinsics[i], center_mm[i], spec)

    if depth_mm.shape[0] is not None and depth_mm.shape[0] <= _MAX_UNROLLED:
        return tf.stack([crop_one(i) for i in range(depth_mm.shape[0])])
    batch = tf.shape(depth_mm)[0]
    # The loop itself takes a while, which one frame from a camera can be spared.
    return tf.cond(
        tf.equal(batch, 1),
        lambda: tf.expand_dims(crop_one(0), 0),
        lambda: tf.map_fn(
            crop_one,
            tf.range(batch),
            fn_output_signature=tf.TensorSpec([spec.image_size, spec.image_size], tf.float32),
        ),
    )


def _crop_frame(depth_mm, i, intrinsics, center_mm, spec):
    """Crops frame i of `[B, H, W]`, with its intrinsics `[4]` and center `[3]`, to `[S, S]`."""
    focal, principal = tf.split(intrinsics, 2)
    z = center_mm[2]
    near = tf.maximum(z - spec.far_mm, 1.0)
    # Less than the margin by some rounding, so that no reading between is taken for background.
    far = tf.maximum((z + (spec.far_mm - _FAR_MARGIN_MM)) * (1.0 - 2.0**-22), near)
    corner, end = _window(center_mm, near, far, intrinsics, tf.shape(depth_mm), spec)
    (left, top), (right, bottom) = tf.unstack(corner), tf.unstack(end)
    u, v, depth, is_between = _readings_between(depth_mm[i, top:bottom, left:right], near, far)
    # Axes of what follows: [groups, readings of a group, parts along v, parts along u].
    part = _part_centers(_split_factor(far / tf.reduce_min(focal), spec))

    # Column of a reading: (x - center_x + cube / 2) S / cube with x = (u - cx) d / fx. One more for
    # the pixels around the crop that take in what lies beside it: faster than telling it apart.
    size = spec.image_size + 2
    slope = tf.unstack(1.0 / (focal * spec.pixel_mm))
    origin = tf.unstack(principal - tf.cast(corner, tf.float32))
    start = tf.unstack((spec.far_mm - center_mm[:2]) * (1.0 / spec.pixel_mm) + 1.0)
    column = ((u + (part - origin[0])) * slope[0]) * depth + start[0]
    row = ((v + (part[:, tf.newaxis] - origin[1])) * slope[1]) * depth + start[1]
    column, row = (
        tf.cast(tf.clip_by_value(value, 0.0, size - 1.0), tf.int32) for value in (column, row)
    )
    # -1: dropped by the segment minimum.
    pixel = (row * size + (column + 1)) * is_between - 1
    depth = tf.broadcast_to(depth, tf.shape(pixel))
    nearest = tf.math.unsorted_segment_min(depth, pixel, size * size)
    nearest = tf.reshape(nearest, [size, size])[1:-1, 1:-1] - z
    return tf.clip_by_value(nearest, -spec.far_mm, spec.far_mm)


def _window(center_mm, near, far, intrinsics, shape, spec):
    """Returns the part that the cube can cover: int32 (left, top), (right, bottom) excluded."""
    focal, principal = tf.split(intrinsics, 2)
    # To the left and top of the image, and to its right and bottom, positive outwards.
    outwards = tf.constant([[-1.0], [1.0]])
    sides = outwards * center_mm[:2] + spec.far_mm
    # x / z is monotonic in x and in z, so its extremes are at the corners of the cube.
    reach = tf.maximum(sides / near, sides / far) * focal + outwards * principal
    # A right side that is excluded is one farther. Multiples make whole groups of readings.
    reach = tf.math.ceil((reach + [[0.0], [1.0]]) * (1.0 / _GROUP)) * _GROUP
    size = tf.cast(tf.gather(shape, [2, 1]), tf.float32)
    bounds = tf.clip_by_value(outwards * reach, 0.0, size)
    return tf.unstack(tf.cast(bounds, tf.int32))


def _readings_between(depth_mm, near, far):
    """Lists the readings of an image `[h, w]` between two depths, and some beside them.

    To list readings one by one takes far longer than to compare them: neighbors in a row are listed
    together if any of them is between.

    Returns:
        float32 u `[M, g, 1, 1]`, v `[M, 1, 1, 1]`, depth_mm `[M, g, 1, 1]`; int32 `[M, g, 1, 1]`, 1
        if between and 0 if not.
    """
    width = tf.shape(depth_mm)[1]
    # Costs nothing where the width is a multiple.
    depth_mm = tf.pad(depth_mm, [[0, 0], [0, -width % _GROUP]])
    if depth_mm.dtype == tf.uint16:
        # One comparison: those before `first` wrap around.
        first = tf.math.ceil(near)
        count = tf.maximum(tf.minimum(tf.floor(far), 65535.0) - first + 1.0, 0.0)
        first = tf.cast(tf.minimum(first, 65535.0), tf.uint16)
        between = depth_mm - first < tf.cast(count, tf.uint16)
    else:
        # One comparison instead of two takes half as long. NaN is not between.
        between = tf.equal(tf.clip_by_value(depth_mm, near, far), depth_mm)
    # A byte each, as many as an int64 has.
    between = tf.reshape(tf.cast(between, tf.uint8), [-1, _GROUP])
    groups = tf.bitcast(between, tf.int64)
    index = tf.reshape(tf.raw_ops.Where(condition=groups), [-1])
    depth = tf.cast(tf.gather(tf.reshape(depth_mm, [-1, _GROUP]), index), tf.float32)
    between = tf.cast(tf.gather(between, index), tf.int32)
    # Division of integers takes five times as long.
    columns = tf.cast((width + (_GROUP - 1)) // _GROUP, tf.float64)
    index = tf.cast(index, tf.float64)
    v = tf.floor((index + 0.5) / tf.maximum(columns, 1.0))
    u = _GROUP * (index - v * columns)
    u, v = (tf.reshape(tf.cast(value, tf.float32), [-1, 1, 1, 1]) for value in (u, v))
    u += tf.reshape(tf.range(_GROUP, dtype=tf.float32), [-1, 1, 1])
    return u, v, *(tf.reshape(value, [-1, _GROUP, 1, 1]) for value in (depth, between))


def _split_factor(source_pixel_mm, spec):
    """Returns k, the parts a side that a source pixel of this size needs: a whole float32."""
    parts = tf.math.ceil(source_pixel_mm * (_OVERSAMPLING / spec.pixel_mm))
    parts = tf.where(tf.math.is_finite(parts), parts, 1.0)
    return tf.clip_by_value(parts, 1.0, _MAX_SPLIT)


def _part_centers(parts):
    """Returns the middles of k parts of a pixel relative to its own: float32 `[k]`."""
    return (tf.range(parts) + 0.5) / parts - 0.5
