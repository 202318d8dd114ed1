"""Depth frames without a hand: walls, tables, noise, boxes, balls, bare arms, persons.

Surfaces are cast on the rays of a camera of 320 x 240 pixels. Lengths are in mm.
"""

import numpy as np
import scipy.ndimage

__all__ = ["INTRINSICS", "SCENES", "draw", "paint_out"]

INTRINSICS = np.array([294.0, 294.0, 160.0, 120.0], np.float32)
_SIZE = (240, 320)
# What is nearer than this to the middle of a hand is painted out, and so much around it.
_HAND_MM, _MARGIN_MM = 160.0, 8.0
# How many of the axes are round.
_ROUND_AXES = {"ball": 3, "tube": 2, "box": 0}


def cast(kind, center_mm, axes_mm):
    """Casts a ball, tube or box: float64 [H, W], z, infinite beside it.

    Args:
        kind: A name of `_ROUND_AXES`.
        center_mm: [3].
        axes_mm: [3, 3], half axes as columns; the last is that of a tube.
    """
    rows, columns = np.indices(_SIZE)
    fx, fy, cx, cy = INTRINSICS
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(_SIZE)], axis=-1)
    inverse = np.linalg.inv(axes_mm)
    start, step = -inverse @ center_mm, rays @ inverse.T
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    first, last = np.ones(_SIZE), np.full(_SIZE, np.inf)
    count = _ROUND_AXES[kind]
    if count:
        # |start + z step| = 1 along the round axes.
        s, d = start[:count], step[..., :count]
        a, b, c = (d * d).sum(-1), (d * s).sum(-1), (s * s).sum() - 1.0
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        first = np.where(b * b > a * c, (-b - root) / a, np.inf)
        last = (-b + root) / a
    for axis in range(count, 3):
        ends = np.stack([(sign - start[axis]) / step[..., axis] for sign in (-1.0, 1.0)])
        first, last = np.maximum(first, ends.min(0)), np.minimum(last, ends.max(0))
    return np.where((first < last) & (first > 1.0), first, np.inf)


def _draw_object(rng, kind, least_mm, most_mm):
    z = rng.uniform(350.0, 800.0)
    center_mm = z * np.array([rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0.2), 1.0])
    rotation = np.linalg.qr(rng.normal(size=[3, 3]))[0]
    return cast(kind, center_mm, rotation * rng.uniform(least_mm, most_mm, 3))


def _draw_plane(rng, tilt, z):
    """Returns a wall, its normal up to so far from the axis."""
    normal = np.array([*rng.uniform(-tilt, tilt, 2), 1.0])
    axes = np.linalg.qr(np.stack([normal, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], axis=1))[0]
    return cast("box", [0.0, 0.0, z], axes[:, [1, 2, 0]] * [5000.0, 5000.0, 1.0])


def _draw_table(rng):
    slope = rng.uniform(0.1, 0.8)
    across = np.array([1.0, 0.0, 0.0])
    normal = np.array([0.0, -np.cos(slope), -np.sin(slope)])
    axes = np.stack([across, np.cross(normal, across), normal], axis=1)
    sides_mm = [*rng.uniform(300.0, 900.0, 2), 10.0]
    depth_mm = cast("box", [0.0, 0.0, rng.uniform(500.0, 1000.0)], axes * sides_mm)
    return np.minimum(depth_mm, _draw_object(rng, "box", 20.0, 80.0))


def _draw_arm(rng):
    """Returns a forearm without a hand, from the border of the picture into it."""
    z, radius_mm, length_mm = rng.uniform(400.0, 900.0), rng.uniform(25.0, 50.0), 500.0
    end_mm = z * np.array([*rng.uniform(-0.15, 0.15, 2), 1.0])
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.3, 0.6)])
    along /= np.linalg.norm(along)
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(along, across), along], axis=1)
    arm = cast("tube", end_mm + along * length_mm, axes * [radius_mm, 0.8 * radius_mm, length_mm])
    stump_mm = [radius_mm, 0.8 * radius_mm, radius_mm * rng.uniform(0.1, 1.0)]
    return np.minimum(arm, cast("ball", end_mm, axes * stump_mm))


def _draw_person(rng):
    z = rng.uniform(500.0, 1300.0)
    head_mm = z * np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.1), 1.0])
    parts = [
        ("ball", [0.0, 0.0, 0.0], np.diag([75.0, 110.0, 95.0])),
        ("tube", [0.0, 130.0, 20.0], 60.0 * np.eye(3)[:, [0, 2, 1]]),
        ("ball", [0.0, 420.0, 40.0], np.diag([220.0, 280.0, 120.0])),
    ]
    return np.min([cast(kind, head_mm + place, axes) for kind, place, axes in parts], axis=0)


def _draw_noise(rng):
    depth_mm = rng.uniform(300.0, 2000.0, _SIZE)
    return np.where(rng.random(_SIZE) < rng.uniform(0.01, 1.0), depth_mm, np.inf)


def _draw_blobs(rng):
    block = np.ones((16, 16))
    depth_mm = rng.uniform(400.0, 900.0) + np.kron(rng.uniform(-60.0, 60.0, (15, 20)), block)
    is_there = np.kron(rng.random((15, 20)), block) < rng.uniform(0.05, 0.5)
    return np.where(is_there, depth_mm, np.inf)


SCENES = {
    "wall": lambda rng: _draw_plane(rng, 0.7, rng.uniform(450.0, 1500.0)),
    "table": _draw_table,
    "noise": _draw_noise,
    "blobs": _draw_blobs,
    "box": lambda rng: _draw_object(rng, "box", 25.0, 150.0),
    "ball": lambda rng: _draw_object(rng, "ball", 30.0, 120.0),
    "tube": lambda rng: _draw_object(rng, "tube", 20.0, 120.0),
    "bare arm": _draw_arm,
    "person": _draw_person,
}


def draw(name, rng):
    """Draws a frame of a scene of `SCENES`, often before a wall: uint16 [H, W], 0: no reading."""
    depth_mm = SCENES[name](rng)
    if rng.random() < 0.6:
        depth_mm = np.minimum(depth_mm, _draw_plane(rng, 0.2, rng.uniform(900.0, 1900.0)))
    depth_mm = depth_mm + 2.0 * rng.standard_normal(_SIZE) * (np.minimum(depth_mm, 4e3) / 1e3) ** 2
    is_read = (depth_mm < 4000.0) & (rng.random(_SIZE) > 0.01)
    return np.where(is_read, np.round(depth_mm), 0.0).astype(np.uint16)


def paint_out(depth_mm, intrinsics, middle_mm):
    """Returns a frame [H, W] with the hand around `middle_mm` [3] replaced by what lies beside."""
    fx, fy, cx, cy = intrinsics
    rows, columns = np.indices(depth_mm.shape)
    points_mm = depth_mm[..., None] * np.stack(
        [(columns - cx) / fx, (rows - cy) / fy, np.ones(depth_mm.shape)], axis=-1
    )
    is_hand = (np.linalg.norm(points_mm - middle_mm, axis=-1) < _HAND_MM) & (depth_mm > 0)
    margin = max(2, round(float(fx * _MARGIN_MM / middle_mm[2])))
    is_hand = scipy.ndimage.binary_dilation(is_hand, iterations=margin)
    nearest = scipy.ndimage.distance_transform_edt(
        is_hand, return_distances=False, return_indices=True
    )
    return depth_mm[tuple(nearest)]
