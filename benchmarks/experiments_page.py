"""Writes the table and the curves of `experiments.py` into a page, between two marks."""

import dataclasses

import experiment_results
import matplotlib
import numpy as np
from experiment_results import scores_of
from experiment_rows import FIGURES, ROWS

from tfhand import files
from tfhand.evaluation import figures

__all__ = ["write"]

BEGIN, END = "<!-- experiments: begin -->", "<!-- experiments: end -->"
_COLUMNS = (
    "experiment", "paper, mm", "ours, mm", "median", "within 20 mm", "within 40 mm",
    "fitted to the view, mm", "minutes", "commit", "flag file",
)  # fmt: skip


def write(results, page):
    """Replaces what is between the marks of a page, and draws the figures beside the results.

    Seeds of equal flags are averaged, also in the curves. A row without a result of the flags that
    its file has now says that the file was changed since.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.
        page: `pathlib.Path` of the Markdown page; made if missing.

    Raises:
        ValueError: If there is no result, or the page has no marks.
    """
    found = experiment_results.read(results)
    drawn = []
    for name, (title, rows) in FIGURES.items():
        shown = {_curve_name(row, found[row]): row for row in rows if row in found}
        scores = {label: _mean_scores(found[row]) for label, row in shown.items()}
        styles = {label: _style(row) for label, row in shown.items()}
        if len(scores) > 1:
            figures.draw_success_curves(scores, results / f"{name}.png", title, styles)
            drawn.append(f"![{title}]({_relative(results, page)}/{name}.png)")
    text = "\n".join([BEGIN, "", *_table(found), "", *drawn, "", END])
    old = page.read_text() if page.exists() else f"{BEGIN}{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"Expected one {BEGIN} and one {END} in {page}.")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    files.write_text(page, before + text + after)


def _curve_name(row, runs):
    return ROWS[row].label + (f", {len(runs)} seeds" if len(runs) > 1 else "")


def _style(row):
    """Returns how a row is drawn, alike in all figures."""
    rows = list(dict.fromkeys(row for _, rows in FIGURES.values() for row in rows))
    line = "--" if row == "synth_on_synth" else "-"
    return {"color": matplotlib.colormaps["tab20"](rows.index(row) % 20), "linestyle": line}


def _mean_scores(runs):
    """Returns the scores of the first run with the means of all in what the figures show."""
    scores = [scores_of(run) for run in runs]
    return dataclasses.replace(
        scores[0],
        success_rate={
            t: np.mean([s.success_rate[t] for s in scores]) for t in scores[0].success_rate
        },
        mean_joint_error_mm=np.mean([s.mean_joint_error_mm for s in scores]),
        auc=np.mean([s.auc for s in scores]),
    )


def _table(found):
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|---" + "|---:" * (len(_COLUMNS) - 3) + "|---|---|"
    for name, runs in found.items():
        scores = [scores_of(run) for run in runs]
        paper = ROWS[name].paper_mm
        flag_file = f"`{runs[0]['flag_files'][0].rsplit('/', 1)[-1]}`"
        cells = [
            ROWS[name].label,
            "" if paper is None else f"{paper:.2f}",
            experiment_results.error_mm(runs),
            f"{np.mean([score.median_joint_error_mm for score in scores]):.2f}",
            *(f"{100 * np.mean([s.success_rate[t] for s in scores]):.1f} %" for t in (20, 40)),
            _fitted(runs),
            experiment_results.minutes(runs),
            experiment_results.commits(runs),
            flag_file if experiment_results.is_of_today(runs[0]) else f"{flag_file}, changed since",
        ]
        yield "| " + " | ".join(cells) + " |"


def _fitted(runs):
    """Returns the mean error of hands fitted to the first view, as far as it was measured."""
    found = [scores for run in runs if (scores := scores_of(run, "_fitted"))]
    fitted = [scores.mean_joint_error_mm for scores in found]
    return experiment_results.mean_and_spread(fitted) if fitted else ""


def _relative(results, page):
    folder, parent = results.resolve(), page.resolve().parent
    return folder.relative_to(parent).as_posix() if folder.is_relative_to(parent) else folder
