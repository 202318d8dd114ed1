"""Rigid motion: homogeneous transforms that are named by the frames they connect.

A transform `a_from_b` is a `[..., 4, 4]` matrix that takes points of frame b to frame a:

    p_a = R p_b + t,    a_from_b = [[R, t], [0, 1]],

so `compose(a_from_b, b_from_c)` is `a_from_c` and the names read like a chain. Points are rows,
`[..., N, 3]`, in mm. NumPy arrays and lists become float32; tensors keep their dtype.
Leading dimensions broadcast.
"""

import tensorflow as tf

__all__ = [
    "apply",
    "compose",
    "crop_j_from_crop_i",
    "from_rotation_translation",
    "inverse",
    "kabsch",
    "ref_from_crop",
    "rotation_from_axis_angle",
    "view_j_from_view_i",
]

# Added to a squared angle: 1e-6 rad, far below what float32 rotations resolve.
_SQUARED_ANGLE_EPSILON = 1e-12


def _as_float(value, dtype=tf.float32) -> tf.Tensor:
    """Returns a tensor as it is, and anything else as a tensor of `dtype`."""
    return value if tf.is_tensor(value) else tf.convert_to_tensor(value, dtype=dtype)


def from_rotation_translation(rotation, translation) -> tf.Tensor:
    """Builds homogeneous transforms.

    Args:
        rotation: float `[..., 3, 3]`.
        translation: float `[..., 3]`, mm, of the same leading shape up to broadcasting.

    Returns:
        float `[..., 4, 4]`.
    """
    rotation = _as_float(rotation)
    translation = _as_float(translation, rotation.dtype)
    batch = tf.broadcast_dynamic_shape(tf.shape(rotation)[:-2], tf.shape(translation)[:-1])
    static = tf.broadcast_static_shape(rotation.shape[:-2], translation.shape[:-1])
    rotation = tf.broadcast_to(rotation, tf.concat([batch, [3, 3]], axis=0))
    translation = tf.broadcast_to(translation, tf.concat([batch, [3]], axis=0))
    upper = tf.concat([rotation, translation[..., tf.newaxis]], axis=-1)
    last_row = tf.constant([[0.0, 0.0, 0.0, 1.0]], dtype=rotation.dtype)
    last_row = tf.broadcast_to(last_row, tf.concat([batch, [1, 4]], axis=0))
    transform = tf.concat([upper, last_row], axis=-2)
    return tf.ensure_shape(transform, static.concatenate([4, 4]))


def inverse(transform) -> tf.Tensor:
    """Inverts rigid transforms: `b_from_a` from `a_from_b`.

    Uses `R^T` and `-R^T t`, so the rotation part must be orthonormal.

    Args:
        transform: float `[..., 4, 4]`.

    Returns:
        float `[..., 4, 4]`.
    """
    transform = _as_float(transform)
    rotation_t = tf.linalg.matrix_transpose(transform[..., :3, :3])
    return from_rotation_translation(
        rotation_t, -tf.linalg.matvec(rotation_t, transform[..., :3, 3])
    )


def compose(a_from_b, b_from_c) -> tf.Tensor:
    """Chains two transforms: `a_from_c = a_from_b b_from_c`.

    Args:
        a_from_b: float `[..., 4, 4]`.
        b_from_c: float `[..., 4, 4]`.

    Returns:
        float `[..., 4, 4]`, `a_from_c`.
    """
    a_from_b = _as_float(a_from_b)
    return tf.linalg.matmul(a_from_b, _as_float(b_from_c, a_from_b.dtype))


def apply(a_from_b, points_b) -> tf.Tensor:
    """Moves points from frame b to frame a.

    Args:
        a_from_b: float `[..., 4, 4]`.
        points_b: float `[..., N, 3]`, mm, in frame b.

    Returns:
        float `[..., N, 3]`, mm, in frame a.
    """
    a_from_b = _as_float(a_from_b)
    points_b = _as_float(points_b, a_from_b.dtype)
    rotated = tf.linalg.matmul(points_b, a_from_b[..., :3, :3], transpose_b=True)
    return rotated + a_from_b[..., tf.newaxis, :3, 3]


def rotation_from_axis_angle(axis_angle) -> tf.Tensor:
    """Returns rotation matrices of axis-angle vectors (Rodrigues' formula).

    With K the cross-product matrix of v and theta its length,

        R = I + sin(theta) / theta K + (1 - cos(theta)) / theta^2 K^2.

    Note: theta is `sqrt(v.v + 1e-12)` and `1 - cos` is written with the half angle, so value
    and gradient are finite and accurate at v = 0.

    Args:
        axis_angle: float `[..., 3]`, radians, direction = axis, length = angle.

    Returns:
        float `[..., 3, 3]`.
    """
    vector = _as_float(axis_angle)
    angle = tf.sqrt(tf.reduce_sum(vector**2, axis=-1) + _SQUARED_ANGLE_EPSILON)
    sin_ratio = tf.sin(angle) / angle
    half_ratio = tf.sin(0.5 * angle) / (0.5 * angle)
    x, y, z = tf.unstack(vector, axis=-1)
    zero = tf.zeros_like(x)
    cross = tf.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = tf.reshape(cross, tf.concat([tf.shape(vector)[:-1], [3, 3]], axis=0))
    cross = tf.ensure_shape(cross, vector.shape[:-1].concatenate([3, 3]))
    return (
        tf.eye(3, dtype=vector.dtype)
        + sin_ratio[..., tf.newaxis, tf.newaxis] * cross
        + 0.5 * (half_ratio**2)[..., tf.newaxis, tf.newaxis] * tf.linalg.matmul(cross, cross)
    )


