"""Depth maps as the terms see them: what they read from them is computed once."""

import dataclasses

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.losses import forearm
from tfhand.rendering import distance_transform

__all__ = ["Observation", "observe"]


@dataclasses.dataclass(frozen=True)
class Observation:
    """Depth maps of the V views of each sample, without gradient, and how they are compared.

    T is the number of rows, and columns, that the stride leaves of S.

    Attributes:
        depth_mm: float32 `[B, V, T, T]`, mm relative to the crops' centers.
        points_mm: float32 `[B, V, T * T, 3]`, mm, crop frames: one a pixel, row by row.
        is_surface: bool `[B, V, T, T]`, False for background and NaN.
        is_hand: bool `[B, 1 or Vi, V, T, T]`, the part of `is_surface` that can belong to the hand
            of view i. The data terms leave out the rest.
        outside_mm: float32 `[B, V, S, S]`, mm, distance across the image from the center of every
            pixel to that of the nearest surface pixel.
        spec: `crop.CropSpec` of the depth maps.
        clamp_mm: Largest difference that a pixel, point or sphere adds, mm.
        stride: The data terms use every stride-th row and column.
        pair_weights: None for 1, or float32 `[B, Vi, V]`, weights of the mean over view pairs.
    """

    depth_mm: tf.Tensor
    points_mm: tf.Tensor
    is_surface: tf.Tensor
    is_hand: tf.Tensor
    outside_mm: tf.Tensor
    spec: crop.CropSpec
    clamp_mm: float
    stride: int
    pair_weights: tf.Tensor | None

    def without_forearm(self, projected_mm):
        """Leaves out of `is_hand` what is beyond the wrist, see `forearm.point_mask`.

        Args:
            projected_mm: float32 `[B, Vi, V, 41, 3]`, mm, spheres of view i in the crop frame of
                each view.

        Returns:
            `Observation`.
        """
        mask = forearm.point_mask(self.points_mm[:, tf.newaxis], projected_mm)
        mask = tf.reshape(mask, tf.concat([tf.shape(mask)[:3], self.depth_mm.shape[2:]], axis=0))
        return dataclasses.replace(self, is_hand=self.is_hand & mask)


def observe(depth_mm, spec, *, clamp_mm=50.0, stride=1, pair_weights=None):
    """Reads masks and points from depth maps.

    Args:
        depth_mm: float32 `[B, V, S, S]`, mm relative to the crops' centers, background
            `cube_mm / 2`.
        spec: `crop.CropSpec` of the depth maps.
        clamp_mm: See `Observation`.
        stride: See `Observation`.
        pair_weights: See `Observation`.

    Returns:
        `Observation`, all of whose surface can belong to the hand.

    Raises:
        ValueError: If the shape does not fit.
    """
    depth_mm = tf.stop_gradient(tf.convert_to_tensor(depth_mm, dtype=tf.float32))
    size = spec.image_size
    if depth_mm.shape.rank != 4 or depth_mm.shape[2:] != [size, size]:
        raise ValueError(
            f"Expected depth of shape [batch, view, {size}, {size}], received {depth_mm.shape}."
        )
    surface = crop.foreground_mask(depth_mm, spec.cube_mm)
    outside = distance_transform.distance_transform(tf.reshape(surface, [-1, size, size]))
    # The rows and columns that `render_depth` draws with this stride.
    strided = slice(stride // 2, None, stride)
    strided_mm, is_surface = depth_mm[:, :, strided, strided], surface[:, :, strided, strided]
    points_mm = crop.points_from_crop(depth_mm, spec)
    points_mm = tf.reshape(points_mm, tf.concat([tf.shape(depth_mm), [3]], axis=0))
    points_mm = points_mm[:, :, strided, strided]
    num_points = strided_mm.shape[2] * strided_mm.shape[3]
    return Observation(
        depth_mm=strided_mm,
        points_mm=tf.reshape(points_mm, [-1, depth_mm.shape[1], num_points, 3]),
        is_surface=is_surface,
        is_hand=is_surface[:, tf.newaxis],
        outside_mm=tf.reshape(outside * spec.pixel_mm, tf.shape(depth_mm)),
        spec=spec,
        clamp_mm=float(clamp_mm),
        stride=stride,
        pair_weights=pair_weights,
    )
