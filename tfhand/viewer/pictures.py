"""Depth crops as pictures for the side panel, with the skeleton drawn over them."""

import math

import numpy as np
from PIL import Image, ImageDraw

from tfhand.evaluation import pictures
from tfhand.viewer import scene, shapes

__all__ = ["LABEL_COLOR", "draw_crop", "draw_scene", "side_by_side"]

LABEL_COLOR = (40, 40, 40)
_SIDE_PX = 320
_GAP_PX = 6


def draw_crop(depth_mm, cube_mm, skeletons=(), caption="", color=(0, 0, 0)):
    """Draws a depth crop, near is yellow and far is blue, with skeletons over it.

    Args:
        depth_mm: float32 [S, S], mm from the crop's center.
        cube_mm: Side of the crop's cube, mm.
        skeletons: Pairs of (float32 [41, 2] in shares of the picture, NaN for unknown points; uint8
            [41, 3] or [3] color of the points).
        caption: Text in the upper left corner.
        color: Of the caption and of the frame around the picture.

    Returns:
        uint8 [320, 320, 3], RGB.
    """
    picture = Image.fromarray(pictures.colorize(depth_mm, cube_mm))
    picture = picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    for points, colors in skeletons:
        _draw_skeleton(draw, np.asarray(points) * _SIDE_PX, colors)
    color = tuple(int(value) for value in color)
    draw.rectangle((0, 0, _SIDE_PX - 1, _SIDE_PX - 1), outline=color, width=3)
    draw.text((9, 6), caption, fill=color, font_size=20)
    return np.asarray(picture)


def _draw_skeleton(draw, points_px, colors):
    colors = np.broadcast_to(colors, (len(points_px), 3)).tolist()
    for first, second in shapes.BONES:
        ends = points_px[[first, second]]
        if np.isfinite(ends).all():
            draw.line(ends.ravel().tolist(), fill=tuple(colors[second]), width=3)
    for (x, y), color in zip(points_px.tolist(), colors, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tuple(color), outline=(0, 0, 0))


def draw_scene(hand_scene, spheres_mm=None, show_labels=True):
    """Draws the crops of all views of a scene.

    Args:
        hand_scene: A `scene.HandScene`.
        spheres_mm: float32 [41, 3], the estimate to draw, common frame; None: none.
        show_labels: True to draw the labels, where there are some.

    Returns:
        uint8 [height, width, 3], RGB, the views in a grid.
    """
    crops = (hand_scene.ref_from_view, hand_scene.center_mm, hand_scene.cube_mm)
    layers = []
    if show_labels and hand_scene.labels_mm is not None:
        layers.append((scene.joints_in_crops(hand_scene.labels_mm, *crops), LABEL_COLOR))
    if spheres_mm is not None:
        layers.append((scene.joints_in_crops(spheres_mm, *crops), shapes.SPHERE_COLORS))
    return side_by_side(
        [
            draw_crop(
                depth_mm,
                hand_scene.cube_mm,
                [(points[view], color) for points, color in layers],
                f"camera {view + 1}",
                shapes.view_color(view),
            )
            for view, depth_mm in enumerate(hand_scene.crops_mm)
        ]
    )


def side_by_side(crops):
    """Returns pictures of one size in a grid on white, row by row, as square as can be.

    Args:
        crops: uint8 [n, h, w, 3], at least one.
    """
    columns = math.ceil(math.sqrt(len(crops)))
    rows = math.ceil(len(crops) / columns)
    blank = np.full_like(crops[0], pictures.BACKGROUND_RGB)
    cells = np.stack([*crops, *[blank] * (rows * columns - len(crops))])
    return pictures.tile(cells.reshape(rows, columns, *blank.shape), _GAP_PX)
