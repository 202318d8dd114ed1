"""Sheets of pictures: input, rendered spheres and overlay; one estimate seen by all cameras.

Depth maps are crops in mm relative to the crop's center, background at half the cube; joints are
in the crop frame. Every function writes one PNG, whole or not at all.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfhand.evaluation import figures, pictures
from tfhand.hand import skeleton

__all__ = ["Rows", "draw_picture_sheet", "draw_view_sheet"]

_CELL_INCHES = 1.5
# Room for row titles on the left and for titles at the top.
_MARGIN_INCHES = 0.6
_ESTIMATE_COLOR = "#d62728"
_TRUTH_COLOR = "black"


@dataclasses.dataclass(frozen=True)
class Rows:
    """Samples of a sheet, one a row.

    Attributes:
        depth_mm: float [n, V, S, S], input, mm relative to each crop's center.
        rendered_mm: float [n, V, S, S], rendered spheres, likewise.
        cube_mm: Side of the crop's cube, mm.
        titles: One a sample, or none.

    Raises:
        ValueError: If the depth maps differ in shape, or there is none.
    """

    depth_mm: np.ndarray
    rendered_mm: np.ndarray
    cube_mm: float = 300.0
    titles: Sequence[str] = ()

    def __post_init__(self):
        shape = np.shape(self.depth_mm)
        if len(shape) != 4 or shape != np.shape(self.rendered_mm) or not shape[0]:
            raise ValueError(
                "Expected input and rendered depth maps of one shape [samples, views, S, S], at "
                f"least one sample, received {shape} and {np.shape(self.rendered_mm)}."
            )


def draw_picture_sheet(
    rows: Rows,
    path: str | os.PathLike,
    *,
    title: str = "",
    joints_mm: np.ndarray | None = None,
    truth_mm: np.ndarray | None = None,
) -> None:
    """Draws input, rendered spheres and overlay of every view.

    Args:
        rows: Samples, rendered from each view's own estimate.
        path: The PNG to write.
        title: Shown above the sheet.
        joints_mm: float [n, V, J, 3], estimated joints in the crops, mm, drawn in red. With the
            36 joints of NYU the fingers are drawn as lines.
        truth_mm: float [n, V, J, 3], labels likewise, drawn in black; NaN where there is none.
    """
    views = range(np.shape(rows.depth_mm)[1])
    names = {
        v: [f"view {v + 1}: {name}" for name in ("input", "spheres", "overlay")] for v in views
    }
    figure, axes = _draw_rows(rows, names, title)
    for points_mm, color in ((truth_mm, _TRUTH_COLOR), (joints_mm, _ESTIMATE_COLOR)):
        if points_mm is not None:
            for n, v in np.ndindex(*np.shape(points_mm)[:2]):
                _draw_joints(axes[n, 3 * v], np.asarray(points_mm)[n, v], color)
    figures.save(figure, path)


def draw_view_sheet(
    rows: Rows, path: str | os.PathLike, *, title: str = "", source_view: int = 0
) -> None:
    """Draws one view's estimate rendered from all cameras beside the depth maps of those cameras.

    As Figure 3 of the paper: the estimate of one camera alone, judged by the others.

    Args:
        rows: Samples, rendered in all views from the estimate of `source_view`.
        path: The PNG to write.
        title: Shown above the sheet.
        source_view: The view that the estimate comes from.

    Raises:
        ValueError: If there is no such view.
    """
    num_views = np.shape(rows.depth_mm)[1]
    if not 0 <= source_view < num_views:
        raise ValueError(f"Expected a source view below {num_views}, received {source_view}.")
    names = {}
    for v in [source_view] + [v for v in range(num_views) if v != source_view]:
        depth_name = "input" if v == source_view else "seen"
        names[v] = [f"camera {v + 1}: {name}" for name in (depth_name, "estimate", "overlay")]
    figure, _ = _draw_rows(rows, names, title)
    figures.save(figure, path)


def _draw_rows(rows, names, title):
    """Draws three pictures of each view, in the order of `names`: three titles by view.

    Returns:
        The figure and its axes [n, 3 * V].
    """
    num_samples = len(rows.depth_mm)
    figure, axes = _grid(num_samples, 3 * len(names), title)
    for k, v in enumerate(names):
        for n in range(num_samples):
            depth_mm, rendered_mm = rows.depth_mm[n, v], rows.rendered_mm[n, v]
            for cell, picture in zip(
                axes[n, 3 * k : 3 * k + 3],
                (
                    pictures.colorize(depth_mm, rows.cube_mm),
                    pictures.colorize(rendered_mm, rows.cube_mm),
                    pictures.overlay(depth_mm, rendered_mm, rows.cube_mm),
                ),
            ):
                _show(cell, picture, rows.cube_mm)
        for column, name in enumerate(names[v]):
            axes[0, 3 * k + column].set_title(name, fontsize=7)
    for row, text in zip(axes, rows.titles):
        row[0].set_ylabel(text, fontsize=7)
    return figure, axes


def _draw_joints(axes, joints_mm, color):
    axes.plot(joints_mm[:, 0], joints_mm[:, 1], ".", color=color, markersize=1.5)
    if len(joints_mm) != len(skeleton.JOINT_NAMES):
        return
    for finger in skeleton.NYU_FINGER_NAMES.values():
        chain = [i for i, name in enumerate(skeleton.JOINT_NAMES) if name.startswith(finger)]
        axes.plot(joints_mm[chain, 0], joints_mm[chain, 1], "-", color=color, linewidth=0.7)


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
    margins = {"left": left, "right": 0.995, "bottom": 0.01, "top": top}
    spaces = {"wspace": 0.03, "hspace": 0.03}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**margins, **spaces})
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    return figure, axes
