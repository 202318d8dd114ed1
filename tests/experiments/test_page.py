"""The page of experiments: its rows have flag files, and its table says what the results say."""

import json
import pathlib
import shutil
import sys

import pytest
import tensorflow as tf

from tfhand import commands

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import experiment_flags  # noqa: E402
import experiment_headers  # noqa: E402
import experiment_rows  # noqa: E402
import experiments_page  # noqa: E402
import reference_log  # noqa: E402


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


def write_result(folder, row, seed, metrics, **changed):
    path = folder / row / f"seed-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    flag_files = [f"configs/experiments/{row}.flags"]
    result = {
        "seed": seed,
        "flag_files": flag_files,
        "flags": experiment_flags.flags_of(flag_files) | changed,
        "commit": "abc",
        "environment": {"cores": 2, "cpu": "AMD EPYC"},
        "minutes": {"init": 10.0, "tune": 5.4},
        "metrics": metrics,
    }
    path.write_text(json.dumps(result))


def test_every_row_has_a_flag_file_and_every_file_a_row():
    found = {path.stem for path in (ROOT / "configs" / "experiments").glob("*.flags")}
    assert found == set(experiment_rows.ROWS)
    for _, rows in experiment_rows.FIGURES.values():
        assert set(rows) <= found


def test_table_and_curves(tmp_path):
    results, page = tmp_path / "experiments", tmp_path / "experiments.md"
    write_result(results, "synth_noise", 1, {"synthetic_only": scores(14.0)})
    both = {"synthetic_only": scores(14.0), "self_supervised": scores(10.0)}
    write_result(results, "best", 1, both | {"self_supervised_fitted": scores(6.0)})
    write_result(results, "best", 2, both | {"self_supervised": scores(11.0)})
    page.write_text(f"Before.\n{experiments_page.BEGIN}\nold\n{experiments_page.END}\nAfter.\n")
    experiments_page.write(results, page)
    text = page.read_text()
    assert text.startswith("Before.\n") and text.endswith("\nAfter.\n") and "old" not in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    by_file = {row[-1].strip("` |"): row for row in rows}
    assert by_file["synth_noise.flags"][1:4] == ["22.65", "14.00", ""]
    assert by_file["best.flags"][2:4] == ["10.00", "10.50 ± 0.71 (2 seeds)"]
    assert by_file["best.flags"][5:9] == ["25.0 %", "50.0 %", "6.00", "15"]
    assert by_file["synth_noise.flags"][3] == by_file["synth_noise.flags"][7] == ""
    assert "experiments/recipes.png" in text
    assert (results / "recipes.png").exists()
    # Once more gives the same.
    experiments_page.write(results, page)
    assert page.read_text() == text


def test_what_a_row_changes_is_told_over_the_seeds_that_both_have(tmp_path):
    results, page = tmp_path / "experiments", tmp_path / "experiments.md"
    measured = {
        "synth_noise": (14.0,),
        "best": (10.0, 11.0, 12.0),
        "best_without_gate": (10.5, 11.1),
        "best_without_augmentation": (9.0,),
        "best_teacher": (13.0,),
        "multi_view_100": (13.0,),
        "single_view_100": (13.5,),
    }
    for row, errors_mm in measured.items():
        for seed, error_mm in enumerate(errors_mm, start=1):
            write_result(results, row, seed, {"self_supervised": scores(error_mm)})
    experiments_page.write(results, page)
    labels = {name: row.label for name, row in experiment_rows.ROWS.items()}
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
    found = {row[0]: row[1:] for row in rows if len(row) in (4, 5)}
    best = labels["best"]
    gate = [best, "`--tune_keep_share=1.0`", "+0.30 ± 0.28 (2 seeds)"]
    assert found[labels["best_without_gate"]][:3] == gate
    augmentation = [best, "`--tune_augment=false`", "-1.00"]
    assert found[labels["best_without_augmentation"]][:3] == augmentation
    assert found[labels["single_view_100"]][2:] == ["+0.50", "+5.17"]
    # A recipe of its own, not a few flags.
    assert found[best][:3] == [labels["synth_noise"], "", "-4.00"]
    # What it is compared with has not been run.
    assert labels["best_teacher"] not in found


