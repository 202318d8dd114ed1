"""People of the embedded recording, and their hands as three depth cameras see them.

Each camera image is rendered at the sensor's own resolution, receives the sensor's faults there,
and is cropped around a center found in the depth alone, by the code that crops real recordings.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep import package_judge
from tfhand.geometry import crop, hand_center, rigid, views
from tfhand.hand import kinematics, spheres, surface, template
from tfhand.synthesis import depth, sensor

__all__ = ["pose_hand", "render_crops", "render_views", "sample_subject"]

# A window of the sensor around the hand is rendered, at the sensor's own pixel pitch.
_WINDOW_PX = 320
_FOCAL_PX = 588.0
_SKIN_POINTS = 55000
_WALL_BEHIND_MM = 500.0
# How far joints lie from where the hand model has them in the flesh, per axis.
_JOINT_STDDEV_MM = 2.0


def sample_subject(rng):
    """Draws a person whom no shape of the hand model explains exactly.

    One or two shape parameters lie beyond two standard deviations, where the synthetic stage cuts
    shapes off. Joints lie elsewhere in the flesh, every bone has a thickness of its own, and the
    skin has bumps.

    Args:
        rng: `np.random.Generator`.

    Returns:
        (shape float32 [P], see `template.SHAPE_NAMES`; `surface.Skin` with the person's bumps).
    """
    deviations = rng.normal(0.0, 1.0, len(template.SHAPE_NAMES)).clip(-1.95, 1.95)
    odd = rng.choice(len(deviations) - 1, rng.integers(1, 3), replace=False)
    deviations[odd] = rng.choice([-1.0, 1.0], len(odd)) * rng.uniform(2.05, 2.5, len(odd))
    skin = surface.sample_skin(_SKIN_POINTS)
    points_mm = _own_flesh(rng, skin) + _bumps(rng, skin.points_mm)[:, None] * skin.normals
    skin = dataclasses.replace(skin, points_mm=points_mm.astype(np.float32))
    return (deviations * template.SHAPE_STDDEV).astype(np.float32), skin


def _own_flesh(rng, skin):
    """Returns the skin with flesh that lies differently around each bone, [M, 3], mm."""
    rest = kinematics.rest_pose()
    moved = np.zeros_like(skin.points_mm)
    for k, weight in enumerate(skin.blend_weights.T):
        away = skin.points_mm - rest.origins_mm[k]
        axis = rest.axes[k][:, 1]
        across = away - (away @ axis)[:, None] * axis
        move = rng.normal(0.0, _JOINT_STDDEV_MM, 3) + (rng.lognormal(0.0, 0.06) - 1.0) * across
        moved += weight[:, None] * move
    return skin.points_mm + moved


def _bumps(rng, points_mm):
    """Returns bumps of the skin, [M], mm: waves of 25 to 80 mm, 1.2 mm in all."""
    bumps = np.zeros(len(points_mm))
    for _ in range(6):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / (np.linalg.norm(wave) * rng.uniform(25.0, 80.0))
        bumps += 0.7 * np.cos(points_mm @ wave + rng.uniform(0, 2 * np.pi))
    return bumps


def render_views(subject_points, joints_mm, view_from_ref, rng):
    """Renders the hand for every camera and applies the sensor's faults.

    Args:
        subject_points: float32 [B, 3, M], skin in the first camera's frame, mm.
        joints_mm: float32 [B, J, 3], in the same frame.
        view_from_ref: float32 [V, 4, 4].
        rng: `tf.random.Generator`.

    Returns:
        (depth_mm [B * V, H, W], 0 = no reading; intrinsics [B * V, 4] of the window; joints_mm [B,
        V, J, 3], camera frames). Views of a sample are neighbors.
    """
    num_views = view_from_ref.shape[0]
    batch = tf.shape(joints_mm)[0]
    rotation, translation = view_from_ref[None, :, :3, :3], view_from_ref[None, :, :3, 3]
    points = rotation @ subject_points[:, None] + translation[..., None]
    joints = tf.matmul(joints_mm[:, None], rotation, transpose_b=True) + translation[:, :, None]
    flat = tf.reshape(joints, [batch * num_views, -1, 3])
    middle = tf.reduce_mean(flat, axis=1)
    # The window's corner lies on whole pixels of the sensor, whose principal point is (320, 240).
    center = tf.constant([[320.0, 240.0]])
    corner = tf.round(_FOCAL_PX * middle[:, :2] / middle[:, 2:] + center) - _WINDOW_PX // 2
    focal = tf.fill([batch * num_views, 2], _FOCAL_PX)
    intrinsics = tf.concat([focal, center - corner], axis=1)
    points = tf.reshape(points, [batch * num_views, 3, -1])
    image = depth.splat_perspective(points, intrinsics, _WINDOW_PX, _WINDOW_PX, closing=3)
    wall = middle[:, 2, None, None] + _WALL_BEHIND_MM + tf.zeros_like(image)
    image = sensor.add_background(image, wall)
    image = sensor.shadow_holes(image)
    image = sensor.grazing_dropout(image, rng)
    # After those that depend on the surface's slope: frayed edges have none.
    image = sensor.edge_jitter(image, rng, 0.8)
    image = sensor.missing_blobs(image, rng, share=0.015, cells=14)
    return sensor.disparity_noise(image, rng), intrinsics, joints


@tf.function(reduce_retracing=True, autograph=False)
def render_crops(points, joints, view_from_ref, rng, spec):
    """Renders the hand for every camera, with the sensor's faults, and crops it where it is found.

    Args:
        points: float32 [B, 3, M], skin in the first camera's frame, mm.
        joints: float32 [B, J, 3], in the same frame.
        view_from_ref: float32 [V, 4, 4].
        rng: `tf.random.Generator`; the number of draws depends on the shapes alone.
        spec: `crop.CropSpec`.

    Returns:
        Dict of a record's values by name, a sample each.
    """
    num_views = view_from_ref.shape[0]
    images, intrinsics, joints = render_views(points, joints, view_from_ref, rng)
    batch = tf.shape(joints)[0]
    ref_from_view = tf.tile(rigid.inverse(view_from_ref)[None], [batch, 1, 1, 1])
    hand = hand_center.find_hand_in_views(
        tf.reshape(images, [batch, num_views, _WINDOW_PX, _WINDOW_PX]),
        tf.reshape(intrinsics, [batch, num_views, 4]),
        ref_from_view,
        package_judge.judge_of(images, intrinsics),
    )
    crops, own_crops = (
        views.unfold_views(
            crop.crop_depth(images, intrinsics, views.fold_views(centers), spec), num_views
        )
        for centers in (hand.center_mm, hand.own_center_mm)
    )
    return {
        "depth_mm": crops,
        "center_mm": hand.center_mm,
        "own_depth_mm": own_crops,
        "own_center_mm": hand.own_center_mm,
        "intrinsics": tf.reshape(intrinsics, [batch, num_views, 4]),
        "ref_from_view": ref_from_view,
        "joints_mm": joints,
    }


@tf.function(reduce_retracing=True, autograph=False)
def pose_hand(features, angles, shape, rotation, position_mm):
    """Poses a person's hand before the first camera.

    Args:
        features: float32 [M, 4 * K], `surface.skinning_features` of the person's skin.
        angles: float32 [B, 23], radians.
        shape: float32 [B, P].
        rotation: float32 [B, 3, 3], from the hand to the camera.
        position_mm: float32 [B, 3], of the palm's center in the camera's frame, mm.

    Returns:
        (skin float32 [B, 3, M], joints float32 [B, 36, 3]), camera frame, mm.
    """
    palm_mm = tf.constant([[0.0, 60.0, 0.0]])
    centers, _ = spheres.pose_spheres(angles, shape)
    joints = tf.matmul(spheres.joints_from_spheres(centers) - palm_mm, rotation, transpose_b=True)
    points = surface.pose_points(features, angles, shape, rotation)
    translation_mm = position_mm - tf.linalg.matvec(rotation, palm_mm)
    return points + translation_mm[..., None], joints + position_mm[:, None]
