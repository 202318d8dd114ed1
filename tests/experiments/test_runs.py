"""`make experiments` runs what is missing, once, and says what a result was made of."""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

from data_prep.records import dataset_info
from tfhand import commands, files
from tfhand.geometry import crop

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import experiment_results  # noqa: E402
import experiment_runs  # noqa: E402
import experiments  # noqa: E402

SCORES = {
    "num_frames": 10,
    "mean_joint_error_mm": 9.0,
    "median_joint_error_mm": 7.0,
    "mean_joint_error_12_mm": 9.0,
    "fingertip_error_mm": 9.0,
    "per_joint_error_mm": {"F1_KNU3_A": 9.0},
    "success_rate": {str(threshold): threshold / 80 for threshold in range(81)},
    "auc": 0.5,
}


@pytest.fixture
def trainings(monkeypatch):
    """Trainings that take no time: the folders they were called for, and statuses to end with."""
    called, statuses = [], {}

    def call(command, log):
        workdir = pathlib.Path(command[-1].removeprefix("--workdir="))
        name = "start" if workdir.parent.name == "starts" else workdir.parent.name
        called.append(name)
        if statuses.get(name):
            return statuses[name]
        commit = {"id": f"{len(called)}abcdefabcdef", "is_dirty": name == "start"}
        for path, content in (
            ("provenance.json", [{"commit": commit}]),
            ("tune/done.json", {"seconds": 90.0}),
            ("report/metrics.json", {"self_supervised": SCORES} if SCORES else {}),
        ):
            (workdir / path).parent.mkdir(parents=True, exist_ok=True)
            (workdir / path).write_text(json.dumps(content))
        return 0

    monkeypatch.setattr(experiment_runs, "_call", call)
    monkeypatch.setattr(experiment_runs, "records_of", lambda path: path.joinpath("d").read_text())
    call.called, call.statuses = called, statuses
    return call


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "d").write_text("these")
    return folder


@pytest.fixture
def run(tmp_path, data_dir):
    def run(rows, *more):
        arguments = [
            f"--workdir={tmp_path / 'work'}",
            f"--data_dir={data_dir}",
            f"--results={tmp_path / 'results'}",
            f"--page={tmp_path / 'page.md'}",
            f"--only={rows}",
        ]
        experiments.main(commands.parse(experiments.define_flags, ["", *arguments, *more]))

    return run


def result(tmp_path, row):
    return json.loads((tmp_path / "results" / row / "seed-1.json").read_text())


def test_rows_share_their_start_and_are_made_once(trainings, run, tmp_path, capsys):
    run("best,with_labels")
    assert trainings.called == ["start", "best", "with_labels"]
    made = result(tmp_path, "with_labels")
    assert made["commit"] == "1abcdef+, 3abcdef"
    assert made["flags"]["tune_method"] == "labels"
    assert made["minutes"] == {"tune": 1.5}
    assert "| with labels |  | 9.00 |" in (tmp_path / "page.md").read_text()
    run("best,with_labels")
    assert len(trainings.called) == 3
    assert "best, seed 1: its result is there, made at commit 1abcdef+, 2abcdef." in (
        capsys.readouterr().out
    )


def test_other_flags_are_another_result(trainings, run, tmp_path):
    size = tmp_path / "size.flags"
    for steps in (6, 7):
        size.write_text(f"--tune_steps={steps}\n")
        run("best", f"--size_flags={size}")
        assert result(tmp_path, "best")["flags"]["tune_steps"] == steps
    assert trainings.called == ["start", "best", "best"]


def test_another_size_needs_another_folder(trainings, run, tmp_path):
    run("best")
    before = result(tmp_path, "best")
    size = tmp_path / "size.flags"
    size.write_text("--tune_steps=7\n")
    with pytest.raises(ValueError, match=r"size.flags.* found one with \[\]: give another --res"):
        run("best", f"--size_flags={size}")
    assert result(tmp_path, "best") == before
    run("best", f"--size_flags={size}", f"--results={tmp_path / 'more'}")
    assert trainings.called == ["start", "best", "best"]


def test_records_are_the_same_whatever_their_bytes(tmp_path, monkeypatch):
    def info(checksum, source="embedded recording, seed 1"):
        shard = dataset_info.ShardInfo("train-0", 4, 10, checksum)
        split = dataset_info.SplitInfo(source, 4, 4, {"a": 4}, (shard,), {}, {})
        return dataset_info.DatasetInfo(crop.CropSpec(64, 300.0), 3, {"train": split})

    infos = {"here": info("1"), "there": info("2"), "other": info("1", "seed 7")}
    monkeypatch.setattr(experiment_runs.records, "read_info", infos.__getitem__)
    here, there, other = map(experiment_runs.records_of, infos)
    assert here == there != other


