"""The scene of one instant, in one frame, without any call of the viewer's library.

Letters: V views, S pixels of a crop's side, N points. Everything is in the common frame
of the views (x right, y down, z away from the first camera), mm, unless a name says otherwise.
"""

import dataclasses

import numpy as np

from tfhand.geometry import camera, crop, rigid
from tfhand.hand import skeleton
from tfhand.losses import multi_view
from tfhand.viewer import shapes

__all__ = [
    "HandScene",
    "cloud_colors",
    "clouds_of_crops",
    "estimates_of_views",
    "focus_mm",
    "joints_in_crops",
    "labels_of_views",
    "mean_error_mm",
    "points_of_frame",
]

# How far the nearest and the farthest points are mixed with white and black.
_SHADE = 0.75


@dataclasses.dataclass(frozen=True)
class HandScene:
    """One instant seen by V cameras.

    Attributes:
        title: Name of the instant, for people.
        clouds_mm: V arrays float32 [N, 3], the surface before each camera; N differs.
        ref_from_view: float32 [V, 4, 4], camera frames to the common frame.
        intrinsics: float32 [V, 4], (fx, fy, cx, cy) in px.
        crops_mm: float32 [V, S, S], mm from each crop's center.
        center_mm: float32 [V, 3], crop centers, each in its own camera frame.
        cube_mm: Side of the crops' cube, mm.
        estimates_mm: Spheres by the name of the estimate, float32 [41, 3].
        labels_mm: float32 [41, 3], labeled joints at the index of their spheres, NaN for spheres
            without label; None: no labels.
    """

    title: str
    clouds_mm: list[np.ndarray]
    ref_from_view: np.ndarray
    intrinsics: np.ndarray
    crops_mm: np.ndarray
    center_mm: np.ndarray
    cube_mm: float
    estimates_mm: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels_mm: np.ndarray | None = None


def clouds_of_crops(crops_mm, center_mm, ref_from_view, cube_mm):
    """Turns the crops of a sample into points of the common frame.

    Args:
        crops_mm: float32 [V, S, S], mm from the crop's center.
        center_mm: float32 [V, 3], crop centers, camera frames.
        ref_from_view: float32 [V, 4, 4].
        cube_mm: Side of the crops' cube, mm.

    Returns:
        V arrays float32 [N, 3], one point for each pixel with a surface.
    """
    spec = crop.CropSpec(crops_mm.shape[-1], cube_mm)
    points_mm = crop.points_from_crop(crops_mm, spec)
    points_mm = rigid.apply(rigid.ref_from_crop(ref_from_view, center_mm), points_mm).numpy()
    mask = crop.foreground_mask(np.asarray(crops_mm), cube_mm).reshape(len(crops_mm), -1)
    return [points[rows] for points, rows in zip(points_mm, mask, strict=True)]


def points_of_frame(depth_mm, intrinsics, center_mm, reach_mm):
    """Unprojects the readings of a camera image near the hand.

    Args:
        depth_mm: float32 [H, W], mm along the camera's axis, 0 where there is no reading.
        intrinsics: float32 [4], (fx, fy, cx, cy) in px.
        center_mm: float32 [3], camera frame.
        reach_mm: Points whose x, y or z is farther than that from the center are left out.

    Returns:
        float32 [N, 3], camera frame.
    """
    points_mm = camera.depth_to_points(depth_mm[None], np.asarray(intrinsics)[None])
    points_mm = points_mm.numpy().reshape(-1, 3)
    near = (np.abs(points_mm - center_mm) <= reach_mm).all(axis=-1)
    return points_mm[near & (depth_mm.reshape(-1) > 0.0)]


def cloud_colors(hand_scene, view):
    """Colors the points of a camera: its color, lighter near it and darker far from it.

    Args:
        hand_scene: A `HandScene` with N points of this view.
        view: Index of the camera.

    Returns:
        uint8 [N, 3], RGB.
    """
    view_from_ref = rigid.inverse(hand_scene.ref_from_view[view])
    depth_mm = rigid.apply(view_from_ref, hand_scene.clouds_mm[view]).numpy()[:, 2]
    depth_mm = depth_mm - hand_scene.center_mm[view, 2]
    # 1 at the near face of the crop's cube, -1 at the far one.
    nearness = np.clip(-2.0 * depth_mm / hand_scene.cube_mm, -1.0, 1.0)[:, None]
    color = shapes.view_color(view).astype(np.float32)
    lighter = color + _SHADE * nearness * (255.0 - color)
    return np.where(nearness > 0, lighter, color * (1.0 + _SHADE * nearness)).astype(np.uint8)


