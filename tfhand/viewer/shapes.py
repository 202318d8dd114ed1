"""Colors and shapes that a hand is drawn with: bones, balls, cameras.

Letters: K bones.
"""

import numpy as np
from scipy.spatial import transform

from tfhand.hand import skeleton

__all__ = [
    "BONES",
    "SPHERE_COLORS",
    "VIEW_COLORS",
    "bones",
    "field_of_view",
    "fingertips",
    "quaternion",
    "unit_sphere",
    "view_color",
]

# Of the color-blind safe palette of Okabe and Ito; every camera has one, in turn.
VIEW_COLORS = np.array(
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0)],
    np.uint8,
)
_PALM_COLOR = (196, 176, 160)
_FINGER_COLORS = {
    "INDEX": (228, 92, 80),
    "MIDDLE": (240, 150, 60),
    "RING": (200, 180, 50),
    "PINKY": (90, 170, 90),
    "THUMB": (150, 110, 200),
}


def _sphere_colors():
    colors = np.tile(np.array(_PALM_COLOR, np.uint8), (len(skeleton.SPHERE_NAMES), 1))
    for finger, spheres in skeleton.FINGER_SPHERES.items():
        colors[spheres] = _FINGER_COLORS[finger]
    return colors


def _bones():
    """Pairs of spheres: along each finger, from the palm's center to its root, and the wrist."""
    pairs = [(int(a), skeleton.PALM_CENTER_SPHERE) for a in skeleton.WRIST_SPHERES]
    pairs.append(tuple(int(a) for a in skeleton.WRIST_SPHERES))
    for chain in skeleton.FINGER_SPHERES.values():
        chain = [skeleton.PALM_CENTER_SPHERE, *(int(a) for a in chain)]
        pairs += list(zip(chain[:-1], chain[1:], strict=True))
    return np.array(pairs, np.int32)


# uint8 [41, 3], RGB, one color a finger.
SPHERE_COLORS = _sphere_colors()
# int32 [K, 2], pairs of spheres that a line joins.
BONES = _bones()


def view_color(view):
    """Returns a camera's color, uint8 [3], RGB."""
    return VIEW_COLORS[view % len(VIEW_COLORS)]


def bones(points_mm, colors):
    """Returns the lines of the skeleton, without those that lack an end.

    Args:
        points_mm: float32 [41, 3], NaN where a point is not known.
        colors: uint8 [41, 3], RGB, of the points.

    Returns:
        (segments float32 [K, 2, 3], colors uint8 [K, 2, 3]); a line has the color of its end
        nearer the tip.
    """
    segments = np.asarray(points_mm, np.float32)[BONES]
    known = np.isfinite(segments).all(axis=(1, 2))
    return segments[known], np.repeat(np.asarray(colors)[BONES[known, 1], None], 2, axis=1)


def fingertips(points_mm):
    """Returns the place of each finger's tip by the finger's name, float32 [3]."""
    return {f: np.asarray(points_mm)[chain[-1]] for f, chain in skeleton.FINGER_SPHERES.items()}


def quaternion(rotation):
    """Returns (w, x, y, z) of a rotation matrix [3, 3]."""
    return np.roll(transform.Rotation.from_matrix(rotation).as_quat(), 1)


def field_of_view(intrinsics):
    """Guesses the picture's size from its center: (vertical angle in rad, width / height).

    Args:
        intrinsics: float [4], (fx, fy, cx, cy) in px.
    """
    fx, fy, cx, cy = (max(float(value), 1.0) for value in intrinsics)
    return 2.0 * float(np.arctan(cy / fy)), (cx / fx) / (cy / fy)


def unit_sphere(rows=10, columns=18):
    """Returns a ball of radius 1 as (vertices float32 [n, 3], faces int32 [f, 3]).

    Args:
        rows: Bands from pole to pole.
        columns: Vertices around.
    """
    polar = np.pi * np.arange(1, rows) / rows
    around = 2.0 * np.pi * np.arange(columns) / columns
    ring = np.stack([np.cos(around), np.sin(around), np.zeros(columns)], axis=-1)
    bands = np.sin(polar)[:, None, None] * ring
    bands[..., 2] = np.cos(polar)[:, None]
    vertices = np.concatenate([[[0.0, 0.0, 1.0]], bands.reshape(-1, 3), [[0.0, 0.0, -1.0]]])
    last = len(vertices) - 1
    here = np.arange(columns)
    there = np.roll(here, -1)
    faces = [np.stack([np.zeros_like(here), 1 + here, 1 + there], axis=-1)]
    for row in range(rows - 2):
        upper, lower = 1 + row * columns, 1 + (row + 1) * columns
        faces.append(np.stack([upper + here, lower + here, lower + there], axis=-1))
        faces.append(np.stack([upper + here, lower + there, upper + there], axis=-1))
    bottom = 1 + (rows - 2) * columns
    faces.append(np.stack([np.full_like(here, last), bottom + there, bottom + here], axis=-1))
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int32)
