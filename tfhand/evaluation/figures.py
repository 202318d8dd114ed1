"""The field's figures: success curves of several methods, and per-joint bars.

Drawing uses matplotlib's object interface with the Agg canvas, so no window system is needed and
no global state is touched. Every function writes one PNG, whole or not at all.
"""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfhand import files
from tfhand.evaluation.metrics import MAX_THRESHOLD_MM, Scores

__all__ = ["draw_per_joint_bars", "draw_success_curves", "save"]

_DPI = 120


def draw_success_curves(
    scores: Mapping[str, Scores],
    path: str | os.PathLike,
    title: str = "",
    styles: Mapping[str, Mapping] | None = None,
) -> None:
    """Draws the share of frames whose worst joint is within 0 to 80 mm, one curve a method.

    Args:
        scores: Scores by the name to show.
        path: The PNG to write.
        title: Shown above the plot.
        styles: By name, how matplotlib draws a curve (`color`, `linestyle`); none: its own way.
    """
    _check_not_empty(scores)
    # A line of the legend, below the plot, for every curve.
    figure = Figure(figsize=(6.0, 4.0 + 0.22 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    styles = styles or {}
    for name, score in scores.items():
        label = f"{name} ({score.mean_joint_error_mm:.2f} mm, AUC {score.auc:.3f})"
        thresholds_mm = sorted(score.success_rate)
        shares = [100 * score.success_rate[t] for t in thresholds_mm]
        axes.plot(thresholds_mm, shares, label=label, **styles.get(name, {}))
    axes.set(
        xlim=(0, MAX_THRESHOLD_MM),
        ylim=(0, 100),
        xlabel="threshold on the worst joint (mm)",
        ylabel="frames within the threshold (%)",
        title=title,
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize="small")
    save(figure, path)


def draw_per_joint_bars(
    scores: Mapping[str, Scores], path: str | os.PathLike, title: str = ""
) -> None:
    """Draws the mean error of every joint and of all joints, one bar a method.

    Args:
        scores: Scores by the name to show; all with the joints of the first.
        path: The PNG to write.
        title: Shown above the plot.
    """
    _check_not_empty(scores)
    joints = list(next(iter(scores.values())).per_joint_error_mm)
    figure = Figure(figsize=(10.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    # A missing slot separates the joints from their mean.
    positions = np.append(np.arange(len(joints)), len(joints) + 0.5)
    width = 0.8 / len(scores)
    for i, (name, score) in enumerate(scores.items()):
        heights = [score.per_joint_error_mm[joint] for joint in joints]
        offset = (i - (len(scores) - 1) / 2) * width
        axes.bar(positions + offset, [*heights, score.mean_joint_error_mm], width, label=name)
    axes.set_xticks(positions, [*joints, "mean"], rotation=45, ha="right", fontsize="small")
    axes.set(ylabel="mean error (mm)", title=title)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small")
    save(figure, path)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, making missing folders; an existing file is replaced whole.

    Args:
        figure: The figure.
        path: The PNG to write.
    """
    with files.replacing(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, dpi=_DPI, format="png")


def _check_not_empty(scores):
    if not scores:
        raise ValueError("Expected the scores of at least one method, received none.")
