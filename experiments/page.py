"""Tables and curves of the experiments in a Markdown page, between two marks."""

import os

import matplotlib

from experiments import results
from experiments.results import scores_of
from experiments.rows import FIGURES, ROWS
from tfhand import files
from tfhand.evaluation import figures

__all__ = ["write_page"]

BEGIN, END = "<!-- experiments: begin -->", "<!-- experiments: end -->"
# Columns and how they are aligned.
_COLUMNS = {
    "experiment": "---", "paper, mm": "---:", "ours, mm": "---:", "over seeds, mm": "---:",
    "median": "---:", "within 20 mm": "---:", "within 40 mm": "---:",
    "fitted to the view, mm": "---:", "minutes": "---:", "commit": "---", "flag file": "---",
}  # fmt: skip
_DIFFERENCE_COLUMNS = {
    "experiment": "---", "compared with": "---", "changed": "---", "difference, mm": "---:",
    "in the paper, mm": "---:",
}  # fmt: skip


def write_page(by_row, folder, page):
    """Replaces what is between the marks of a page, and draws the figures beside the results.

    Rows and curves show the first seed of a row, so that rows of one seed can be compared; where
    there are more, a column has their mean and standard deviation. A second table has what each
    row changes of another one, over the seeds that both have.

    Args:
        by_row: Of `results.read_results`.
        folder: `pathlib.Path` of the results, and of the figures.
        page: `pathlib.Path` of the Markdown page; made if missing.

    Raises:
        ValueError: If the page has no marks.
    """
    text = page.read_text() if page.exists() else f"{BEGIN}{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"Expected one {BEGIN} and one {END} in {page}.")
    blocks = [
        _table(_COLUMNS, _row_cells(by_row)),
        _table(_DIFFERENCE_COLUMNS, _difference_cells(by_row)),
        _draw_figures(by_row, folder, os.path.relpath(folder, page.parent)),
    ]
    lines = [line for block in blocks if block for line in [*block, ""]]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    files.write_text(page, before + "\n".join([BEGIN, "", *lines, END]) + after)


def _draw_figures(by_row, folder, link):
    """Draws the figures that have two curves or more; returns the lines that show them."""
    lines = []
    for name, (title, rows) in FIGURES.items():
        scores = {ROWS[row].label: scores_of(by_row[row][0]) for row in rows if row in by_row}
        styles = {ROWS[row].label: _style(row) for row in rows}
        if len(scores) > 1:
            figures.draw_success_curves(scores, folder / f"{name}.png", title, styles)
            lines.append(f"![{title}]({link}/{name}.png)")
    return lines


def _style(row):
    """Returns how a row is drawn, alike in all figures."""
    # The recipes first: those of the ten strong colors, which are followed by their light ones.
    names = sorted(FIGURES, key=lambda name: name != "recipes")
    rows = list(dict.fromkeys(row for name in names for row in FIGURES[name][1]))
    index = rows.index(row)
    line = "--" if row == "synth_on_synth" else "-"
    color = matplotlib.colormaps["tab20"](2 * (index % 10) + index // 10 % 2)
    return {"color": color, "linestyle": line}


def _table(columns, rows):
    """Returns the lines of a table."""
    ruler = f"|{'|'.join(columns.values())}|"
    lines = [_line(cells) for cells in rows]
    return [_line(columns), ruler, *lines] if lines else []


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _row_cells(by_row):
    for name, of_seeds in by_row.items():
        first, scores, fitted = (
            of_seeds[0],
            scores_of(of_seeds[0]),
            scores_of(of_seeds[0], "_fitted"),
        )
        paper_mm = ROWS[name].paper_mm
        yield [
            ROWS[name].label,
            "" if paper_mm is None else f"{paper_mm:.2f}",
            f"{scores.mean_joint_error_mm:.2f}",
            results.mean_and_spread(of_seeds) if len(of_seeds) > 1 else "",
            f"{scores.median_joint_error_mm:.2f}",
            *(f"{100 * scores.success_rate[t]:.1f} %" for t in (20, 40)),
            f"{fitted.mean_joint_error_mm:.2f}" if fitted else "",
            results.minutes(first),
            first["commit"],
            f"`{name}.flags`",
        ]


def _difference_cells(by_row):
    for name, of_seeds in by_row.items():
        other = ROWS[name].compared_with
        by_seed = {result["seed"]: result for result in by_row.get(other, ())}
        pairs = [(r, by_seed[r["seed"]]) for r in of_seeds if r["seed"] in by_seed]
        if not pairs:
            continue
        changes = results.changes(*pairs[0])
        papers_mm = [ROWS[row].paper_mm for row in (name, other)]
        yield [
            ROWS[name].label,
            ROWS[other].label,
            # A row that changes more than a few is a recipe of its own.
            ", ".join(f"`{change}`" for change in changes) if len(changes) < 4 else "",
            results.mean_difference(pairs),
            "" if None in papers_mm else f"{papers_mm[0] - papers_mm[1]:+.2f}",
        ]
