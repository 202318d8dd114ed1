"""Scores on disk: `metrics.json`, a Markdown table and the field's figures.

`metrics.json` maps a method's name to `Scores.to_dict()`, beside any further entries:

    {"synthetic_only": {"mean_joint_error_mm": 22.7, "success_rate": {"20": 0.18, ...}, ...}, ...}
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfhand import files
from tfhand.evaluation import figures
from tfhand.evaluation.metrics import Scores

__all__ = [
    "markdown_table",
    "per_joint_table",
    "read_metrics",
    "write_metrics",
    "write_report",
]

_TABLE_THRESHOLDS_MM = (20, 40)


def write_metrics(
    path: str | os.PathLike,
    scores: Mapping[str, Scores],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes `metrics.json`.

    Args:
        path: The file to write; an existing one is replaced.
        scores: Scores by the method's name.
        extra: Further entries, plain types.

    Raises:
        ValueError: If an extra entry has the name of a method.
    """
    extra = dict(extra or {})
    taken = sorted(set(extra) & set(scores))
    if taken:
        raise ValueError(
            f"Expected extra entries beside the methods {list(scores)}, found {taken}."
        )
    files.write_json(path, {name: score.to_dict() for name, score in scores.items()} | extra)


def read_metrics(path: str | os.PathLike) -> dict[str, Scores]:
    """Returns the scores in a `metrics.json`, leaving out its further entries.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no JSON object, or holds no scores.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Expected scores, found no file {os.fspath(path)}.")
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object in {os.fspath(path)}, found {type(content)}.")
    try:
        scores = {
            name: Scores.from_dict(entry)
            for name, entry in content.items()
            if isinstance(entry, dict) and "per_joint_error_mm" in entry
        }
    except ValueError as error:
        raise ValueError(f"Cannot use {os.fspath(path)}: {error}") from error
    if not scores:
        raise ValueError(f"Expected scores in {os.fspath(path)}, found {list(content)[:20]}.")
    if len({tuple(score.per_joint_error_mm) for score in scores.values()}) > 1:
        raise ValueError(f"Expected scores of the same joints in {os.fspath(path)}.")
    return scores


def markdown_table(scores: Mapping[str, Scores]) -> str:
    """Returns one row a method: errors in mm, shares of frames in percent.

    Args:
        scores: Scores by the method's name.
    """
    columns = ["method", "frames", "mean", "median", "12 joints", "finger tips"]
    columns += [f"within {threshold} mm" for threshold in _TABLE_THRESHOLDS_MM]
    columns += ["AUC 0-80", "missed"]
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    for name, score in scores.items():
        errors_mm = (
            score.mean_joint_error_mm,
            score.median_joint_error_mm,
            score.mean_joint_error_12_mm,
            score.fingertip_error_mm,
        )
        cells = [name, str(score.num_frames), *(f"{error:.2f}" for error in errors_mm)]
        cells += [f"{100 * score.success_rate[t]:.2f} %" for t in _TABLE_THRESHOLDS_MM]
        lines.append("| " + " | ".join([*cells, f"{score.auc:.4f}", str(score.num_missed)]) + " |")
    return "\n".join(lines) + "\n"


def per_joint_table(scores: Mapping[str, Scores]) -> str:
    """Returns one row a joint and one for their mean, a column a method: mean errors in mm.

    Args:
        scores: Scores by the method's name; all with the joints of the first.
    """
    lines = ["| joint | " + " | ".join(scores) + " |", "|---" + "|---:" * len(scores) + "|"]
    for joint in next(iter(scores.values())).per_joint_error_mm:
        errors_mm = [score.per_joint_error_mm[joint] for score in scores.values()]
        cells = ["" if np.isnan(error) else f"{error:.2f}" for error in errors_mm]
        lines.append("| " + " | ".join([joint, *cells]) + " |")
    means = [f"{score.mean_joint_error_mm:.2f}" for score in scores.values()]
    return "\n".join([*lines, "| " + " | ".join(["all", *means]) + " |"]) + "\n"


def write_report(
    directory: str | os.PathLike,
    scores: Mapping[str, Scores],
    *,
    title: str = "",
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes `metrics.json`, `table.md`, `success_curves.png` and `per_joint_error.png`.

    Args:
        directory: The folder; made if missing, files of these names are replaced.
        scores: Scores by the method's name.
        title: Shown above the figures.
        extra: Further entries of `metrics.json`, plain types.
    """
    figures.draw_success_curves(scores, os.path.join(directory, "success_curves.png"), title)
    figures.draw_per_joint_bars(scores, os.path.join(directory, "per_joint_error.png"), title)
    tables = f"{markdown_table(scores)}\n{per_joint_table(scores)}"
    files.write_text(os.path.join(directory, "table.md"), tables)
    write_metrics(os.path.join(directory, "metrics.json"), scores, extra)
