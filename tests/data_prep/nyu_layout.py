"""Writes small recordings in the NYU data set's layout, from the project's own hand."""

import dataclasses
from pathlib import Path

import numpy as np
import scipy.io
import tensorflow as tf

from data_prep.synthetic import motion, rendering
from tfhand.geometry import camera, rigid
from tfhand.hand import skeleton, surface, template
from tfhand.synthesis import depth, sensor

HEIGHT, WIDTH = 480, 640


@dataclasses.dataclass(frozen=True)
class Scene:
    """A recording that was written.

    Attributes:
        folder: Of the split.
        joints_mm: float32 [3, n, 36, 3], camera frames, y down.
        view_from_ref: float32 [3, 4, 4].
    """

    folder: Path
    joints_mm: np.ndarray
    view_from_ref: np.ndarray


def write_split(folder, num_frames, seed, *, annotation=True, compression=1):
    """Writes pictures of three cameras and `joint_data.mat`.

    Args:
        folder: Folder of the split, made.
        num_frames: Number of frames.
        seed: Of hand, motion, cameras and noise.
        annotation: Whether to write `joint_data.mat`.
        compression: Level of the pictures' compression, 0 to 9.

    Returns:
        `Scene`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    generator = tf.random.Generator.from_seed(seed)
    cameras = motion.place_cameras(rng)
    moves = motion.sample_motion(rng, num_frames)
    shape = rng.normal(0.0, 0.7, len(template.SHAPE_NAMES)) * template.SHAPE_STDDEV
    shape = np.tile(shape.astype(np.float32), (num_frames, 1))
    skin = tf.constant(surface.skinning_features(surface.sample_skin(60000)))
    points, joints = rendering.pose_hand(
        skin, moves.angles, shape, moves.camera_from_hand, moves.position_mm
    )
    intrinsics = np.tile(np.float32(camera.NYU_INTRINSICS), (num_frames, 1))
    in_views = []
    for view, transform in enumerate(cameras):
        moved = transform[:3, :3] @ points + transform[:3, 3:]
        image = depth.splat_perspective(moved, intrinsics, HEIGHT, WIDTH, closing=3)
        image = sensor.add_background(image, tf.fill(tf.shape(image), 1400.0))
        image = sensor.edge_jitter(image, generator, 0.8)
        image = sensor.missing_blobs(image, generator, share=0.01, cells=20)
        image = sensor.disparity_noise(image, generator)
        for frame, picture in enumerate(image.numpy(), start=1):
            path = folder / f"depth_{view + 1}_{frame:07d}.png"
            write_picture(path, picture, compression)
        in_views.append(rigid.apply(transform, joints).numpy())
    joints = np.stack(in_views)
    if annotation:
        write_joint_data(folder / "joint_data.mat", joints)
    return Scene(folder, joints, cameras)


def write_picture(path, depth_mm, compression=1):
    """Writes depth in NYU's coding, red zero, by libpng: other writers' are faster to decode."""
    value = np.round(depth_mm).astype(np.uint16)
    rgb = np.stack([np.zeros_like(value), value >> 8, value & 255], axis=-1)
    path.write_bytes(tf.io.encode_png(rgb.astype(np.uint8), compression=compression).numpy())


def write_joint_data(path, joints_mm):
    """Writes joints [3, n, 36, 3] (y down) as the data set does (y up)."""
    uvd = camera.project(joints_mm, np.float32(camera.NYU_INTRINSICS)).numpy()
    names = np.empty((1, len(skeleton.JOINT_NAMES)), object)
    names[0] = skeleton.JOINT_NAMES
    xyz = joints_mm * np.array([1.0, -1.0, 1.0])
    scipy.io.savemat(path, {"joint_xyz": xyz, "joint_uvd": uvd, "joint_names": names})
