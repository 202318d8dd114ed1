"""The page and the headers of flag files say what the results say."""

import json
import pathlib
import shutil

import pytest

from experiments import flags
from experiments.headers import write_headers
from experiments.page import BEGIN, END, write_page
from experiments.results import read_results
from experiments.rows import FIGURES, ROWS

CONFIGS = pathlib.Path("configs/experiments")


def scores(error_mm):
    return {
        "num_frames": 10,
        "mean_joint_error_mm": error_mm,
        "median_joint_error_mm": error_mm - 2.0,
        "mean_joint_error_12_mm": error_mm,
        "fingertip_error_mm": error_mm,
        "per_joint_error_mm": {"F1_KNU3_A": error_mm},
        "success_rate": {str(threshold): threshold / 80 for threshold in range(81)},
        "auc": 0.5,
    }


def write_result(folder, row, seed, metrics, **changed_flags):
    path = folder / row / f"seed-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    flag_files = [str(CONFIGS / f"{row}.flags")]
    result = {
        "seed": seed,
        "flag_files": flag_files,
        "flags": flags.result_flags(flag_files) | changed_flags,
        "commit": "abc",
        "environment": {"cores": 2, "cpu": "AMD EPYC"},
        "minutes": {"init": 10.0, "tune": 5.4},
        "metrics": metrics,
    }
    path.write_text(json.dumps(result))


def write_errors(folder, errors_mm):
    """Writes results of rows, each with errors by seed, from 1."""
    for row, of_seeds in errors_mm.items():
        for seed, error_mm in enumerate(of_seeds, start=1):
            write_result(folder, row, seed, {"self_supervised": scores(error_mm)})


def page_of(tmp_path):
    """Writes the page of the results in a folder; returns its text and the cells of its rows."""
    path = tmp_path / "experiments.md"
    write_page(read_results(tmp_path / "experiments"), tmp_path / "experiments", path)
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return text, [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]


def test_every_row_has_a_flag_file_and_every_file_a_row():
    assert {path.stem for path in CONFIGS.glob("*.flags")} == set(ROWS)
    assert {row for _, rows in FIGURES.values() for row in rows} <= set(ROWS)


def test_table_and_curves(tmp_path):
    folder = tmp_path / "experiments"
    write_result(folder, "synth_noise", 1, {"synthetic_only": scores(14.0)})
    both = {"synthetic_only": scores(14.0), "self_supervised": scores(10.0)}
    write_result(folder, "best", 1, both | {"self_supervised_fitted": scores(6.0)})
    write_result(folder, "best", 2, both | {"self_supervised": scores(11.0)})
    (tmp_path / "experiments.md").write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    text, rows = page_of(tmp_path)
    assert text.startswith("Before.\n") and text.endswith("\nAfter.\n") and "old" not in text
    by_file = {cells[-1].strip("`"): cells for cells in rows}
    assert by_file["synth_noise.flags"][1:4] == ["22.65", "14.00", ""]
    assert by_file["best.flags"][2:4] == ["10.00", "10.50 ± 0.71 (2 seeds)"]
    assert by_file["best.flags"][5:9] == ["25.0 %", "50.0 %", "6.00", "15"]
    assert by_file["synth_noise.flags"][7] == ""
    assert "](experiments/recipes.png)" in text and (folder / "recipes.png").exists()
    # Once more gives the same.
    assert page_of(tmp_path)[0] == text


