"""Rotates, resizes, moves and thins out recorded crops before the network sees them.

The terms of the loss stay in the crop's own frame: `undo` brings estimates back.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.geometry import crop, rigid

__all__ = ["AugmentationConfig", "CropMotion", "apply", "sample_motion", "undo"]


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """Spread of the random motion of the crop.

    Attributes:
        rotation_deg: Standard deviation of the rotation in the image plane, degrees.
        translation_mm: Standard deviation of the translation along each axis, mm.
        log_scale: Standard deviation of the logarithm of the size, cut off at two of it: the same
            hand as that of a larger or smaller person.
        dropout: Largest share of readings that are removed.
    """

    rotation_deg: float = 25.0
    translation_mm: float = 6.0
    log_scale: float = 0.06
    dropout: float = 0.05


@dataclasses.dataclass(frozen=True)
class CropMotion:
    """A rotation in the image plane, a change of size and a translation of crops.

    Attributes:
        rotation: float32 [B, 3, 3], about z.
        scale: float32 [B].
        translation_mm: float32 [B, 3]; a point p of the crop moves to
            `scale rotation p + translation_mm`.
    """

    rotation: tf.Tensor
    scale: tf.Tensor
    translation_mm: tf.Tensor


def sample_motion(rng, batch, config):
    """Draws a `CropMotion` for B crops.

    Args:
        rng: `StatelessRng`.
        batch: B, int or scalar tensor.
        config: `AugmentationConfig`.

    Returns:
        `CropMotion`.
    """
    angle = rng.normal([batch]) * float(np.radians(config.rotation_deg))
    zero = tf.zeros_like(angle)
    rotation = rigid.rotation_from_axis_angle(tf.stack([zero, zero, angle], axis=-1))
    scale = tf.exp(config.log_scale * rng.truncated_normal([batch]))
    return CropMotion(rotation, scale, rng.normal([batch, 3]) * config.translation_mm)


def apply(motion, depth_mm, spec, rng, config):
    """Moves crops and removes some of their readings.

    Args:
        motion: `CropMotion`.
        depth_mm: float32 [B, S, S], crop depth.
        spec: `crop.CropSpec`.
        rng: `StatelessRng`.
        config: `AugmentationConfig`.

    Returns:
        float32 [B, S, S], crop depth in the moved frame. What moves in from outside the cube is
        background.
    """
    size, far = spec.image_size, spec.far_mm
    batch = tf.shape(depth_mm)[0]
    grid = crop.pixel_centers_mm(spec)
    x, y = tf.meshgrid(grid, grid)
    target = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1])], axis=-1)
    # Where each pixel of the result comes from: R^T (target - translation) / scale.
    offset = (target[None] - motion.translation_mm[:, None, :2]) / motion.scale[:, None, None]
    source = tf.matmul(offset, motion.rotation[:, :2, :2])
    index = tf.cast(tf.floor((source + far) / spec.pixel_mm), tf.int32)
    inside = tf.reduce_all((index >= 0) & (index < size), axis=-1)
    index = tf.clip_by_value(index, 0, size - 1)
    flat = tf.reshape(depth_mm, [batch, size * size])
    moved = tf.gather(flat, index[..., 1] * size + index[..., 0], batch_dims=1)
    is_surface = inside & crop.foreground_mask(moved, spec.cube_mm)
    translated = moved * motion.scale[:, None] + motion.translation_mm[:, 2:]
    has_reading = rng.uniform([batch, size * size]) >= rng.uniform([batch, 1], 0.0, config.dropout)
    has_reading &= (
        is_surface & (translated >= -far) & crop.foreground_mask(translated, spec.cube_mm)
    )
    return tf.reshape(tf.where(has_reading, translated, far), [batch, size, size])


def undo(motion, points_mm):
    """Brings points of the moved frame back to the crop's own.

    Args:
        motion: `CropMotion`.
        points_mm: float32 [B, N, 3].

    Returns:
        float32 [B, N, 3].
    """
    # p = R^T (q - translation) / scale, row by row.
    moved = tf.matmul(points_mm - motion.translation_mm[:, None], motion.rotation)
    return moved / motion.scale[:, None, None]
