"""Writes the table and the curves of `experiments.py` into a page, between two marks."""

import experiment_results
import matplotlib
from experiment_results import scores_of
from experiment_rows import FIGURES, ROWS

from tfhand import files
from tfhand.evaluation import figures

__all__ = ["write"]

BEGIN, END = "<!-- experiments: begin -->", "<!-- experiments: end -->"
_COLUMNS = (
    "experiment", "paper, mm", "ours, mm", "over seeds, mm", "median", "within 20 mm",
    "within 40 mm", "fitted to the view, mm", "minutes", "commit", "flag file",
)  # fmt: skip
_DIFFERENCE_COLUMNS = (
    "experiment", "compared with", "changed", "difference, mm", "in the paper, mm",
)  # fmt: skip


def write(results, page):
    """Replaces what is between the marks of a page, and draws the figures beside the results.

    Rows and curves show the first seed of a row, so that rows of one seed can be compared; where
    there are more with equal flags, a column has their mean and standard deviation. A row without
    a result of the flags that its file has now says that the file was changed since. A second table
    has what each row changes of another one, over the seeds that both have.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.
        page: `pathlib.Path` of the Markdown page; made if missing.

    Raises:
        NoScoresError: If there is no result with a score.
        ValueError: If the page has no marks.
    """
    found = experiment_results.read(results)
    drawn = []
    for name, (title, rows) in FIGURES.items():
        scores = {ROWS[row].label: scores_of(found[row][0]) for row in rows if row in found}
        styles = {ROWS[row].label: _style(row) for row in rows}
        if len(scores) > 1:
            figures.draw_success_curves(scores, results / f"{name}.png", title, styles)
            drawn.append(f"![{title}]({_relative(results, page)}/{name}.png)")
    tables = [*_table(found), "", *_differences(found)]
    text = "\n".join([BEGIN, "", *tables, "", *drawn, "", END])
    old = page.read_text() if page.exists() else f"{BEGIN}{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"Expected one {BEGIN} and one {END} in {page}.")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    files.write_text(page, before + text + after)


def _style(row):
    """Returns how a row is drawn, alike in all figures."""
    # The recipes first: those of the ten strong colors, which are followed by their light ones.
    names = sorted(FIGURES, key=lambda name: name != "recipes")
    rows = list(dict.fromkeys(row for name in names for row in FIGURES[name][1]))
    index = rows.index(row)
    line = "--" if row == "synth_on_synth" else "-"
    color = matplotlib.colormaps["tab20"](2 * (index % 10) + index // 10 % 2)
    return {"color": color, "linestyle": line}


def _table(found):
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|---" + "|---:" * (len(_COLUMNS) - 3) + "|---|---|"
    for name, runs in found.items():
        run, scores, fitted = runs[0], scores_of(runs[0]), scores_of(runs[0], "_fitted")
        paper = ROWS[name].paper_mm
        flag_file = f"`{run['flag_files'][0].rsplit('/', 1)[-1]}`"
        cells = [
            ROWS[name].label,
            "" if paper is None else f"{paper:.2f}",
            f"{scores.mean_joint_error_mm:.2f}",
            experiment_results.mean_and_spread(runs) if len(runs) > 1 else "",
            f"{scores.median_joint_error_mm:.2f}",
            *(f"{100 * scores.success_rate[t]:.1f} %" for t in (20, 40)),
            f"{fitted.mean_joint_error_mm:.2f}" if fitted else "",
            experiment_results.minutes(run),
            run["commit"],
            flag_file + ("" if experiment_results.is_of_today(run) else ", changed since"),
        ]
        yield "| " + " | ".join(cells) + " |"


def _differences(found):
    yield "| " + " | ".join(_DIFFERENCE_COLUMNS) + " |"
    yield "|---|---|---|---:|---:|"
    for name, runs in found.items():
        other = ROWS[name].compared_with
        by_seed = {run["seed"]: run for run in found.get(other, ())}
        pairs = [(run, by_seed[run["seed"]]) for run in runs if run["seed"] in by_seed]
        if not pairs:
            continue
        flags = experiment_results.changes_of(*pairs[0])
        papers_mm = [ROWS[row].paper_mm for row in (name, other)]
        cells = [
            ROWS[name].label,
            ROWS[other].label,
            # A row that changes more than a few is a recipe of its own.
            ", ".join(f"`--{k}={v}`" for k, v in flags.items()) if len(flags) < 4 else "",
            experiment_results.mean_difference(pairs),
            "" if None in papers_mm else f"{papers_mm[0] - papers_mm[1]:+.2f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def _relative(results, page):
    folder, parent = results.resolve(), page.resolve().parent
    return folder.relative_to(parent).as_posix() if folder.is_relative_to(parent) else folder