def test_differences_are_those_of_the_seeds_that_both_rows_have(tmp_path):
    errors_mm = {
        "synth_noise": (14.0,),
        "best": (10.0, 11.0, 12.0),
        "best_without_targets": (10.5, 11.1),
        "best_without_terms": (9.0,),
        "multi_view_50_single_view_50": (13.0,),
        "multi_view_100": (13.0,),
        "single_view_100": (13.5,),
    }
    write_errors(tmp_path / "experiments", errors_mm)
    labels = {name: row.label for name, row in ROWS.items()}
    by_label = {cells[0]: cells[1:] for cells in page_of(tmp_path)[1] if len(cells) == 5}
    best = labels["best"]
    targets = [best, "`--tune_target_weight=0.0`", "+0.30 ± 0.28 (2 seeds)", ""]
    assert by_label[labels["best_without_targets"]] == targets
    assert by_label[labels["best_without_terms"]][2] == "-1.00"
    assert by_label[labels["single_view_100"]][2:] == ["+0.50", "+5.17"]
    # A recipe of its own, not a few flags.
    assert by_label[best] == [labels["synth_noise"], "", "-4.00", ""]
    # There is no result of the row that it is compared with.
    assert labels["multi_view_50_single_view_50"] not in by_label


def test_results_of_other_flags_and_without_labels_are_left_out(tmp_path):
    errors_mm = {"tune_steps": 10.0, "checkpoint_steps": 12.0}
    for seed, (name, error_mm) in enumerate(errors_mm.items(), start=1):
        write_result(tmp_path, "best", seed, {"self_supervised": scores(error_mm)}, **{name: 7})
    write_result(tmp_path, "synth_noise", 1, {"versions": {}})
    (result,) = read_results(tmp_path).pop("best")
    # Steps from one checkpoint to the next change no result.
    assert result["seed"] == 2
    assert set(read_results(tmp_path)) == {"best"}


def test_a_page_without_marks_is_left_alone(tmp_path):
    write_errors(tmp_path / "experiments", {"synth": (14.0,)})
    page = tmp_path / "experiments.md"
    page.write_text("Mine.\n")
    with pytest.raises(ValueError, match="begin"):
        page_of(tmp_path)
    assert page.read_text() == "Mine.\n"


def test_headers_of_flag_files(tmp_path):
    folder, configs = tmp_path / "experiments", tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    for path in configs.glob("*.flags"):
        path.write_text(f"# Kept.\n{path.read_text()}# Here, in mm: mine.\n--seed=3\n")
    write_errors(folder, {"multi_view_100": (10.0, 11.0)})
    write_result(folder, "synth_on_synth", 1, {"synthetic_only": scores(12.0)})
    for _ in range(2):
        write_headers(read_results(folder), configs)
        assert (configs / "multi_view_100.flags").read_text().splitlines() == [
            "# Kept.",
            "# Table 1, ours (100% multiple view): the paper's terms over three views.",
            "# The paper, on NYU: 12.62 mm.",
            "# Here, in mm: 10.00; 10.50 ± 0.71 (2 seeds), embedded recording.",
            "# Run at abc in 15 min on 2 cores (AMD EPYC).",
            "--flagfile=configs/base.flags",
            "--flagfile=configs/paper.flags",
            "--init_from=none",
            "# Here, in mm: mine.",
            "--seed=3",
        ]
        # Neither in the paper nor measured.
        assert (configs / "best.flags").read_text().count("Here, in mm") == 1
        assert "on NYU" not in (configs / "best.flags").read_text()
        scored = (configs / "synth_on_synth.flags").read_text()
        assert "# Here, in mm: 12.00, synthetic hands.\n" in scored


REMEDY = "python -m experiments --only= writes the numbers of docs/experiments"


def test_headers_are_those_of_the_results(tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "configs")
    write_headers(read_results(pathlib.Path("docs/experiments")), tmp_path / "configs")
    for path in CONFIGS.glob("*.flags"):
        assert (tmp_path / "configs" / path.name).read_text() == path.read_text(), REMEDY


def test_the_page_is_that_of_the_results(tmp_path):
    folder = shutil.copytree("docs/experiments", tmp_path / "experiments")
    write_page(read_results(folder), folder, folder / "rows.md")
    page = pathlib.Path("docs/experiments/rows.md")
    assert (folder / "rows.md").read_text() == page.read_text(), REMEDY
