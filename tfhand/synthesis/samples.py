"""Labeled synthetic crops, made on the fly in the graph (section 3.3)."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfhand.geometry import crop, rigid
from tfhand.hand import pose_sampling, spheres, surface, template
from tfhand.synthesis import depth, sensor

__all__ = [
    "NOISES",
    "ReferencePoses",
    "SyntheticConfig",
    "gaussian_depth",
    "noisy_depth",
    "sample_batch",
]

# The longest forearm that reaches into a crop around the hand, mm.
ARM_MM = 150.0
_IS_WRIST = np.array([name.startswith("WRIST_") for name in template.ANGLE_NAMES])
# What may be added to synthetic crops.
NOISES = ("sensor", "gaussian", "none")


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Distribution of synthetic crops.

    Attributes:
        points: Points on the skin; 9,000 leave no holes at 64 px.
        shape_scale: Factor on the spread of hand shapes.
        center_stddev_mm: Spread of the crop's center around the mean of the spheres, per axis.
        distance_mm: Lowest and highest distance from the camera, for the disparity noise.
        noise: What is added ("synth, aug. with noise" of Table 1): `"sensor"`, see `noisy_depth`;
            `"gaussian"`, see `gaussian_depth`; or `"none"`.

    Raises:
        ValueError: If `noise` is none of them.
    """

    points: int = 9000
    shape_scale: float = 1.0
    center_stddev_mm: float = 14.0
    distance_mm: tuple[float, float] = (500.0, 1100.0)
    noise: str = "sensor"

    def __post_init__(self):
        if self.noise not in NOISES:
            raise ValueError(f"Expected noise to be one of {NOISES}, received {self.noise!r}.")


@dataclasses.dataclass(frozen=True)
class ReferencePoses:
    """Poses and viewpoints, for example those fitted to a recording, to draw synthetic hands near.

    Not in the paper. Synthetic hands come with exact labels and any shape; near the fits of a
    recording they show what its cameras see.

    Attributes:
        angles: float32 [n, 23], radians.
        camera_from_hand: float32 [n, V, 3, 3], rotation of the hand before each camera.
        share: Share of the samples that are seen from these viewpoints.
        pose_share: Share of those whose fingers have these angles.
        angle_stddev: Spread around the angles, rad.
        turn_stddev: Spread around the rotation, rad about each axis.
    """

    angles: np.ndarray
    camera_from_hand: np.ndarray
    share: float = 0.8
    pose_share: float = 0.6
    angle_stddev: float = 0.15
    turn_stddev: float = 0.2


def noisy_depth(depth_mm, rng, spec, distance_mm):
    """Adds a sensor's faults to clean crops, at strengths drawn anew for every sample.

    Args:
        depth_mm: float32 [B, S, S], crop depth.
        rng: `tf.random.Generator`.
        spec: `crop.CropSpec`.
        distance_mm: float32 [B], of the crop's center from the camera.

    Returns:
        float32 [B, S, S], crop depth.
    """
    batch = tf.shape(depth_mm)[0]

    def strength(low, high):
        return rng.uniform([batch, 1, 1], low, high)

    # A pixel of the crop averages several of the sensor: its jitter is a fraction of a pixel.
    noisy = sensor.edge_jitter(depth_mm, rng, strength(0.0, 0.45))
    distance = distance_mm[:, None, None]
    mask = crop.foreground_mask(noisy, spec.cube_mm)
    absolute = tf.where(mask, noisy + distance, 0.0)
    absolute = sensor.disparity_noise(absolute, rng, noise_px=strength(0.0, 0.2))
    absolute = sensor.grazing_dropout(
        absolute, rng, pixel_mm=spec.pixel_mm, steep=strength(4.0, 12.0)
    )
    absolute = sensor.missing_blobs(absolute, rng, share=strength(0.0, 0.05))
    absolute = sensor.missing_blobs(absolute, rng, share=strength(0.0, 0.04), cells=24)
    relative = absolute - distance
    return _inside_cube(relative, absolute > 0.0, spec)


def gaussian_depth(depth_mm, rng, spec):
    """Adds about a pixel of jitter and 5 mm along the axis to clean crops.

    The paper's noise is unspecified; this is that of the public code of its first author.

    Args:
        depth_mm: float32 [B, S, S], crop depth.
        rng: `tf.random.Generator`.
        spec: `crop.CropSpec`.

    Returns:
        float32 [B, S, S], crop depth; background stays background.
    """
    jittered = sensor.edge_jitter(depth_mm, rng, 0.7)
    noisy = jittered + 5.0 * rng.normal(tf.shape(jittered))
    return _inside_cube(noisy, crop.foreground_mask(jittered, spec.cube_mm), spec)


