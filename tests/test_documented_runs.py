"""Numbers of the main job in the documents are those of the runs that `docs/runs` keeps."""

import json
import pathlib

import pytest

from tfhand.evaluation.metrics import Scores

ROOT = pathlib.Path(__file__).parents[1]


def scores_of(run, name):
    found = json.loads((ROOT / "docs" / "runs" / f"{run}.json").read_text())
    return Scores.from_dict(found[name])


def mm_and_shares(scores, *thresholds_mm):
    mean = f"{scores.mean_joint_error_mm:.2f}"
    shares = " | ".join(f"{100 * scores.success_rate[t]:.1f} %" for t in thresholds_mm)
    return mean, shares


CASES = [
    ("selfsup", "synthetic_only"),
    ("selfsup", "self_supervised"),
    ("labels", "with_labels"),
]


@pytest.mark.parametrize(("run", "name"), CASES)
def test_tables_of_the_main_job(run, name):
    scores, fitted = scores_of(run, name), scores_of(run, f"{name}_fitted")
    fitted = f"{fitted.mean_joint_error_mm:.2f}"
    mean, shares = mm_and_shares(scores, 20, 40)
    start = f"| `{name}` | {mean} | {scores.median_joint_error_mm:.2f} | {shares} |"
    lines = (ROOT / "docs" / "experiments.md").read_text().splitlines()
    assert [line for line in lines if line.startswith(start) and line.endswith(f"{fitted} |")]
    mean, shares = mm_and_shares(scores, 20)
    readme = (ROOT / "README.md").read_text().splitlines()
    cells = f" | {mean} mm | {shares} |"
    assert [line for line in readme if cells in line and line.endswith(f"{fitted} mm |")]


def test_what_the_main_job_gains_and_closes():
    names = [scores_of(*case).mean_joint_error_mm for case in CASES]
    start, own, with_labels = names
    lowered = f"{100 * (start - own) / start:.1f} %"
    closed = f"{100 * (start - own) / (start - with_labels):.0f} % of the gap"
    for page in ("README.md", "docs/experiments.md"):
        text = " ".join((ROOT / page).read_text().split())
        assert lowered in text and closed in text
