"""Local coordinates of a hand's spheres: each finger sphere in the frame of the bone before it.

Letters: B1, A1, B2, A2, B3, A3 are a finger's spheres from the root to the tip, A_k and B_k on bone
k; R_k is the rotation of bone k, and y the direction of straight fingers. In the canonical frame of
the palm,

    palm:    x                        R_1 = T(B2 - B1)
    root:    B1                       R_2 = R_1 T(R_1^T (B3 - B2))
    bone 1:  B2 - B1,                 R_1^T (A1 - B1)
    bone 2:  R_1^T (B3 - B2),         R_2^T (A2 - B2)
    bone 3:  R_2^T (A3 - B3)

where T(v) is the smallest rotation that takes y to the direction of v, so that a frame turns with
its bone and never about it. A bone's coordinates therefore hold its length, its bend and the plane
of the bend, whatever the joints before it do, and an error does not grow along the finger.

Each sphere is moved and rotated by what depends on spheres before it alone: the Jacobian is block
triangular with rotations on its diagonal, its determinant is 1, and a density of local coordinates
is one of centers.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfhand.hand import skeleton

__all__ = ["FromLocal", "from_local", "to_local"]

_CHAINS = np.array([skeleton.FINGER_SPHERES[finger] for finger in skeleton.FINGERS])
_KNUCKLES, _MIDDLES = _CHAINS[:, 0::2], _CHAINS[:, 1::2]
# Back to the order of the spheres from palm, knuckles (B) and middles (A).
_ORDER = np.argsort(np.concatenate([skeleton.PALM_SPHERES, _KNUCKLES.ravel(), _MIDDLES.ravel()]))
# Of a unit quaternion's real part, times two: reached by a bone that points straight back.
_SMALLEST = 1e-3
_TINY_MM = 1e-6


def to_local(centers_mm):
    """Returns local coordinates.

    Note: the frames are taken as constants by the gradient, as the alignment of the palm is. So a
    misplaced sphere is pulled to its place beside the sphere before it, which gets the opposite
    pull, with a gradient that no short bone makes large.

    Args:
        centers_mm: float32 [..., 41, 3], canonical frame, mm.

    Returns:
        float32 [..., 41, 3], mm, in the order of the spheres.
    """
    palm = tf.gather(centers_mm, skeleton.PALM_SPHERES, axis=-2)
    knuckles, middles = (
        tf.unstack(tf.gather(centers_mm, index, axis=-2), axis=-2)
        for index in (_KNUCKLES, _MIDDLES)
    )
    first = knuckles[1] - knuckles[0]
    frame_1 = tf.stop_gradient(_smallest_rotation(first))
    second = _rotate_back(frame_1, knuckles[2] - knuckles[1])
    frame_2 = tf.stop_gradient(frame_1 @ _smallest_rotation(second))
    middles = [
        _rotate_back(frame, middle - knuckle)
        for frame, middle, knuckle in zip(
            (frame_1, frame_2, frame_2), middles, knuckles, strict=True
        )
    ]
    return _join(palm, [knuckles[0], first, second], middles)


def from_local(local_mm):
    """Returns centers, the inverse of `to_local`.

    Args:
        local_mm: float32 [..., 41, 3], mm.

    Returns:
        float32 [..., 41, 3], canonical frame, mm.
    """
    palm = tf.gather(local_mm, skeleton.PALM_SPHERES, axis=-2)
    (root, first, second), middles = _unstack(local_mm)
    frame_1 = _smallest_rotation(first)
    frame_2 = frame_1 @ _smallest_rotation(second)
    knuckles = [root, root + first, root + first + tf.linalg.matvec(frame_1, second)]
    middles = [
        knuckle + tf.linalg.matvec(frame, middle)
        for frame, middle, knuckle in zip(
            (frame_1, frame_2, frame_2), middles, knuckles, strict=True
        )
    ]
    return _join(palm, knuckles, middles)


class FromLocal(tfp.bijectors.Bijector):
    """Bijector from local coordinates to centers, event shape [41, 3]."""

    def __init__(self, name="from_local"):
        super().__init__(
            forward_min_event_ndims=2, is_constant_jacobian=True, parameters={}, name=name
        )

    def _forward(self, x):
        return from_local(x)

    def _inverse(self, y):
        return to_local(y)

    def _forward_log_det_jacobian(self, x):
        return tf.zeros([], x.dtype)


def _unstack(values):
    """Returns (the B of all fingers, the A), each three tensors [..., 5, 3] from the root on."""
    return [
        tf.unstack(tf.gather(values, index, axis=-2), axis=-2) for index in (_KNUCKLES, _MIDDLES)
    ]


def _join(palm, knuckles, middles):
    parts = [palm]
    for spheres in (knuckles, middles):
        spheres = tf.stack(spheres, axis=-2)
        shape = tf.concat([tf.shape(spheres)[:-3], [_KNUCKLES.size, 3]], axis=0)
        parts.append(tf.reshape(spheres, shape))
    return tf.gather(tf.concat(parts, axis=-2), _ORDER, axis=-2)


def _rotate_back(rotation, vectors):
    return tf.linalg.matvec(rotation, vectors, transpose_a=True)


def _smallest_rotation(vectors):
    """Returns the smallest rotation from y to each vector's direction, float32 [..., 3, 3].

    Always a rotation: of zero the identity, and near -y, where no smallest one exists, another.
    """
    x, y, z = tf.unstack(tf.math.divide_no_nan(vectors, _length(vectors)), axis=-1)
    # The quaternion (1 + cos, y cross v), whose second imaginary part is zero.
    quaternion = tf.stack([tf.maximum(1.0 + y, _SMALLEST), z, -x], axis=-1)
    w, i, k = tf.unstack(quaternion / _length(quaternion), axis=-1)
    rows = [
        [1.0 - 2.0 * k * k, -2.0 * k * w, 2.0 * i * k],
        [2.0 * k * w, 1.0 - 2.0 * (i * i + k * k), -2.0 * i * w],
        [2.0 * i * k, 2.0 * i * w, 1.0 - 2.0 * i * i],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def _length(vectors):
    return tf.sqrt(tf.reduce_sum(vectors**2, axis=-1, keepdims=True) + _TINY_MM**2)
