"""Turns, resizes, shifts and thins out recorded crops before the network sees them.

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
        turn_deg: Standard deviation of the turn in the image plane, degrees.
        shift_mm: Standard deviation of the shift along each axis, mm.
        log_scale: Standard deviation of the logarithm of the size, cut off at two of it: the same
            hand as that of a larger or smaller person.
        dropout: Largest share of readings that are removed.
    """

    turn_deg: float = 25.0
    shift_mm: float = 6.0
    log_scale: float = 0.06
    dropout: float = 0.05


@dataclasses.dataclass(frozen=True)
class CropMotion:
    """A turn in the image plane, a change of size and a shift of crops.

    Attributes:
        rotation: float32 [B, 3, 3], about z.
        scale: float32 [B].
        shift_mm: float32 [B, 3]; a point p of the crop moves to `scale rotation p + shift_mm`.
    """

    rotation: tf.Tensor
    scale: tf.Tensor
    shift_mm: tf.Tensor


def sample_motion(rng, batch, config):
    """Draws a `CropMotion` for B crops.

    Args:
        rng: `tf.random.Generator`.
        batch: B, int or scalar tensor.
        config: `AugmentationConfig`.

    Returns:
        `CropMotion`.
    """
    turn = rng.normal([batch]) * float(np.radians(config.turn_deg))
    zero = tf.zeros_like(turn)
    rotation = rigid.rotation_from_axis_angle(tf.stack([zero, zero, turn], axis=-1))
    scale = tf.exp(config.log_scale * rng.truncated_normal([batch]))
    return CropMotion(rotation, scale, rng.normal([batch, 3]) * config.shift_mm)


def apply(motion, depth_mm, spec, rng, config):
    """Moves crops and removes some of their readings.

    Args:
        motion: `CropMotion`.
        depth_mm: float32 [B, S, S], crop depth.
        spec: `crop.CropSpec`.
        rng: `tf.random.Generator`.
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
    # Where each pixel of the result comes from: R^T (target - shift) / scale.
    offset = (target[None] - motion.shift_mm[:, None, :2]) / motion.scale[:, None, None]
    source = tf.matmul(offset, motion.rotation[:, :2, :2])
    index = tf.cast(tf.floor((source + far) / spec.pixel_mm), tf.int32)
    inside = tf.reduce_all((index >= 0) & (index < size), axis=-1)
    index = tf.clip_by_value(index, 0, size - 1)
    flat = tf.reshape(depth_mm, [batch, size * size])
    moved = tf.gather(flat, index[..., 1] * size + index[..., 0], batch_dims=1)
    is_surface = inside & crop.foreground_mask(moved, spec.cube_mm)
    shifted = moved * motion.scale[:, None] + motion.shift_mm[:, 2:]
    kept = rng.uniform([batch, size * size]) >= rng.uniform([batch, 1], 0.0, config.dropout)
    kept &= is_surface & (shifted >= -far) & crop.foreground_mask(shifted, spec.cube_mm)
    return tf.reshape(tf.where(kept, shifted, far), [batch, size, size])


def undo(motion, points_mm):
    """Brings points of the moved frame back to the crop's own.

    Args:
        motion: `CropMotion`.
        points_mm: float32 [B, N, 3].

    Returns:
        float32 [B, N, 3].
    """
    # p = R^T (q - shift) / scale, row by row.
    moved = tf.matmul(points_mm - motion.shift_mm[:, None], motion.rotation)
    return moved / motion.scale[:, None, None]