def kabsch(source, target, weights=None) -> tf.Tensor:
    """Finds the rigid transform that best maps one point set onto another (Kabsch's algorithm).

    Minimizes `sum_n w_n |R source_n + t - target_n|^2` over proper rotations R (det = +1).

    Note: the gradient of the singular value decomposition is unbounded where singular values
    coincide (points on a line, symmetric sets). Put `tf.stop_gradient` on the result unless the
    point sets are known to be in general position.

    Args:
        source: float `[..., N, 3]`, mm.
        target: float `[..., N, 3]`, mm.
        weights: float `[..., N]` >= 0, or None for ones. Points of weight 0 may hold any value,
            NaN included. Where all weights are 0 the result is the identity.

    Returns:
        float `[..., 4, 4]`, `target_from_source`.
    """
    source = _as_float(source)
    target = _as_float(target, source.dtype)
    if weights is None:
        weights = tf.ones(tf.shape(source)[:-1], dtype=source.dtype)
    weights = tf.cast(weights, source.dtype)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True))
    weights = weights[..., tf.newaxis]
    source = tf.where(weights > 0, source, 0.0)
    target = tf.where(weights > 0, target, 0.0)
    source_mean = tf.reduce_sum(weights * source, axis=-2, keepdims=True)
    target_mean = tf.reduce_sum(weights * target, axis=-2, keepdims=True)
    # H_ij = sum_n w_n (source_n - mean)_i (target_n - mean)_j
    covariance = tf.linalg.matmul(
        weights * (source - source_mean), target - target_mean, transpose_a=True
    )
    _, u, v = tf.linalg.svd(covariance)
    sign = tf.sign(tf.linalg.det(tf.linalg.matmul(v, u, transpose_b=True)))
    flip = tf.stack([tf.ones_like(sign), tf.ones_like(sign), sign], axis=-1)
    rotation = tf.linalg.matmul(v * flip[..., tf.newaxis, :], u, transpose_b=True)
    translation = target_mean - tf.linalg.matmul(source_mean, rotation, transpose_b=True)
    return from_rotation_translation(rotation, translation[..., 0, :])


def view_j_from_view_i(ref_from_view) -> tf.Tensor:
    """Returns the transforms between every pair of views of a sample.

    Args:
        ref_from_view: float `[B, V, 4, 4]`, camera frames to the reference frame.

    Returns:
        float `[B, V, V, 4, 4]`; element `[b, i, j]` takes the camera frame of view i to that of
        view j.
    """
    ref_from_view = _as_float(ref_from_view)
    return compose(inverse(ref_from_view)[:, tf.newaxis, :], ref_from_view[:, :, tf.newaxis])


def ref_from_crop(ref_from_view, centers_mm) -> tf.Tensor:
    """Returns transforms from crop frames (camera axes, origin at the center) to the reference.

    Args:
        ref_from_view: float `[..., 4, 4]`, camera frames to the reference frame.
        centers_mm: float `[..., 3]`, crop centers, camera frame.

    Returns:
        float `[..., 4, 4]`.
    """
    ref_from_view = _as_float(ref_from_view)
    centers_mm = _as_float(centers_mm, ref_from_view.dtype)
    origin = apply(ref_from_view, centers_mm[..., tf.newaxis, :])[..., 0, :]
    return from_rotation_translation(ref_from_view[..., :3, :3], origin)


def crop_j_from_crop_i(ref_from_view, centers_mm) -> tf.Tensor:
    """Returns the transforms between the crop frames of every pair of views of a sample.

    With (R_ji, t_ji) the motion from camera i to camera j and c the crop centers,

        p_j = R_ji (p_i + c_i) + t_ji - c_j.

    Args:
        ref_from_view: float `[B, V, 4, 4]`, camera frames to the reference frame.
        centers_mm: float `[B, V, 3]`, crop centers, each in its own camera frame.

    Returns:
        float `[B, V, V, 4, 4]`; element `[b, i, j]` takes the crop frame of view i to that of
        view j.
    """
    j_from_i = view_j_from_view_i(ref_from_view)
    centers_mm = _as_float(centers_mm, j_from_i.dtype)
    center_i_in_j = apply(j_from_i, centers_mm[:, :, tf.newaxis, tf.newaxis, :])[..., 0, :]
    return from_rotation_translation(
        j_from_i[..., :3, :3], center_i_in_j - centers_mm[:, tf.newaxis, :, :]
    )
