"""Numbers of the main job in the documents are those of the runs that `docs/runs` keeps."""

import json
import pathlib

import pytest

from tfhand.evaluation.metrics import Scores

ROOT = pathlib.Path(__file__).parents[1]
# A run, the scores in it, and those of the same name on a recording of hands from elsewhere.
CASES = [
    ("selfsup", "synthetic_only", "foreign_selfsup"),
    ("selfsup", "self_supervised", "foreign_selfsup"),
    ("labels", "with_labels", "foreign_labels"),
]
FOREIGN = [*((run, name) for _, name, run in CASES), ("foreign_paper", "self_supervised")]


def scores_of(run, name):
    found = json.loads((ROOT / "docs" / "runs" / f"{run}.json").read_text())
    return Scores.from_dict(found[name])


def cells_of(scores):
    """Returns mean, median, and the shares of frames within 20 and 40 mm, as texts."""
    numbers = scores.mean_joint_error_mm, scores.median_joint_error_mm
    shares = [f"{100 * scores.success_rate[t]:.1f} %" for t in (20, 40)]
    return [f"{number:.2f}" for number in numbers] + shares


def tables(page):
    """Returns the cells of all lines of tables on a page."""
    lines = (ROOT / page).read_text().splitlines()
    return [[x.strip() for x in line.strip("|").split("|")] for line in lines if line[:2] == "| "]


@pytest.mark.parametrize(("run", "name", "foreign"), CASES)
def test_tables_of_the_main_job(run, name, foreign):
    of_job = cells_of(scores_of(run, name))
    fitted = f"{scores_of(run, f'{name}_fitted').mean_joint_error_mm:.2f}"
    assert [f"`{name}`", *of_job, fitted] in tables("docs/experiments.md")
    of_foreign = cells_of(scores_of(foreign, name))
    cells = [f"{of_job[0]} mm", of_job[2], f"{fitted} mm", f"{of_foreign[0]} mm", of_foreign[2]]
    assert cells in [row[2:] for row in tables("README.md")]


@pytest.mark.parametrize(("run", "name"), FOREIGN)
def test_table_of_hands_from_elsewhere(run, name):
    rows = [row[2:6] for row in tables("docs/experiments.md") if len(row) == 7]
    assert cells_of(scores_of(run, name)) in rows


@pytest.mark.parametrize("runs", [("selfsup", "labels"), ("foreign_selfsup", "foreign_labels")])
def test_what_self_supervision_gains_and_closes(runs):
    errors = [scores_of(runs[0], name) for name in ("synthetic_only", "self_supervised")]
    errors.append(scores_of(runs[1], "with_labels"))
    start, own, with_labels = (score.mean_joint_error_mm for score in errors)
    text = " ".join((ROOT / "docs" / "experiments.md").read_text().split())
    assert f"{100 * (start - own) / start:.1f} %" in text
    assert f"{100 * (start - own) / (start - with_labels):.0f} %" in text
