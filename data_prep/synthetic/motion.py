"""Cameras of the embedded recording, and the motion of a hand before them."""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.synthetic import actions
from tfhand.geometry import rigid

__all__ = ["Motion", "place_cameras", "sample_motion"]

# Frames from one direction of the hand to the next, and of an action; from its end to the beginning
# of the next one there are as many as the first.
_FRAMES_PER_KEY, _FRAMES_PER_ACTION = 5, 16


@dataclasses.dataclass(frozen=True)
class Motion:
    """Motion of one hand.

    Attributes:
        angles: float32 [n, 23], radians.
        camera_from_hand: float32 [n, 3, 3], rotation, first camera.
        position_mm: float32 [n, 3], of the palm's center, first camera.
    """

    angles: np.ndarray
    camera_from_hand: np.ndarray
    position_mm: np.ndarray


def _look_at(position, target, roll):
    """Returns view_from_ref [4, 4] of a camera at `position` that looks at `target`."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(np.array([0.0, 1.0, 0.0]), z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ np.stack([x, y, z])
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, -rotation @ position
    return transform


def place_cameras(rng):
    """Places a camera in front of the hand and one on either side.

    Args:
        rng: `np.random.Generator`.

    Returns:
        float32 [3, 4, 4], view_from_ref; the first camera is the reference.
    """
    target = np.array([0.0, 0.0, 780.0])
    transforms = [np.eye(4)]
    for side in (-1.0, 1.0):
        angle = np.radians(side * rng.uniform(38.0, 62.0))
        distance = rng.uniform(680.0, 850.0)
        height = rng.uniform(-180.0, 80.0)
        position = target + np.array([distance * np.sin(angle), height, -distance * np.cos(angle)])
        transforms.append(_look_at(position, target, np.radians(rng.uniform(-5.0, 5.0))))
    return np.array(transforms, np.float32)


def _interpolate(keys, frames):
    """Moves smoothly through keys [k, ...], `_FRAMES_PER_KEY` frames a step, [frames, ...]."""
    at = np.arange(frames) / _FRAMES_PER_KEY
    low = np.floor(at).astype(int)
    t = at - low
    t = (t * t * (3 - 2 * t)).reshape(-1, *[1] * (keys.ndim - 1))
    return keys[low] * (1 - t) + keys[low + 1] * t


def sample_motion(rng, frames):
    """Draws a motion of one person, from action to action, seen from all sides.

    Args:
        rng: `np.random.Generator`.
        frames: Number of frames n.

    Returns:
        `Motion`.
    """
    num_keys = frames // _FRAMES_PER_KEY + 2
    # Palm, back or side to the first camera, tilted some way, the fingers mostly up.
    about_arm = rng.choice(
        [0.0, np.pi, 0.5 * np.pi, -0.5 * np.pi], num_keys, p=[0.5, 0.26, 0.12, 0.12]
    )
    about_arm += rng.normal(0, 0.6, num_keys)
    about_arm = np.cumsum(np.concatenate([about_arm[:1], _wrapped(np.diff(about_arm))]))
    # Not far away from the camera, which would see an arm and no fingers.
    forward = np.maximum(rng.normal(0, 0.6, num_keys), -0.5)
    tilt = np.stack([forward, rng.normal(0, 0.7, num_keys)], axis=1)
    keys = np.concatenate([about_arm[:, None], tilt], axis=1)
    rotations = _interpolate(keys, frames).astype(np.float32)
    facing = tf.constant(np.diag([1.0, -1.0, -1.0]), tf.float32)
    zero = np.zeros(frames, np.float32)

    def rotation(axis, angle):
        vector = [zero, zero, zero]
        vector[axis] = angle
        return rigid.rotation_from_axis_angle(np.stack(vector, axis=1))

    camera_from_hand = (
        rotation(2, rotations[:, 2])
        @ rotation(0, rotations[:, 1])
        @ facing
        @ rotation(1, rotations[:, 0])
    )
    position = rng.normal(0, [60.0, 50.0, 55.0], (num_keys, 3)) + np.array([0.0, 0.0, 760.0])
    return Motion(
        _sample_angles(rng, frames),
        camera_from_hand.numpy(),
        _interpolate(position, frames).astype(np.float32),
    )


def _sample_angles(rng, frames):
    """Draws the actions of one person, joint angles float32 [frames, 23]."""
    habits = actions.draw_habits(rng)
    share = np.arange(1, _FRAMES_PER_KEY + 1)[:, None] / (_FRAMES_PER_KEY + 1)
    angles = [actions.draw_action(rng, habits, _FRAMES_PER_ACTION)]
    while sum(map(len, angles)) < frames:
        action = actions.draw_action(rng, habits, _FRAMES_PER_ACTION)
        angles += [angles[-1][-1] * (1 - share) + action[0] * share, action]
    return np.concatenate(angles)[:frames].astype(np.float32)


def _wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi
