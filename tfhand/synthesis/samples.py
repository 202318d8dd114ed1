"""Labeled synthetic crops, made on the fly in the graph (section 3.3)."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfhand.geometry import crop, rigid
from tfhand.hand import pose_sampling, spheres, surface, template
from tfhand.synthesis import depth, devices, readings, sensor

__all__ = [
    "NOISES",
    "Hands",
    "ReferencePoses",
    "SyntheticConfig",
    "draw_hands",
    "gaussian_depth",
    "render_crops",
    "sample_batch",
]

# The longest forearm that reaches into a crop around the hand, mm.
ARM_MM = 150.0
# A point hides what lies farther behind it: more than the skin may fall within a cell of rays, less
# than fingers are thick.
_THICKNESS_MM = 12.0
# A point stands for a disc of skin, wider than one of the same area (1.13 spacings), for points are
# not quite even; and a disc at the silhouette is bent: angle between the normals of its middle and
# of its rim, rad, about half a spacing over a finger's radius. Both measured against rays through
# the mesh (benchmarks/sensor_crops.py).
_GAP = 1.2
_BEND = 0.2
# Cosine of the angle to the ray at about 1 mm, half a reading, from a finger's silhouette.
_RIM = 0.5
_IS_WRIST = np.array([name.startswith("WRIST_") for name in template.ANGLE_NAMES])
# What may be added to synthetic crops.
NOISES = ("sensor", "gaussian", "none")


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Distribution of synthetic crops.

    Attributes:
        points: Points on the skin; 9,000 leave no holes at 64 px.
        shape_scale: Factor on the spread of hand shapes.
        gesture_share: Share of gestures among hand shapes, see `pose_sampling.sample_angles`.
        center_stddev_mm: Spread of the crop's center around the mean of the spheres, per axis.
        distance_mm: Lowest and highest distance from the camera.
        off_axis: Largest x / z and y / z of the crop's center in the camera's frame.
        sensors: Kinds of sensor to draw from, of `devices.SENSORS`.
        noise: What is added ("synth, aug. with noise" of Table 1): `"sensor"`, see
            `readings.add_faults`; `"gaussian"`, see `gaussian_depth`; or `"none"`.

    Raises:
        ValueError: If `noise` is none of them, or a sensor is unknown.
    """

    points: int = 9000
    shape_scale: float = 1.0
    gesture_share: float = pose_sampling.GESTURE_SHARE
    center_stddev_mm: float = 14.0
    distance_mm: tuple[float, float] = (300.0, 1200.0)
    off_axis: float = 0.25
    sensors: tuple[str, ...] = tuple(devices.SENSORS)
    noise: str = "sensor"

    def __post_init__(self):
        if self.noise not in NOISES:
            raise ValueError(f"Expected noise to be one of {NOISES}, received {self.noise!r}.")
        if not self.sensors or set(self.sensors) - set(devices.SENSORS):
            raise ValueError(
                f"Expected sensors to be some of {tuple(devices.SENSORS)}, received "
                f"{self.sensors!r}."
            )


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


class Hands(NamedTuple):
    """Hands before a camera, B of them, float32.

    Attributes:
        angles: [B, 23], radians.
        shape: [B, P], see `template.SHAPE_NAMES`.
        rotation: [B, 3, 3], camera from hand.
        middle_mm: [B, 3], the crop's center, axes of the camera, origin of the hand.
        arm_mm: [B], length of the arm that is seen.
        cameras: `devices.Cameras`.
    """

    angles: tf.Tensor
    shape: tf.Tensor
    rotation: tf.Tensor
    middle_mm: tf.Tensor
    arm_mm: tf.Tensor
    cameras: devices.Cameras


class _Skin(NamedTuple):
    """Points of the skin as tensors.

    Attributes:
        features: float32 [2 M, 4 K], `surface.skinning_features` of points, then of normals.
        y_mm: float32 [M], at rest.
        spacing_mm: float32, diameter of the patches that they stand for.
    """

    features: tf.Tensor
    y_mm: tf.Tensor
    spacing_mm: tf.Tensor


class _Pixels(NamedTuple):
    """Pixels of skin points, [B, M] each; -1: none.

    Attributes:
        depth_mm: float32, crop frame.
        ray_cell: int32, cell of rays that the point may hide, over the whole batch.
        ray_corner: int32, where to look up what hides it, likewise.
        strip: int32, strip of the crop, likewise.
    """

    depth_mm: tf.Tensor
    ray_cell: tf.Tensor
    ray_corner: tf.Tensor
    strip: tf.Tensor


