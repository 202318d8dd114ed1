"""The pinhole camera, without distortion.

    u = fx x / z + cx,    v = fy y / z + cy,    d = z

in the camera frame (x right, y down, z away from the camera, mm). `uvd` rows are u (px, right),
v (px, down) and d (mm, along the axis, not along the ray). Integer pixel coordinates are pixel
centers, which is NYU's convention: the reading at column 0 has u = 0. Intrinsics are a
`[..., 4]` tensor (fx, fy, cx, cy) in px.
"""

import numpy as np
import tensorflow as tf

__all__ = [
    "LARGEST_PX",
    "LEAST_FOCAL_SHARE",
    "NYU_INTRINSICS",
    "check_intrinsics",
    "depth_to_points",
    "parse_intrinsics",
    "project",
    "unproject",
]

# (fx, fy, cx, cy) in px of the NYU hand pose dataset's 640 x 480 depth images.
NYU_INTRINSICS = (588.04, 587.08, 320.0, 240.0)
# No camera has intrinsics beyond, px.
LARGEST_PX = 1e6
# Nor a focal length below this share of its picture's side, which is to see 157 degrees: such
# numbers are in another unit than pixels.
LEAST_FOCAL_SHARE = 0.1


def project(points_mm, intrinsics) -> tf.Tensor:
    """Projects camera-frame points into the image.

    Args:
        points_mm: float `[..., N, 3]`, camera frame, z > 0.
        intrinsics: float `[..., 4]`, (fx, fy, cx, cy) in px.

    Returns:
        float `[..., N, 3]`, uvd. A point with z = 0 lands on the principal point.
    """
    points_mm = tf.convert_to_tensor(points_mm, dtype_hint=tf.float32)
    intrinsics = tf.convert_to_tensor(intrinsics, dtype=points_mm.dtype)[..., tf.newaxis, :]
    depth = points_mm[..., 2:]
    pixel = intrinsics[..., :2] * tf.math.divide_no_nan(points_mm[..., :2], depth)
    return tf.concat([pixel + intrinsics[..., 2:], depth], axis=-1)


def unproject(uvd, intrinsics) -> tf.Tensor:
    """Camera-frame points from image points with depth; the inverse of `project`.

    Args:
        uvd: float `[..., N, 3]`, (u px, v px, d mm).
        intrinsics: float `[..., 4]`, (fx, fy, cx, cy) in px.

    Returns:
        float `[..., N, 3]`, mm, camera frame.
    """
    uvd = tf.convert_to_tensor(uvd, dtype_hint=tf.float32)
    intrinsics = tf.convert_to_tensor(intrinsics, dtype=uvd.dtype)[..., tf.newaxis, :]
    depth = uvd[..., 2:]
    lateral = (uvd[..., :2] - intrinsics[..., 2:]) / intrinsics[..., :2] * depth
    return tf.concat([lateral, depth], axis=-1)


def depth_to_points(depth_mm, intrinsics) -> tf.Tensor:
    """Unprojects whole depth images.

    Args:
        depth_mm: float `[B, H, W]`, mm along the axis. A pixel without reading (0) becomes the
            origin; non-finite readings stay non-finite.
        intrinsics: float `[B, 4]`, (fx, fy, cx, cy) in px.

    Returns:
        float `[B, H, W, 3]`, mm, camera frame.
    """
    depth_mm = tf.convert_to_tensor(depth_mm, dtype_hint=tf.float32)
    intrinsics = tf.convert_to_tensor(intrinsics, dtype=depth_mm.dtype)
    fx, fy, cx, cy = tf.unstack(intrinsics[..., tf.newaxis], axis=-2)
    columns = tf.range(tf.shape(depth_mm)[2])
    rows = tf.range(tf.shape(depth_mm)[1])
    slope_x = (tf.cast(columns, depth_mm.dtype) - cx) / fx
    slope_y = (tf.cast(rows, depth_mm.dtype) - cy) / fy
    return tf.stack(
        [
            depth_mm * slope_x[:, tf.newaxis, :],
            depth_mm * slope_y[:, :, tf.newaxis],
            depth_mm,
        ],
        axis=-1,
    )


def check_intrinsics(intrinsics, batch, height, width) -> np.ndarray:
    """Checks the intrinsics of depth images.

    Args:
        intrinsics: Numbers `[4]`, `[1, 4]` or `[B, 4]`, (fx, fy, cx, cy) in px.
        batch: int, B.
        height: int, of the images, px.
        width: int.

    Returns:
        float32 `[B, 4]`.

    Raises:
        ValueError: If they are of another shape or type, or no camera's.
    """
    try:
        values = np.asarray(intrinsics)
    except (TypeError, ValueError):
        # A list of lists of different lengths, or what is on another device.
        values = np.empty(0)
    if values.shape not in ((4,), (1, 4), (batch, 4)) or values.dtype.kind not in "iuf":
        raise ValueError(
            f"Expected intrinsics fx, fy, cx, cy, four numbers, or a row of them for each of "
            f"{batch} images, received {intrinsics!r}."
        )
    values = np.array(np.broadcast_to(values, (batch, 4)), np.float64)
    least = LEAST_FOCAL_SHARE * np.array([width, height])
    # Comparisons are False for NaN.
    if not ((np.abs(values) < LARGEST_PX).all() and (values[:, :2] >= least).all()):
        raise ValueError(
            f"Expected intrinsics fx, fy, cx, cy in px, finite, below {LARGEST_PX:g}, with "
            f"positive fx and fy of at least a tenth of the images' {width} x {height}, received "
            f"{intrinsics!r}."
        )
    return values.astype(np.float32)


def parse_intrinsics(values) -> list[float]:
    """Reads the value of a flag --intrinsics.

    Args:
        values: Four strings, fx, fy, cx, cy in px.

    Returns:
        The four numbers.

    Raises:
        ValueError: If they are not four finite numbers below 1e6, the first two positive.
    """
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    is_camera = len(numbers) == 4 and all(abs(number) < LARGEST_PX for number in numbers)
    if not is_camera or min(numbers[:2]) <= 0:
        raise ValueError(
            f"Expected --intrinsics=fx,fy,cx,cy with positive fx and fy, below 1e6, received "
            f"{','.join(map(str, values))!r}."
        )
    return numbers