def test_seeds_of_other_flags_are_not_averaged(tmp_path):
    results, page = tmp_path / "experiments", tmp_path / "experiments.md"
    for seed, error_mm, changed in ((1, 10.0, {"tune_steps": 7}), (2, 12.0, {}), (3, 13.0, {})):
        write_result(results, "best", seed, {"self_supervised": scores(error_mm)}, **changed)
    experiments_page.write(results, page)
    assert "| 12.50 ± 0.71 (2 seeds) |" in page.read_text()
    assert "changed since" not in page.read_text()
    for seed in (2, 3):
        (results / "best" / f"seed-{seed}.json").unlink()
    experiments_page.write(results, page)
    assert "| 10.00 |" in page.read_text()
    assert "`best.flags`, changed since |" in page.read_text()


def test_headers_of_flag_files(tmp_path):
    results, configs = tmp_path / "experiments", tmp_path / "configs"
    shutil.copytree(ROOT / "configs" / "experiments", configs)
    for path in configs.glob("*.flags"):
        path.write_text(f"# Kept.\n{path.read_text()}# Here, in mm: mine.\n--seed=3\n")
    for seed, error_mm in ((1, 10.0), (2, 11.0)):
        write_result(results, "multi_view_100", seed, {"self_supervised": scores(error_mm)})
    for _ in range(2):
        experiment_headers.write(results, configs)
        lines = (configs / "multi_view_100.flags").read_text().splitlines()
        assert lines[:5] == [
            "# Kept.",
            "# Table 1, ours (100% multiple view): the paper's terms over three views.",
            "# The paper, on NYU: 12.62 mm.",
            "# Here, in mm: 10.00; 10.50 ± 0.71 (2 seeds), embedded recording.",
            "# Run at abc in 15 min on 2 cores (AMD EPYC).",
        ]
        assert lines[5:] == [
            "--flagfile=configs/base.flags",
            "--flagfile=configs/paper.flags",
            "--init_from=none",
            "# Here, in mm: mine.",
            "--seed=3",
        ]
        # Neither in the paper nor measured.
        assert (configs / "best.flags").read_text().count("Here, in mm") == 1
        assert "on NYU" not in (configs / "best.flags").read_text()


def test_a_header_says_what_was_scored_on(tmp_path):
    results, configs = tmp_path / "experiments", tmp_path / "configs"
    configs.mkdir()
    write_result(results, "synth_on_synth", 1, {"synthetic_only": scores(12.0)})
    (configs / "synth_on_synth.flags").write_text("# Kept.\n--seed=3\n")
    experiment_headers.write(results, configs)
    assert "# Here, in mm: 12.00, synthetic hands.\n" in (
        (configs / "synth_on_synth.flags").read_text()
    )


def test_headers_of_files_that_were_changed_or_are_missing(tmp_path):
    results, configs = tmp_path / "experiments", tmp_path / "configs"
    configs.mkdir()
    write_result(results, "best", 1, {"self_supervised": scores(10.0)}, tune_steps=7)
    path = results / "best" / "seed-1.json"
    made = json.loads(path.read_text())
    made["flag_files"].append("configs/overnight.flags")
    path.write_text(json.dumps(made))
    (configs / "best.flags").write_text("# Without a flag.\n")
    experiment_headers.write(results, configs)
    assert (configs / "best.flags").read_text().splitlines() == [
        "# Without a flag.",
        "# Here, in mm: 10.00, embedded recording with configs/overnight.flags.",
        "# Run at abc in 15 min on 2 cores (AMD EPYC). Changed since.",
    ]
    before = (configs / "best.flags").stat().st_mtime_ns
    experiment_headers.write(results, configs)
    assert (configs / "best.flags").stat().st_mtime_ns == before
    assert [path.name for path in configs.iterdir()] == ["best.flags"]


