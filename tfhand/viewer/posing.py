"""Hand of the viewer's sliders: spheres, skin and depth map, in the crop frame.

The crop frame has the axes of a camera (x right, y down, z away) and its origin at the middle of
the hand, so that turning the viewpoint turns the hand before that camera.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tfhand.geometry import crop, rigid
from tfhand.hand import pose_sampling, spheres, surface, template
from tfhand.synthesis import depth, samples

__all__ = [
    "PosedHand",
    "PoseState",
    "angle_groups",
    "camera_from_hand",
    "coarse_skin",
    "describe",
    "log_factor",
    "pose_hand",
    "random_angles_rad",
    "random_shape",
    "shape_range_percent",
]

# Shape sliders end at this many standard deviations between adults.
_SHAPE_RANGE = 3.0


@dataclasses.dataclass(frozen=True)
class PoseState:
    """Values of the sliders.

    Attributes:
        angles_rad: float32 [23], in the order of `template.ANGLE_NAMES`.
        shape: float32 [P], log factors in the order of `template.SHAPE_NAMES`.
        view_deg: (azimuth, elevation, turn) of the camera, see `camera_from_hand`.
    """

    angles_rad: np.ndarray
    shape: np.ndarray
    view_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def rest(cls):
        """Returns the hand at rest, seen from the palm with the fingers up."""
        return cls(
            np.zeros(len(template.ANGLE_NAMES), np.float32),
            np.zeros(len(template.SHAPE_NAMES), np.float32),
        )


@dataclasses.dataclass(frozen=True)
class PosedHand:
    """A hand before a camera, in the crop frame, mm.

    Attributes:
        spheres_mm: float32 [41, 3].
        radii_mm: float32 [41].
        skin_mm: float32 [M, 3], the points of `coarse_skin`.
        depth_mm: float32 [S, S], crop depth.
    """

    spheres_mm: np.ndarray
    radii_mm: np.ndarray
    skin_mm: np.ndarray
    depth_mm: np.ndarray


def angle_groups():
    """Returns the names of the joint angles by the part they move, in the template's order."""
    groups = {}
    for name in template.ANGLE_NAMES:
        groups.setdefault(name.split("_")[0], []).append(name)
    return groups


def shape_range_percent(name):
    """Returns the range of a shape parameter as percent of change (low, high)."""
    reach = _SHAPE_RANGE * float(template.SHAPE_STDDEV[template.shape_index(name)])
    return tuple(100.0 * float(np.expm1(value)) for value in (-reach, reach))


def log_factor(percent):
    """Returns the shape parameter of a change by so many percent."""
    return float(np.log1p(percent / 100.0))


def random_angles_rad(seed):
    """Draws a pose as training does, float32 [23]."""
    rng = tf.random.Generator.from_seed(seed)
    return pose_sampling.sample_angles(rng, 1)[0].numpy()


def random_shape(seed):
    """Draws a hand shape as training does, float32 [P], log factors."""
    rng = tf.random.Generator.from_seed(seed)
    return pose_sampling.sample_shape(rng, 1)[0].numpy()


def camera_from_hand(azimuth_deg, elevation_deg, roll_deg):
    """Returns the rotation from the hand frame to the camera's axes.

    Args:
        azimuth_deg: Angle of the camera around the forearm's axis: 0 looks at the palm, 90 at the
            thumb's side, 180 at the back.
        elevation_deg: Angle above the palm's cross-section, to the finger tips, in (-90, 90).
        roll_deg: Rotation in the picture, clockwise.

    Returns:
        float32 [3, 3].
    """
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    flat = np.cos(elevation)
    # From the camera to the hand; then down in the picture as near to the wrist as can be.
    z_axis = -np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])
    x_axis = np.cross([0.0, -1.0, 0.0], z_axis)
    x_axis /= np.linalg.norm(x_axis)
    upright = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis]).astype(np.float32)
    turn = rigid.rotation_from_axis_angle(
        np.array([0.0, 0.0, np.radians(roll_deg)], np.float32)
    ).numpy()
    return turn @ upright


@functools.lru_cache(maxsize=2)
def coarse_skin(cell_mm=3.5):
    """Returns the skin with one vertex for each occupied cell of a grid, a `surface.Skin`.

    The whole mesh is too large to be sent for every move of a slider. Faces within a cell vanish,
    faces are wound so that their normals point outward, and the arm ends after `samples.ARM_MM`.

    Args:
        cell_mm: Edge of a cell.
    """
    mesh = surface.load_mesh()
    cell = np.floor(mesh.points_mm / cell_mm).astype(np.int64)
    _, first, member = np.unique(cell, axis=0, return_index=True, return_inverse=True)
    faces = member.reshape(-1)[mesh.faces]
    is_face = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])
    faces = faces[is_face & (faces[:, 2] != faces[:, 0])]
    points_mm = mesh.points_mm[first]
    faces = faces[points_mm[faces][..., 1].min(axis=1) > -samples.ARM_MM]
    corners, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int32)
    points_mm, normals = points_mm[corners], mesh.normals[first][corners]
    a, b, c = points_mm[faces].transpose(1, 0, 2)
    # A closed mesh is wound one way or the other throughout.
    if np.einsum("fd,fd->", np.cross(b - a, c - a), normals[faces[:, 0]]) < 0:
        faces = faces[:, ::-1].copy()
    return surface.Skin(points_mm, normals, mesh.blend_weights[first][corners], faces)


@functools.lru_cache(maxsize=1)
def _features():
    """Returns `surface.skinning_features` of the shown skin and of the points for the depth."""
    skins = (
        coarse_skin(),
        surface.sample_skin(samples.SyntheticConfig().points, arm_mm=samples.ARM_MM),
    )
    return tuple(tf.constant(surface.skinning_features(skin)) for skin in skins)


def pose_hand(state, spec):
    """Poses the hand and renders its depth map.

    Args:
        state: A `PoseState`.
        spec: `crop.CropSpec` of the depth map.

    Returns:
        A `PosedHand`, with the mean of the spheres at the origin.
    """
    angles = tf.constant(state.angles_rad, tf.float32)[None]
    shape = tf.constant(state.shape, tf.float32)[None]
    rotation = tf.constant(camera_from_hand(*state.view_deg))[None]
    centers_mm, radii_mm = spheres.pose_spheres(angles, shape)
    centers_mm = tf.matmul(centers_mm, rotation, transpose_b=True)
    middle_mm = tf.reduce_mean(centers_mm, axis=1)
    skin_mm, cloud_mm = (
        surface.pose_points(features, angles, shape, rotation) - middle_mm[..., None]
        for features in _features()
    )
    depth_mm = depth.fill_pinholes(depth.splat_orthographic(cloud_mm, spec))
    return PosedHand(
        (centers_mm - middle_mm[:, None])[0].numpy(),
        radii_mm[0].numpy(),
        skin_mm[0].numpy().T.copy(),
        depth_mm[0].numpy(),
    )


def describe(hand, spec):
    """Describes the depth map in a line of text.

    Args:
        hand: A `PosedHand`.
        spec: `crop.CropSpec` of its depth map.
    """
    mask = crop.foreground_mask(hand.depth_mm, spec.cube_mm)
    surface_mm = hand.depth_mm[mask]
    if not surface_mm.size:
        return "No surface in the crop."
    return (
        f"{mask.sum()} of {mask.size} pixels show a surface, {surface_mm.min():.0f} to "
        f"{surface_mm.max():.0f} mm from the middle of the hand."
    )
