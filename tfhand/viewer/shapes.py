"""Colors of a hand and of the cameras, and the shapes of bones and cameras."""

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
    "view_color",
]

# Of the color-blind safe palette of Okabe and Ito; cameras have them in this order.
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
    """Returns pairs of spheres: along each finger from the palm's center, and at the wrist."""
    pairs = [(int(a), skeleton.PALM_CENTER_SPHERE) for a in skeleton.WRIST_SPHERES]
    pairs.append(tuple(int(a) for a in skeleton.WRIST_SPHERES))
    for chain in skeleton.FINGER_SPHERES.values():
        chain = [skeleton.PALM_CENTER_SPHERE, *(int(a) for a in chain)]
        pairs += list(zip(chain[:-1], chain[1:], strict=True))
    return np.array(pairs, np.int32)


# uint8 [41, 3], RGB, one color a finger.
SPHERE_COLORS = _sphere_colors()
# int32 [K, 2], pairs of spheres that a line joins, K bones.
BONES = _bones()


def view_color(view):
    """Returns a camera's color, uint8 [3], RGB."""
    return VIEW_COLORS[view % len(VIEW_COLORS)]


def bones(points_mm, colors):
    """Returns the lines of the skeleton, without those that lack an end.

    Args:
        points_mm: float32 [41, 3], mm, NaN for unknown points.
        colors: uint8 [41, 3], RGB, of the points.

    Returns:
        (segments float32 [K, 2, 3], mm, colors uint8 [K, 2, 3]) of K bones, each in the color of
        its end nearer the tip.
    """
    segments = np.asarray(points_mm, np.float32)[BONES]
    has_ends = np.isfinite(segments).all(axis=(1, 2))
    return segments[has_ends], np.repeat(np.asarray(colors)[BONES[has_ends, 1], None], 2, axis=1)


def fingertips(points_mm):
    """Returns the place of each finger's tip by the finger's name, float32 [3]."""
    return {f: np.asarray(points_mm)[chain[-1]] for f, chain in skeleton.FINGER_SPHERES.items()}


def quaternion(rotation):
    """Returns (w, x, y, z) of a rotation matrix [3, 3]."""
    return np.roll(transform.Rotation.from_matrix(rotation).as_quat(), 1)


def field_of_view(intrinsics):
    """Returns vertical angle in rad and width / height, of a picture twice as large as its center.

    Args:
        intrinsics: float [4], (fx, fy, cx, cy) in px.
    """
    fx, fy, cx, cy = (max(float(value), 1.0) for value in intrinsics)
    return 2.0 * float(np.arctan(cy / fy)), (cx / fx) / (cy / fy)
