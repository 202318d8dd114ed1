"""Writes the table and the curves of `experiments.py` into a page, between two marks."""

import dataclasses

import experiment_runs
import numpy as np
from absl import flags
from experiment_rows import FIGURES, ROWS

from tfhand import files
from tfhand.evaluation import figures
from tfhand.evaluation.metrics import Scores

__all__ = ["write"]

BEGIN, END = "<!-- experiments: begin -->", "<!-- experiments: end -->"
_METHODS = ("with_labels", "self_supervised", "synthetic_only")
_COLUMNS = (
    "experiment", "paper, mm", "ours, mm", "median", "within 20 mm", "within 40 mm",
    "fitted to the view, mm", "minutes", "commit", "flag file",
)  # fmt: skip


def write(results, page):
    """Replaces what is between the marks of a page, and draws the figures beside the results.

    Seeds are averaged, also in the curves, if their flags are those that the row's files have now.
    Where none is, those of the first are shown, and the row says that its file was changed since.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.
        page: `pathlib.Path` of the Markdown page; made if missing.

    Raises:
        ValueError: If there is no result, or the page has no marks.
    """
    found = {name: _with_equal_flags(_read(results / name)) for name in ROWS}
    # Records without labels give no score.
    found = {name: [r for r in runs if _method(r)] for name, runs in found.items()}
    found = {name: runs for name, runs in found.items() if runs}
    if not found:
        raise ValueError(f"Expected results in {results}, found none.")
    drawn = []
    for name, (title, rows) in FIGURES.items():
        scores = {ROWS[row].label: _mean_scores(found[row]) for row in rows if row in found}
        if len(scores) > 1:
            figures.draw_success_curves(scores, results / f"{name}.png", title)
            drawn.append(f"![{title}]({_relative(results, page)}/{name}.png)")
    text = "\n".join([BEGIN, "", *_table(found), "", *drawn, "", END])
    old = page.read_text() if page.exists() else f"{BEGIN}{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"Expected one {BEGIN} and one {END} in {page}.")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    files.write_text(page, before + text + after)


def _read(folder):
    paths = sorted(folder.glob("seed-*.json"), key=lambda path: int(path.stem.split("-")[1]))
    return [files.read_json(path) for path in paths]


def _with_equal_flags(runs):
    """Returns the runs with today's flags of the row, or else those with the flags of the first."""
    of_today = [run for run in runs if _is_of_today(run)]
    return of_today or [run for run in runs if run["flags"] == runs[0]["flags"]]


def _is_of_today(run):
    try:
        return experiment_runs.are_equal(run["flags"], experiment_runs.flags_of(run["flag_files"]))
    except flags.Error:
        # One of its files is there no more.
        return False


def _mean_scores(runs):
    """Returns the scores of the first run with the means of all in what the figures show."""
    scores = [_scores(run) for run in runs]
    return dataclasses.replace(
        scores[0],
        success_rate={
            t: np.mean([s.success_rate[t] for s in scores]) for t in scores[0].success_rate
        },
        mean_joint_error_mm=np.mean([s.mean_joint_error_mm for s in scores]),
        auc=np.mean([s.auc for s in scores]),
    )


def _scores(run):
    return Scores.from_dict(run["metrics"][_method(run)])


def _method(run):
    """Returns the name of the scores of the network that a run ended with, None without any."""
    return next((name for name in _METHODS if name in run["metrics"]), None)


def _table(found):
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|---" + "|---:" * (len(_COLUMNS) - 3) + "|---|---|"
    for name, runs in found.items():
        scores = [_scores(run) for run in runs]
        paper = ROWS[name].paper_mm
        commits = sorted({run["commit"] for run in runs})
        flag_file = f"`{runs[0]['flag_files'][0].rsplit('/', 1)[-1]}`"
        cells = [
            ROWS[name].label,
            "" if paper is None else f"{paper:.2f}",
            _mean_and_spread([score.mean_joint_error_mm for score in scores]),
            f"{np.mean([score.median_joint_error_mm for score in scores]):.2f}",
            *(f"{100 * np.mean([s.success_rate[t] for s in scores]):.1f} %" for t in (20, 40)),
            _fitted(runs),
            f"{np.mean([sum(run['minutes'].values()) for run in runs]):.0f}",
            ", ".join(commits),
            flag_file if _is_of_today(runs[0]) else f"{flag_file}, changed since",
        ]
        yield "| " + " | ".join(cells) + " |"


def _fitted(runs):
    """Returns the mean error of hands fitted to the first view, as far as it was measured."""
    fitted = [
        run["metrics"][f"{_method(run)}_fitted"]["mean_joint_error_mm"]
        for run in runs
        if f"{_method(run)}_fitted" in run["metrics"]
    ]
    return _mean_and_spread(fitted) if fitted else ""


def _mean_and_spread(values):
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} ({len(values)} seeds)"


def _relative(results, page):
    folder, parent = results.resolve(), page.resolve().parent
    return folder.relative_to(parent).as_posix() if folder.is_relative_to(parent) else folder