def _inside_cube(depth_mm, has_reading, spec):
    """Returns crop depth with the background where there is no reading inside the cube."""
    inside = (depth_mm > -spec.far_mm) & crop.foreground_mask(depth_mm, spec.cube_mm)
    return tf.where(has_reading & inside, depth_mm, spec.far_mm)


class _Hands(NamedTuple):
    """Hands before a camera: angles, shape, camera from hand, crop's center and length of arm."""

    angles: tf.Tensor
    shape: tf.Tensor
    rotation: tf.Tensor
    middle_mm: tf.Tensor
    arm_mm: tf.Tensor


@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def _skin_pixels(features, skin_y_mm, hands, spec):
    """Poses the skin and finds its pixels; fused, since nearly all of it is element-wise.

    The skin comes in as tensors: XLA would spend long on folding such constants. What is drawn
    comes in too: every random draw adds half a second to the compilation.
    """
    points = surface.pose_points(features, hands.angles, hands.shape, hands.rotation)
    points -= hands.middle_mm[..., None]
    pixel, depth_mm, inside = depth.orthographic_pixels(points, spec)
    return pixel, depth_mm, inside & (skin_y_mm > -hands.arm_mm[:, None])


def _sample_pose(rng, batch, reference):
    """Draws joint angles [B, 23] and rotations camera from hand [B, 3, 3]."""
    angles = pose_sampling.sample_angles(rng, batch)
    rotation = pose_sampling.sample_rotation(rng, batch)
    if reference is None:
        return angles, rotation
    frame = rng.uniform([batch], maxval=len(reference.angles), dtype=tf.int32)
    view = rng.uniform([batch], maxval=reference.camera_from_hand.shape[1], dtype=tf.int32)
    low, high = template.ANGLE_RANGES_RAD.T
    near = tf.gather(tf.constant(reference.angles), frame)
    near = tf.clip_by_value(near + reference.angle_stddev * rng.normal(tf.shape(near)), low, high)
    # No fit tells the wrist's angles, which move only the forearm.
    near = tf.where(_IS_WRIST, angles, near)
    viewpoint = tf.stack([frame, view], axis=1)
    viewpoint = tf.gather_nd(tf.constant(reference.camera_from_hand), viewpoint)
    turn = rigid.rotation_from_axis_angle(reference.turn_stddev * rng.normal([batch, 3]))
    has_viewpoint = rng.uniform([batch]) < reference.share
    has_pose = has_viewpoint & (rng.uniform([batch]) < reference.pose_share)
    angles = tf.where(has_pose[:, None], near, angles)
    return angles, tf.where(has_viewpoint[:, None, None], turn @ viewpoint, rotation)


def sample_batch(rng, batch, spec, config=SyntheticConfig(), reference=None):
    """Draws labeled synthetic crops.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of samples B, int.
        spec: `crop.CropSpec`.
        config: `SyntheticConfig`.
        reference: Optional `ReferencePoses` to draw near.

    Returns:
        Dict of `depth_mm` float32 [B, S, S] (crop depth) and `spheres_mm` float32 [B, 41, 3]
        (crop frame).
    """
    size = spec.image_size
    angles, rotation = _sample_pose(rng, batch, reference)
    shape = pose_sampling.sample_shape(rng, batch, config.shape_scale)
    centers, _ = spheres.pose_spheres(angles, shape)
    # camera[b,n] = rotation[b] hand[b,n]
    centers = tf.matmul(centers, rotation, transpose_b=True)
    offset = config.center_stddev_mm * rng.truncated_normal([batch, 3])
    middle = tf.reduce_mean(centers, axis=1) + offset
    # Most recordings show the arm to the border of the crop, some a sleeve or a dark cuff.
    arm_mm = tf.where(rng.uniform([batch]) < 0.7, 1e3, rng.uniform([batch], 0.0, ARM_MM))
    skin = surface.sample_skin(config.points, arm_mm=ARM_MM)
    features, skin_y_mm = surface.skinning_features(skin), skin.points_mm[:, 1]
    hands = _Hands(angles, shape, rotation, middle, arm_mm)
    pixel, depth_mm, inside = _skin_pixels(
        tf.constant(features), tf.constant(skin_y_mm), hands, spec
    )
    centers -= middle[:, None]
    crops = depth.nearest_depth(depth_mm, pixel, inside, size * size, spec.far_mm)
    crops = depth.fill_pinholes(tf.reshape(crops, [batch, size, size]))
    if config.noise == "gaussian":
        crops = gaussian_depth(crops, rng, spec)
    elif config.noise == "sensor":
        crops = noisy_depth(crops, rng, spec, rng.uniform([batch], *config.distance_mm))
    return {"depth_mm": crops, "spheres_mm": tf.ensure_shape(centers, [batch, 41, 3])}