def estimates_of_views(spheres_mm, center_mm, ref_from_view):
    """Moves each view's estimate to the common frame and adds their median (equation 12).

    Args:
        spheres_mm: float32 [V, 41, 3], crop frames.
        center_mm: float32 [V, 3], crop centers, camera frames.
        ref_from_view: float32 [V, 4, 4].

    Returns:
        Dict of float32 [41, 3]: "median of the cameras" where there are several, then
        "camera 1" and so on.
    """
    moved = rigid.apply(rigid.ref_from_crop(ref_from_view, center_mm), spheres_mm)
    named = {f"camera {view + 1}": spheres for view, spheres in enumerate(moved.numpy())}
    if len(named) == 1:
        return named
    return {"median of the cameras": multi_view.median_over_views(moved[None])[0].numpy(), **named}


def labels_of_views(joints_mm, joint_mask, ref_from_view):
    """Merges the labels of all views, as 41 points.

    Args:
        joints_mm: float32 [V, 36, 3], camera frames.
        joint_mask: bool or {0, 1} [V, 36], true where there is a label.
        ref_from_view: float32 [V, 4, 4].

    Returns:
        float32 [41, 3], the mean over the views with a label, at the index of the joint's sphere,
        NaN for the others; None without any label.
    """
    is_labeled = np.asarray(joint_mask) > 0
    if not is_labeled.any():
        return None
    moved = rigid.apply(ref_from_view, np.where(is_labeled[..., None], joints_mm, 0.0)).numpy()
    count = is_labeled.sum(axis=0)
    total = np.where(is_labeled[..., None], moved, 0.0).sum(axis=0)
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
    labels_mm = np.full((len(skeleton.SPHERE_NAMES), 3), np.nan, np.float32)
    labels_mm[skeleton.SPHERE_FROM_JOINT] = mean
    return labels_mm


def mean_error_mm(spheres_mm, labels_mm):
    """Returns the mean error of the labeled ones of the 14 evaluation joints, mm, NaN: none.

    Args:
        spheres_mm: float32 [41, 3].
        labels_mm: float32 [41, 3], NaN for spheres without label.
    """
    distance = np.linalg.norm(spheres_mm - labels_mm, axis=-1)[skeleton.EVALUATION_SPHERES]
    distance = distance[np.isfinite(distance)]
    return float(distance.mean()) if len(distance) else float("nan")


def joints_in_crops(points_mm, ref_from_view, center_mm, cube_mm):
    """Projects points into the crops' pictures.

    Args:
        points_mm: float32 [41, 3], NaN for unknown points.
        ref_from_view: float32 [V, 4, 4].
        center_mm: float32 [V, 3], crop centers, camera frames.
        cube_mm: Side of the crops' cube, mm.

    Returns:
        float32 [V, 41, 2], x to the right and y down as shares of the picture: 0 and 1 are its
        borders.
    """
    crop_from_ref = rigid.inverse(rigid.ref_from_crop(ref_from_view, center_mm))
    points_mm = np.broadcast_to(points_mm, (len(center_mm), *np.shape(points_mm)))
    return rigid.apply(crop_from_ref, points_mm).numpy()[..., :2] / cube_mm + 0.5


def focus_mm(scene):
    """Returns the middle of the hand, float32 [3]: of the estimate, the labels, or the points."""
    if scene.estimates_mm:
        return next(iter(scene.estimates_mm.values())).mean(axis=0)
    if scene.labels_mm is not None:
        return np.nanmean(scene.labels_mm, axis=0)
    origins = np.asarray(scene.center_mm, np.float32)[:, None]
    return rigid.apply(scene.ref_from_view, origins).numpy()[:, 0].mean(axis=0)