def test_a_result_of_other_records_is_not_taken_and_not_lost(trainings, run, tmp_path, data_dir):
    run("best")
    before = result(tmp_path, "best")
    (data_dir / "d").write_text("others")
    with pytest.raises(ValueError, match="found one of others: give another --results"):
        run("best")
    assert result(tmp_path, "best") == before
    run("best", f"--results={tmp_path / 'more'}")
    assert trainings.called == ["start", "best", "best"]


def test_results_of_other_records_are_told_once(trainings, run, data_dir):
    run("best")
    (data_dir / "d").write_text("others")
    with pytest.raises(ValueError, match="found one of others") as raised:
        run("best,with_labels,synth_noise")
    assert str(raised.value).count("found one of others") == 1


def test_rows_that_a_size_makes_alike_are_left_out(trainings, run, tmp_path, capsys):
    size = tmp_path / "size.flags"
    size.write_text("--tune_batch=24\n")
    run("multi_view_50,multi_view_50_alone", f"--size_flags={size}")
    assert trainings.called == ["start", "multi_view_50"]
    assert "at this size it is multi_view_50, and left out" in capsys.readouterr().out
    run("multi_view_50_alone", f"--results={tmp_path / 'more'}")
    assert trainings.called[2:] == ["multi_view_50_alone"]


def test_records_without_labels_run_and_have_no_page(trainings, run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SCORES", None)
    with pytest.raises(experiment_results.NoScoresError, match="labeled records"):
        run("best,with_labels")
    assert trainings.called == ["start", "best", "with_labels"]
    assert "metrics" in result(tmp_path, "with_labels")
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize("seeds", ["one", "1,", "1.5", "-1"])
def test_seeds_that_are_none(trainings, run, seeds):
    with pytest.raises(ValueError, match="--seeds: expected integers"):
        run("best", f"--seeds={seeds}")
    assert trainings.called == []


def test_a_row_that_fails_does_not_stop_the_others(trainings, run, tmp_path):
    trainings.statuses["best"] = 1
    with pytest.raises(ValueError, match=r"1 did not: best, seed 1: .* status 1, see .*log.txt"):
        run("best,with_labels")
    assert trainings.called == ["start", "best", "with_labels"]
    assert "with labels" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("status", [os.EX_TEMPFAIL, -signal.SIGTERM])
def test_a_stopped_training_stops_the_rows_and_says_that_they_go_on(trainings, run, status):
    trainings.statuses["best"] = status
    with pytest.raises(SystemExit) as stopped:
        run("best,with_labels")
    assert stopped.value.code == os.EX_TEMPFAIL
    assert trainings.called == ["start", "best"]


def test_a_flag_that_is_none_is_named_and_stops_no_other_row(trainings, run, tmp_path):
    size = tmp_path / "size.flags"
    size.write_text("--tune_step=7\n")
    with pytest.raises(ValueError, match=r"2 did not: best, seed 1: .*tune_step"):
        run("best,with_labels", f"--size_flags={size}")
    assert trainings.called == []


def test_flags_without_an_effect_and_new_ones_are_no_other_result(trainings, run, tmp_path):
    run("best")
    path = tmp_path / "results" / "best" / "seed-1.json"
    made = json.loads(path.read_text())
    made["flags"]["checkpoint_steps"] = 7
    # As if the flag had come later.
    del made["flags"]["tune_average"]
    path.write_text(json.dumps(made))
    run("best")
    assert trainings.called == ["start", "best"]
    run("best_averaged")
    made["flags"]["tune_keep_share"] = 0.5
    path.write_text(json.dumps(made))
    run("best", f"--workdir={tmp_path / 'again'}")
    assert trainings.called == ["start", "best", "best_averaged", "start", "best"]


def test_two_at_a_time_are_refused(trainings, run, tmp_path):
    with files.alone_in(tmp_path / "work", lock=".lock"):
        with pytest.raises(FileExistsError, match="running experiments"):
            run("best")
    assert trainings.called == []


def test_sigterm_without_a_training_ends_the_command():
    with pytest.raises(SystemExit) as stopped, experiment_runs.stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.0)
    assert stopped.value.code == 75


def test_sigterm_reaches_the_training(tmp_path):
    log = tmp_path / "log.txt"
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    def stop():
        while not log.exists() or "ready" not in log.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    with experiment_runs.stoppable():
        assert experiment_runs._call([sys.executable, "-c", child], log) == 75
    assert signal.getsignal(signal.SIGTERM) is before