REMEDY = "python benchmarks/experiments.py --only= writes the numbers of docs/experiments"


def test_headers_are_those_of_the_results(tmp_path):
    results, configs = ROOT / "docs" / "experiments", ROOT / "configs" / "experiments"
    shutil.copytree(configs, tmp_path / "configs")
    experiment_headers.write(results, tmp_path / "configs")
    for path in configs.glob("*.flags"):
        assert (tmp_path / "configs" / path.name).read_text() == path.read_text(), REMEDY


@pytest.mark.parametrize("name", ["experiments", "other_recording"])
def test_pages_are_those_of_the_results(tmp_path, name):
    shutil.copytree(ROOT / "docs" / name, tmp_path / name)
    page = shutil.copy(ROOT / "docs" / f"{name}.md", tmp_path)
    experiments_page.write(tmp_path / name, pathlib.Path(page))
    assert pathlib.Path(page).read_text() == (ROOT / "docs" / f"{name}.md").read_text(), REMEDY


def test_a_file_that_is_gone_and_records_without_labels(tmp_path):
    results, page = tmp_path / "experiments", tmp_path / "experiments.md"
    write_result(results, "best", 1, {"self_supervised": scores(10.0)})
    write_result(results, "synth_noise", 1, {"versions": {}})
    path = results / "best" / "seed-1.json"
    made = json.loads(path.read_text())
    path.write_text(json.dumps(made | {"flag_files": [*made["flag_files"], "gone.flags"]}))
    experiments_page.write(results, page)
    assert "`best.flags`, changed since |" in page.read_text()
    assert "synth_noise" not in page.read_text()


def test_no_results(tmp_path):
    with pytest.raises(ValueError, match="results"):
        experiments_page.write(tmp_path, tmp_path / "page.md")


def test_a_page_without_marks_is_left_alone(tmp_path):
    write_result(tmp_path, "synth", 1, {"synthetic_only": scores(14.0)})
    page = tmp_path / "page.md"
    page.write_text("Mine.\n")
    with pytest.raises(ValueError, match="begin"):
        experiments_page.write(tmp_path, page)
    assert page.read_text() == "Mine.\n"


def test_the_reference_log_spans_all_runs(tmp_path, capsys):
    for run, offset in (("a", 0.0), ("b", 1.0)):
        logs = tmp_path / run / "tune" / "logs" / "round-1"
        with tf.summary.create_file_writer(str(logs)).as_default():
            for step in range(1, 21):
                tf.summary.scalar("loss", 100.0 / step + offset, step)
            tf.summary.image("picture", tf.zeros([1, 2, 2, 3]), 1)
    arguments = ["", f"--workdirs={tmp_path / 'a'},{tmp_path / 'b'}"]
    reference_log.main(commands.parse(reference_log.define_flags, arguments))
    said = capsys.readouterr().out
    assert "tune, 2 trainings" in said
    # The first tenth, two points, has not settled.
    assert "| `loss` | 100 to 101 | 5 to 6 | 5 | 34.3 |" in said
    assert "picture" not in said
    reference_log.main(commands.parse(reference_log.define_flags, [*arguments, "--points=3"]))
    said = capsys.readouterr().out
    # Points 1, 11 and 20 of 20, or the nearest.
    assert "| tag | 1 | 11 | 20 |" in said
    assert "| `loss` | 100 to 101 | 9.09 to 10.1 | 5 to 6 |" in said


def test_no_logs(tmp_path):
    arguments = ["", f"--workdirs={tmp_path}"]
    with pytest.raises(ValueError, match="logs"):
        reference_log.main(commands.parse(reference_log.define_flags, arguments))
