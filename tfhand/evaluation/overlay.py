"""A hand's skeleton drawn over the depth frame that shows it."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfhand.evaluation import figures
from tfhand.hand import skeleton

__all__ = ["draw_skeleton"]

_COLORS = {
    "INDEX": "tab:red", "MIDDLE": "tab:orange", "RING": "tab:olive", "PINKY": "tab:cyan",
    "THUMB": "tab:purple",
}  # fmt: skip
# Around the spheres, px of the frame.
_MARGIN_PX = 25
# Readings before and behind the hand that have a shade of their own, mm.
_DEPTH_RANGE_MM = 120.0


def draw_skeleton(depth_mm, spheres_px, spheres_mm, path=None):
    """Draws the fingers' bones over a frame, which is cut to the part around them.

    Args:
        depth_mm: float or uint16 [H, W], mm, 0 where there is no reading.
        spheres_px: float [41, 2], u right and v down.
        spheres_mm: float [41, 3], camera frame.
        path: A PNG to write, whole or not at all; None: none.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = depth_mm.shape
    low = np.floor(spheres_px.min(axis=0) - _MARGIN_PX).astype(int)
    high = np.ceil(spheres_px.max(axis=0) + _MARGIN_PX).astype(int)
    left, top = np.clip(low, 0, [width - 2, height - 2])
    right, bottom = np.clip(high, [left + 2, top + 2], [width, height])
    part = np.asarray(depth_mm[top:bottom, left:right], np.float32)
    middle = float(spheres_mm[:, 2].mean())
    figure = Figure(figsize=(4.0, 4.0 * (bottom - top) / (right - left)))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(
        np.ma.masked_where(~(part > 0.0), part),
        cmap="gray_r",
        vmin=middle - _DEPTH_RANGE_MM,
        vmax=middle + _DEPTH_RANGE_MM,
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
        interpolation="nearest",
    )
    for finger, chain in skeleton.FINGER_SPHERES.items():
        chain = [skeleton.PALM_CENTER_SPHERE, *chain]
        for a, b in zip(chain[:-1], chain[1:]):
            axes.plot(*spheres_px[[a, b]].T, color=_COLORS[finger], linewidth=2.0)
    axes.scatter(*spheres_px.T, s=6.0, color="white", zorder=3)
    axes.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
    axes.set_axis_off()
    if path is not None:
        figures.save(figure, path)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
