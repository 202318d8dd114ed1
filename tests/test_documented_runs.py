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


# A run, the scores in it, and those of `tfhand.evaluate --fit=view --fit_shape=sample`.
CASES = [
    ("selfsup", "synthetic_only", "synthetic_only_frame"),
    ("selfsup", "self_supervised", "selfsup_frame"),
    ("labels", "with_labels", "labels_frame"),
]


@pytest.mark.parametrize(("run", "name", "of_frames"), CASES)
def test_tables_of_the_main_job(run, name, of_frames):
    scores = scores_of(run, name)
    fitted = [scores_of(of_frames, name), scores_of(run, f"{name}_fitted")]
    fitted = [f"{score.mean_joint_error_mm:.2f}" for score in fitted]
    mean, shares = mm_and_shares(scores, 20, 40)
    cells = [mean, f"{scores.median_joint_error_mm:.2f}", shares, *fitted]
    line = f"| `{name}` | {' | '.join(cells)} |"
    assert line in (ROOT / "docs" / "experiments.md").read_text().splitlines()
    mean, shares = mm_and_shares(scores, 20)
    cells = [f"{mean} mm", shares, *(f"{value} mm" for value in fitted)]
    lines = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in lines if line.endswith(f" | {' | '.join(cells)} |")]


def test_what_the_main_job_gains_and_closes():
    start, own, with_labels = (scores_of(*case[:2]).mean_joint_error_mm for case in CASES)
    lowered = f"{100 * (start - own) / start:.1f} %"
    closed = f"{100 * (start - own) / (start - with_labels):.0f} % of the gap"
    for page in ("README.md", "docs/experiments.md"):
        text = " ".join((ROOT / page).read_text().split())
        assert lowered in text and closed in text
