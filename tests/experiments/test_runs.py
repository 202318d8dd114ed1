"""`python -m experiments` runs what is missing, once, and says what a result was made from."""

import json
import pathlib
import subprocess

import pytest

from data_prep.records import dataset_info
from experiments import __main__ as command
from experiments import runs
from tfhand import commands
from tfhand.geometry import crop

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


class Trainings:
    """`subprocess.run` with trainings that take no time.

    Attributes:
        names: Rows that were trained, or "start", in order.
        statuses: Exit status of some of them.
        metrics: What their reports hold.
    """

    def __init__(self):
        self.names, self.statuses, self.metrics = [], {}, {"self_supervised": SCORES}
        self.run = subprocess.run

    def __call__(self, arguments, **options):
        if "tfhand.train" not in arguments:
            return self.run(arguments, **options)
        workdir = pathlib.Path(arguments[-1].removeprefix("--workdir="))
        name = "start" if workdir.parent.name == "starts" else workdir.parent.name
        self.names.append(name)
        status = self.statuses.get(name, 0)
        if not status:
            commit = {"id": f"{len(self.names)}abcdefabcdef", "is_dirty": name == "start"}
            for path, content in (
                ("provenance.json", [{"commit": commit}]),
                ("tune/done.json", {"seconds": 90.0}),
                ("report/metrics.json", self.metrics),
            ):
                (workdir / path).parent.mkdir(parents=True, exist_ok=True)
                (workdir / path).write_text(json.dumps(content))
        return subprocess.CompletedProcess(arguments, status)


@pytest.fixture
def trainings(monkeypatch):
    trainings = Trainings()
    monkeypatch.setattr(runs.subprocess, "run", trainings)
    return trainings


def write_info(folder, checksum="0" * 64, source="embedded recording, seed 1"):
    shard = dataset_info.ShardInfo("train-00000-of-00001.tfrecord", 4, 10, checksum)
    split = dataset_info.SplitInfo(source, 4, 4, {"a": 4}, (shard,), {}, {})
    info = dataset_info.DatasetInfo(crop.CropSpec(64, 300.0), 3, {"train": split})
    folder.mkdir(exist_ok=True)
    dataset_info.write_info(str(folder), info)
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write_info(tmp_path / "records")


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
        command.main(commands.parse(command.define_flags, ["", *arguments, *more]))

    return run


def result(tmp_path, row):
    return json.loads((tmp_path / "results" / row / "seed-1.json").read_text())


def test_rows_share_their_start_and_are_run_once(trainings, run, tmp_path, capsys):
    run("best,with_labels")
    assert trainings.names == ["start", "best", "with_labels"]
    with_labels = result(tmp_path, "with_labels")
    assert with_labels["commit"] == "1abcdef+, 3abcdef"
    assert with_labels["flags"]["tune_method"] == "labels"
    assert with_labels["minutes"] == {"tune": 1.5}
    assert "| with labels |  | 9.00 |" in (tmp_path / "page.md").read_text()
    run("best,with_labels")
    assert len(trainings.names) == 3
    assert "best, seed 1: its result is there, made at commit 1abcdef+, 2abcdef." in (
        capsys.readouterr().out
    )


def test_other_flags_are_another_result(trainings, run, tmp_path):
    size = tmp_path / "size.flags"
    for steps in (6, 7):
        size.write_text(f"--tune_steps={steps}\n")
        run("best", f"--size_flags={size}")
        assert result(tmp_path, "best")["flags"]["tune_steps"] == steps
    assert trainings.names == ["start", "best", "best"]


def test_flags_without_an_effect_and_new_ones_are_no_other_result(trainings, run, tmp_path):
    run("best")
    path = tmp_path / "results" / "best" / "seed-1.json"
    older = json.loads(path.read_text())
    older["flags"]["checkpoint_steps"] = 7
    # As if the flag had come later.
    del older["flags"]["tune_average"]
    path.write_text(json.dumps(older))
    run("best")
    assert trainings.names == ["start", "best"]
    older["flags"]["tune_keep_share"] = 0.5
    path.write_text(json.dumps(older))
    run("best", f"--workdir={tmp_path / 'again'}")
    assert trainings.names == ["start", "best", "start", "best"]


def test_another_size_needs_another_folder(trainings, run, tmp_path):
    run("best")
    before = result(tmp_path, "best")
    size = tmp_path / "size.flags"
    size.write_text("--tune_steps=7\n")
    with pytest.raises(ValueError, match=r"size.flags.* with \[\]: give another --results"):
        run("best", f"--size_flags={size}")
    assert result(tmp_path, "best") == before
    run("best", f"--size_flags={size}", f"--results={tmp_path / 'more'}")
    assert trainings.names == ["start", "best", "best"]


def test_other_records_need_another_folder(trainings, run, tmp_path, data_dir):
    run("best")
    before = result(tmp_path, "best")
    write_info(data_dir, source="embedded recording, seed 7")
    with pytest.raises(ValueError, match="give another --results") as raised:
        run("best,with_labels")
    assert str(raised.value).count("give another") == 1
    assert result(tmp_path, "best") == before
    run("best", f"--results={tmp_path / 'more'}")
    assert trainings.names == ["start", "best", "best"]


def test_records_are_the_same_whatever_their_bytes(tmp_path):
    first, second, other = (
        runs.describe_records(write_info(tmp_path / name, **changed))
        for name, changed in (
            ("first", {"checksum": "1" * 64}),
            ("second", {"checksum": "2" * 64}),
            ("other", {"source": "embedded recording, seed 7"}),
        )
    )
    assert first == second != other


def test_records_without_labels_run_and_have_no_page(trainings, run, tmp_path, capsys):
    trainings.metrics = {}
    run("best,with_labels")
    assert trainings.names == ["start", "best", "with_labels"]
    assert "metrics" in result(tmp_path, "with_labels")
    assert "No results of labeled records" in capsys.readouterr().out
    assert not (tmp_path / "page.md").exists()


def test_a_row_that_fails_does_not_stop_the_others(trainings, run, tmp_path):
    trainings.statuses["best"] = 1
    with pytest.raises(ValueError, match=r"1 did not: best, seed 1: .* ended with 1, see .*log"):
        run("best,with_labels")
    assert trainings.names == ["start", "best", "with_labels"]
    assert "with labels" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("seeds", ["one", "1,", "1.5", "-1"])
def test_seeds_that_are_no_integers(trainings, run, seeds):
    with pytest.raises(ValueError, match="--seeds: expected integers"):
        run("best", f"--seeds={seeds}")
    assert trainings.names == []


def test_unknown_rows(trainings, run):
    with pytest.raises(ValueError, match=r"--only: .* received \['worst'\]"):
        run("best,worst")
    assert trainings.names == []
