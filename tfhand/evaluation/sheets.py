"""Sheets of pictures: input, rendered spheres and overlay; one estimate seen by all cameras.

Depth maps are crops in mm relative to the crop's center, background at half the cube; joints are
in the crop frame. Every function writes one PNG, whole or not at all.
"""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfhand.evaluation import figures, pictures
from tfhand.hand import skeleton

__all__ = ["draw_picture_sheet", "draw_view_sheet"]

_CELL_INCHES = 1.5
# Room for row titles on the left and for titles at the top.
_MARGIN_INCHES = 0.6
_ESTIMATE_COLOR = "#d62728"
_TRUTH_COLOR = "black"


def draw_picture_sheet(
    depth_mm: np.ndarray,
    rendered_mm: np.ndarray,
    path: str | os.PathLike,
    *,
    joints_mm: np.ndarray | None = None,
    truth_mm: np.ndarray | None = None,
    row_titles: Sequence[str] = (),
    cube_mm: float = 300.0,
    title: str = "",
) -> None:
    """StatelessRng input, rendered spheres and overlay of every view, one row a sample.

    Args:
        depth_mm: float [n, V, S, S], input, mm relative to each crop's center.
        rendered_mm: float [n, V, S, S], each view's own estimate, rendered.
        path: The PNG to write.
        joints_mm: float [n, V, J, 3], estimated joints in the crops, mm, drawn in red. With the
            36 joints of NYU the fingers are drawn as lines.
        truth_mm: float [n, V, J, 3], labels likewise, drawn in black; NaN where there is none.
        row_titles: One a sample, or none.
        cube_mm: Side of the crop's cube, mm.
        title: Shown above the sheet.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    _check_maps(depth_mm, rendered_mm)
    num_samples, num_views = np.shape(depth_mm)[:2]
    figure, axes = _grid(num_samples, 3 * num_views, title)
    for n in range(num_samples):
        for v in range(num_views):
            cell = axes[n, 3 * v : 3 * v + 3]
            _show_triple(cell, depth_mm[n, v], rendered_mm[n, v], cube_mm)
            for points_mm, color in ((truth_mm, _TRUTH_COLOR), (joints_mm, _ESTIMATE_COLOR)):
                if points_mm is not None:
                    _draw_joints(cell[0], np.asarray(points_mm)[n, v], color)
    for v in range(num_views):
        for column, name in enumerate(("input", "spheres", "overlay")):
            axes[0, 3 * v + column].set_title(f"view {v + 1}: {name}", fontsize=7)
    _label_rows(axes, row_titles)
    figures.save(figure, path)


def draw_view_sheet(
    depth_mm: np.ndarray,
    rendered_mm: np.ndarray,
    path: str | os.PathLike,
    *,
    source_view: int = 0,
    row_titles: Sequence[str] = (),
    cube_mm: float = 300.0,
    title: str = "",
) -> None:
    """StatelessRng one view's estimate rendered from all cameras beside what those cameras saw.

    As Figure 3 of the paper: what one camera alone leads to, judged by the others.

    Args:
        depth_mm: float [n, V, S, S], what each camera saw, mm relative to its crop's center.
        rendered_mm: float [n, V, S, S], the estimate of view `source_view`, rendered in view V.
        path: The PNG to write.
        source_view: The view that the estimate comes from.
        row_titles: One a sample, or none.
        cube_mm: Side of the crop's cube, mm.
        title: Shown above the sheet.

    Raises:
        ValueError: If the shapes do not belong together or there is no such view.
    """
    _check_maps(depth_mm, rendered_mm)
    num_samples, num_views = np.shape(depth_mm)[:2]
    if not 0 <= source_view < num_views:
        raise ValueError(f"Expected a source view below {num_views}, received {source_view}.")
    views = [source_view] + [v for v in range(num_views) if v != source_view]
    figure, axes = _grid(num_samples, 3 * num_views, title)
    for n in range(num_samples):
        for k, v in enumerate(views):
            _show_triple(axes[n, 3 * k : 3 * k + 3], depth_mm[n, v], rendered_mm[n, v], cube_mm)
    for k, v in enumerate(views):
        names = ("input", "estimate", "overlay") if k == 0 else ("seen", "estimate", "overlay")
        for column, name in enumerate(names):
            axes[0, 3 * k + column].set_title(f"camera {v + 1}: {name}", fontsize=7)
    _label_rows(axes, row_titles)
    figures.save(figure, path)


def _draw_joints(axes, joints_mm, color):
    axes.plot(joints_mm[:, 0], joints_mm[:, 1], ".", color=color, markersize=1.5)
    if len(joints_mm) != len(skeleton.JOINT_NAMES):
        return
    for finger in skeleton.NYU_FINGER_NAMES.values():
        chain = [i for i, name in enumerate(skeleton.JOINT_NAMES) if name.startswith(finger)]
        axes.plot(joints_mm[chain, 0], joints_mm[chain, 1], "-", color=color, linewidth=0.7)


def _show_triple(cells, depth_mm, rendered_mm, cube_mm):
    """Shows input, rendering and overlay in three axes."""
    _show(cells[0], pictures.colorize(depth_mm, cube_mm), cube_mm)
    _show(cells[1], pictures.colorize(rendered_mm, cube_mm), cube_mm)
    _show(cells[2], pictures.overlay(depth_mm, rendered_mm, cube_mm), cube_mm)


def _show(axes, picture, cube_mm):
    # In mm, so that joints need no pixel arithmetic; y points down as in the camera frame.
    half_mm = cube_mm / 2
    axes.imshow(picture, extent=(-half_mm, half_mm, half_mm, -half_mm), interpolation="nearest")
    axes.set(xlim=(-half_mm, half_mm), ylim=(half_mm, -half_mm))


def _grid(rows, columns, title):
    """Returns a figure and its [rows, columns] axes without ticks."""
    width, height = _CELL_INCHES * columns, _CELL_INCHES * rows
    # Laid out by hand: matplotlib's layout engines take seconds for this many axes.
    left, top = _MARGIN_INCHES / (width + _MARGIN_INCHES), height / (height + _MARGIN_INCHES)
    figure = Figure(figsize=(width + _MARGIN_INCHES, height + _MARGIN_INCHES))
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": left,
            "right": 0.995,
            "bottom": 0.01,
            "top": top,
            "wspace": 0.03,
            "hspace": 0.03,
        },
    )
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    return figure, axes


def _label_rows(axes, row_titles):
    for row, text in zip(axes, row_titles):
        row[0].set_ylabel(text, fontsize=7)


def _check_maps(depth_mm, rendered_mm):
    if np.ndim(depth_mm) != 4 or np.shape(depth_mm) != np.shape(rendered_mm):
        raise ValueError(
            "Expected input and rendered depth maps of one shape [samples, views, S, S], received "
            f"{np.shape(depth_mm)} and {np.shape(rendered_mm)}."
        )
    if not np.shape(depth_mm)[0]:
        raise ValueError("Expected at least one sample to draw, received none.")