@functools.lru_cache(maxsize=4)
def _skin_arrays(count):
    """Returns the values of `_Skin`, NumPy."""
    skin = surface.sample_skin(count, arm_mm=ARM_MM)
    # Normals turn with the bones and do not move with them.
    normals = dataclasses.replace(skin, points_mm=skin.normals)
    turned = surface.skinning_features(normals).reshape(len(skin.normals), -1, 4)
    turned = (turned * np.float32([1, 1, 1, 0])).reshape(len(skin.normals), -1)
    features = np.concatenate([surface.skinning_features(skin), turned])
    corners = surface.load_mesh().points_mm[surface.load_mesh().faces]
    corners = corners[corners[..., 1].min(axis=1) > -ARM_MM]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area_mm2 = 0.5 * np.linalg.norm(area, axis=-1).sum()
    spacing_mm = _GAP * np.sqrt(area_mm2 / len(skin.points_mm))
    return features, skin.points_mm[:, 1], np.float32(spacing_mm)


# Without `reduce_retracing`: relaxed shapes would make the last bits of a batch depend on the sizes
# of batches before it, and a resumed training end elsewhere.
@tf.function(jit_compile=True, autograph=False)
def _skin_pixels(skin, hands, readings_reach, spec):
    """Poses the skin and finds its pixels; fused, since nearly all of it is element-wise.

    The skin comes in as tensors: XLA would spend long on folding such constants. What is drawn
    comes in too: every random draw adds half a second to the compilation.

    Args:
        skin: `_Skin`.
        hands: `Hands`.
        readings_reach: bool, whether the sensor's jitter widens silhouettes.
        spec: `crop.CropSpec`.

    Returns:
        `_Pixels`.
    """
    posed = surface.pose_points(skin.features, hands.angles, hands.shape, hands.rotation)
    points, normals = tf.split(posed, 2, axis=2)
    points -= hands.middle_mm[..., None]
    center_mm = hands.cameras.center_mm
    seen = points + center_mm[..., None]
    # Cosine of the angle between normal and ray.
    squares = tf.reduce_sum(normals**2, axis=1) * tf.reduce_sum(seen**2, axis=1)
    towards = -tf.reduce_sum(normals * seen, axis=1) * tf.math.rsqrt(squares + 1e-6)
    is_facing = (towards > 0.0) & (seen[:, 2] > 1.0) & (skin.y_mm > -hands.arm_mm[:, None])
    # Of the angle between normal and axis: patches of skin seem so much narrower in the crop.
    # A patch at the silhouette is bent: its normals are not all at a right angle to the axis.
    cosine = normals[:, 2] ** 2 / (tf.reduce_sum(normals**2, axis=1) + 1e-6)
    cosine = tf.sqrt(cosine + _BEND**2)
    ray_cell, has_cell, ray_corner = depth.ray_cells(seen, center_mm)
    sensor_values = hands.cameras.sensor
    pitch_mm = seen[:, 2] / sensor_values["focal_px"][:, None]
    if readings_reach:
        reach_mm = readings.edge_reach_mm(pitch_mm, towards < _RIM, sensor_values, spec)
    else:
        reach_mm = -0.5 * pitch_mm
    reach_mm += 0.5 * skin.spacing_mm * cosine
    column, has_column = depth.strips(points[:, 0], reach_mm, spec)
    row, has_row = depth.strips(points[:, 1], reach_mm, spec)
    inside = crop.foreground_mask(points[:, 2], spec.cube_mm) & (points[:, 2] >= -spec.far_mm)
    is_drawn = is_facing & has_column & has_row & inside
    if readings_reach:
        # What the sensor sees too steep is no part of its silhouette.
        is_drawn &= towards > readings.least_cosine(sensor_values)[:, None]
    sample = tf.range(tf.shape(points)[0])[:, None]
    width = 2 * spec.image_size + 1
    return _Pixels(
        points[:, 2],
        tf.where(is_facing & has_cell, ray_cell + sample * depth.RAY_CELLS**2, -1),
        ray_corner + sample * (depth.RAY_CELLS + 1) ** 2,
        tf.where(is_drawn, row * width + column + sample * width**2, -1),
    )


@tf.function(jit_compile=True, autograph=False)
def _occluders(nearest_mm):
    return depth.occluder_table(nearest_mm) + _THICKNESS_MM


@tf.function(jit_compile=True, autograph=False)
def _finish(nearest_mm, cameras, draws, spec):
    """Reduces strips to pixels; with draws, adds the sensor's faults, and readings that fly."""
    width = 2 * spec.image_size + 1
    crops = depth.nearest_of_strips(tf.reshape(nearest_mm, [-1, width, width]))
    crops = depth.fill_pinholes(tf.minimum(crops, spec.far_mm))
    if draws is None:
        return crops
    faulty = readings.add_faults(crops, cameras, draws, spec)
    return faulty, *readings.flying_readings(crops, cameras, draws, spec)


def draw_hands(rng, batch, config=SyntheticConfig(), reference=None):
    """Draws hands and the cameras that see them.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of samples B, int.
        config: `SyntheticConfig`.
        reference: Optional `ReferencePoses` to draw near.

    Returns:
        (`Hands`; spheres_mm float32 [B, 41, 3], crop frame).
    """
    angles = pose_sampling.sample_angles(rng, batch, gesture_share=config.gesture_share)
    rotation = pose_sampling.sample_rotation(rng, batch)
    if reference is not None:
        angles, rotation = _near_reference(rng, angles, rotation, reference)
    shape = pose_sampling.sample_shape(rng, batch, config.shape_scale)
    centers, _ = spheres.pose_spheres(angles, shape)
    # camera[b,n] = rotation[b] hand[b,n]
    centers = tf.matmul(centers, rotation, transpose_b=True)
    offset = config.center_stddev_mm * rng.truncated_normal([batch, 3])
    middle = tf.reduce_mean(centers, axis=1) + offset
    # Most recordings show the arm to the border of the crop, some a sleeve or a dark cuff.
    arm_mm = tf.where(rng.uniform([batch]) < 0.7, 1e3, rng.uniform([batch], 0.0, ARM_MM))
    kinds = [devices.SENSORS[name] for name in config.sensors]
    cameras = devices.draw_cameras(rng, batch, kinds, config.distance_mm, config.off_axis)
    centers -= middle[:, None]
    hands = Hands(angles, shape, rotation, middle, arm_mm, cameras)
    return hands, tf.ensure_shape(centers, [batch, 41, 3])


def render_crops(hands, spec, points=SyntheticConfig.points, draws=None):
    """Renders hands as crops of a recording show them.

    The skin that the camera sees, along its rays, is projected into the crop; each pixel has the
    nearest of the readings in it.

    Args:
        hands: `Hands`.
        spec: `crop.CropSpec`.
        points: Points on the skin.
        draws: `readings.Draws` for the faults of the sensor; None: clean readings.

    Returns:
        float32 [B, S, S], crop depth.
    """
    batch = tf.shape(hands.arm_mm)[0]
    skin = _Skin(*map(tf.constant, _skin_arrays(points)))
    pixels = _skin_pixels(skin, hands, draws is not None, spec)
    depth_mm, ray_cell, ray_corner, strip = (tf.reshape(values, [-1]) for values in pixels)
    # Negative segments are skipped.
    nearest = tf.math.unsorted_segment_min(depth_mm, ray_cell, batch * depth.RAY_CELLS**2)
    table = _occluders(tf.reshape(nearest, [batch, depth.RAY_CELLS**2]))
    hidden = depth_mm > tf.gather(tf.reshape(table, [-1]), ray_corner)
    strip = tf.where(hidden, -1, strip)
    width = 2 * spec.image_size + 1
    nearest = tf.math.unsorted_segment_min(depth_mm, strip, batch * width**2)
    nearest = tf.reshape(nearest, [batch, width**2])
    if draws is None:
        return _finish(nearest, hands.cameras, None, spec)
    crops, *flying = _finish(nearest, hands.cameras, draws, spec)
    flying = tf.math.unsorted_segment_min(*(tf.reshape(x, [-1]) for x in flying), tf.size(crops))
    return tf.minimum(crops, tf.reshape(flying, tf.shape(crops)))


def _near_reference(rng, angles, rotation, reference):
    """Replaces a share of angles [B, 23] and rotations [B, 3, 3] by those near a reference."""
    batch = tf.shape(angles)[0]
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
    hands, spheres_mm = draw_hands(rng, batch, config, reference)
    draws = readings.draw(rng, batch, spec) if config.noise == "sensor" else None
    crops = render_crops(hands, spec, config.points, draws)
    if config.noise == "gaussian":
        crops = gaussian_depth(crops, rng, spec)
    return {"depth_mm": crops, "spheres_mm": spheres_mm}
