"""The command `tfhand.train`, whole, on a tiny embedded recording."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep import records
from tests import two_workers
from tfhand import commands, files, train
from tfhand.evaluation import report
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.runs import preemption

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
    "--recording_samples=24", "--image_size=32", "--features=8", "--growth=4", "--depth=1",
    "--prior_steps=4", "--prior_batch=16", "--init_steps=4", "--init_batch=4", "--tune_steps=4",
    "--tune_batch=4", "--tune_synthetic_batch=4", "--tune_fit_steps=3",
    "--tune_most_residual_mm=999", "--tune_rounds=1",
    "--checkpoint_steps=3", "--init_from=none", "--notest_fit", "--precision=float32",
)  # fmt: skip


def start_process(*arguments, cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # The real frame beside the checkout has its own test.
    environment["TFHAND_NYU_RESULTS"] = "absent"
    command = [sys.executable, "-m", "tfhand.train", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **pipes)


def run_process(*arguments, cwd=ROOT):
    process = start_process(*arguments, cwd=cwd)
    output = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, *output)


def end_process(workdir, sign, number, *arguments):
    """Starts the command and sends a signal as soon as a file is there; returns its status."""
    process = start_process(*arguments, f"--workdir={workdir}")
    while process.poll() is None and not list(workdir.glob(sign)):
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The working directory of a run from nothing."""
    workdir = tmp_path_factory.mktemp("train") / "run"
    # Named from the checkout.
    relative = os.path.relpath(workdir, ROOT)
    result = run_process(
        "--flagfile=configs/selfsup.flags", *SMALL, "--test_fit", "--deterministic",
        f"--workdir={relative}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    assert "self_supervised" in result.stdout
    # One line at every point of the curves.
    for name in ("prior", "network", "round-1"):
        for step in (3, 4):
            assert f"{name}: step {step} of 4, " in result.stdout
    return workdir


def test_leaves_the_promised_files(finished):
    workdir = finished
    for name in (
        "pose.keras", "export/pose/1/saved_model.pb", "export/prior/1/saved_model.pb",
        "resolved.flags", "report/metrics.json", "report/table.md", "report/success_curves.png",
    ):  # fmt: skip
        assert (workdir / name).is_file(), name
    assert list((workdir / "init" / "logs").rglob("events.*"))
    assert list((workdir / "tune" / "logs").rglob("events.*"))
    assert not list(workdir.rglob("backup"))
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    for name in ("synthetic_only", "self_supervised", "self_supervised_fitted"):
        assert 0.0 < metrics[name]["mean_joint_error_mm"] < 300.0
        assert {"20", "40"} <= set(metrics[name]["success_rate"])
    (fits,) = metrics["tune_fits"]
    # 15 % of 19 fits are left out.
    assert fits["samples"] == 19
    assert 15 <= fits["kept"] <= 17


def test_models_give_the_reported_estimates(finished):
    workdir = finished
    network = keras.models.load_model(workdir / "pose.keras")
    exported = tf.saved_model.load(str(workdir / "export" / "pose" / "1"))
    errors, differences = [], []
    for sample in records.load_dataset(workdir / "recording", "test"):
        depth = sample["depth_mm"][:1]
        estimate = network(crop.normalize(depth, 300.0))["spheres_mm"]
        served = exported.signatures["serving_default"](depth)["spheres_mm"]
        differences.append(np.abs(served - estimate).max())
        truth = sample["joints_mm"][0] - sample["center_mm"][0]
        truth = truth.numpy()[skeleton.EVALUATION_JOINTS]
        found = estimate.numpy()[0, skeleton.EVALUATION_SPHERES]
        errors.append(np.linalg.norm(found - truth, axis=-1))
    # float32 of values up to 150 mm.
    assert max(differences) < 1e-3
    scores = report.read_metrics(workdir / "report" / "metrics.json")
    # The estimates above are of crops that all views agree on.
    reported = scores["self_supervised_common_center"]
    np.testing.assert_allclose(np.mean(errors), reported.mean_joint_error_mm, rtol=1e-4)


def weights_of(path):
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def test_killed_in_both_trainings_it_ends_the_same(finished, tmp_path, read_curves):
    """Bit by bit: weights, scores and curves, pictures included.

    The whole run takes deterministic operations only, this one those that TensorFlow prefers. The
    recording is that of the whole run; what becomes of one that was cut off has its own test.
    """
    workdir = tmp_path / "killed"
    shutil.copytree(finished / "recording", workdir / "recording")
    for sign, number, status in (
        ("init/backup/network/ckpt-3.index", signal.SIGTERM, preemption.EXIT_PREEMPTED),
        ("tune/backup/round-1/ckpt-3.index", signal.SIGKILL, -signal.SIGKILL),
    ):
        arguments = ("--flagfile=configs/selfsup.flags", *SMALL)
        assert end_process(workdir, sign, number, *arguments) == status, sign
    stages = [workdir / stage for stage in ("recording", "prior", "init")]
    done = {path: path.stat().st_mtime_ns for stage in stages for path in stage.rglob("*")}
    # The flags that were written start it again from anywhere.
    (tmp_path / "elsewhere").mkdir()
    resolved = f"--flagfile={workdir / 'resolved.flags'}"
    result = run_process(resolved, cwd=tmp_path / "elsewhere")
    assert result.returncode == 0, result.stderr[-4000:]
    assert "Going on from step 3" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert not list((tmp_path / "elsewhere").iterdir())
    for name in ("prior/prior.weights.h5", "init/pose.weights.h5", "tune/pose.weights.h5"):
        expected, found = weights_of(finished / name), weights_of(workdir / name)
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=f"{name}: {key}")
    expected, found = (
        json.loads((folder / "report" / "metrics.json").read_text())
        for folder in (finished, workdir)
    )
    # What the whole run says of fits to the test split, which takes long, has no counterpart.
    assert found == {name: value for name, value in expected.items() if "_fitted" not in name}
    for stage in ("prior", "init", "tune"):
        assert read_curves(workdir / stage / "logs") == read_curves(finished / stage / "logs")
    first, *_, last = starts = starts_of(workdir)
    assert len(starts) == 3
    assert first["time"] < last["time"]
    assert first["flags"] | {"workdir": str(workdir)} == last["flags"]


def test_two_workers_train_as_one_run(finished, tmp_path):
    """Everything but the recording, from nothing to the report."""
    workdir = tmp_path / "run"
    command = (
        "-m", "tfhand.train", "--flagfile=configs/selfsup.flags", *SMALL,
        "--distribution=multi_worker", f"--data_dir={finished / 'recording'}",
        f"--workdir={workdir}", "--prior_steps=2", "--init_steps=2", "--tune_steps=2",
        "--tune_fit_steps=2",
    )  # fmt: skip
    (chief, chief_text), (other, other_text) = two_workers.run(lambda index: command, timeout=600)
    assert (chief, other) == (0, 0), chief_text[-3000:] + other_text[-3000:]
    for name in (
        "prior/done.json", "init/done.json", "tune/round-1/fits.npz", "tune/done.json",
        "pose.keras", "export/pose/1/saved_model.pb", "export/prior/1/saved_model.pb",
        "report/metrics.json", "report/provenance.json", "report/table.md",
    ):  # fmt: skip
        assert (workdir / name).is_file(), name
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    assert {"synthetic_only", "self_supervised"} <= set(metrics)
    assert keras.models.load_model(workdir / "pose.keras").count_params() > 0
    argv = ["train", f"--flagfile={workdir / 'resolved.flags'}"]
    values = commands.parse(train.define_flags, argv)
    assert (values.workdir, values.distribution) == (str(workdir), "multi_worker")
    # Only the chief makes, scores and reports, once.
    assert "Report: " in chief_text and "Report: " not in other_text
    assert len(starts_of(workdir)) == 1


def starts_of(workdir):
    """What the report says of every start of a run."""
    return json.loads((workdir / "report" / "provenance.json").read_text())


def test_report_says_what_the_run_was_made_from(finished):
    made_from = starts_of(finished)[0]
    assert {"python", "tensorflow", "keras", "tensorflow_probability", "tfhand"} <= set(
        made_from["versions"]
    )
    assert made_from["flags"]["tune_steps"] == 4 and made_from["seed"] == 1
    shards = sorted((finished / "recording").glob("*.tfrecord"))
    assert {p.name for p in shards} | {"dataset_info.json"} == set(made_from["data"])
    for name, checksum in made_from["data"].items():
        content = (finished / "recording" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum
    if made_from["commit"] is not None:
        assert len(made_from["commit"]["id"]) == 40
        assert isinstance(made_from["commit"]["is_dirty"], bool)


def stop(capsys, *arguments):
    """Runs the command on bad input in this process; returns the line that it ends with."""
    with pytest.raises(SystemExit) as stopped:
        commands.run(train.main, train.define_flags, ["train.py", *map(str, arguments)])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("train: ")]
    assert len(lines) == 1
    return lines[0]


def test_misspelt_flag(tmp_path, capsys):
    assert "tune_stepps" in stop(capsys, f"--workdir={tmp_path / 'w'}", "--tune_stepps=3")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("stage", ["prior", "init", "tune"])
def test_other_settings(finished, capsys, stage):
    kept = [(finished / name).read_bytes() for name in ("resolved.flags", "provenance.json")]
    line = stop(capsys, *SMALL, f"--workdir={finished}", f"--{stage}_steps=5")
    assert f"{stage} was made with steps=4 (now 5)" in line
    # The refused flags are not those that repeat the run.
    found = [(finished / name).read_bytes() for name in ("resolved.flags", "provenance.json")]
    assert found == kept


def test_two_runs_in_one_workdir(finished, capsys):
    with files.lock_folder(finished, lock=".lock"):
        line = stop(capsys, *SMALL, f"--workdir={finished}")
    assert line == f"train: Another process is training in {finished}."


def test_missing_data_dir(tmp_path, capsys):
    line = stop(capsys, f"--workdir={tmp_path / 'w'}", f"--data_dir={tmp_path / 'nowhere'}")
    assert "nowhere" in line


def test_empty_data_dir(tmp_path, capsys):
    (tmp_path / "void").mkdir()
    line = stop(capsys, f"--workdir={tmp_path / 'w'}", f"--data_dir={tmp_path / 'void'}")
    assert "void" in line


@pytest.mark.parametrize("split", ["train", "test"])
def test_truncated_shard_is_found_before_training(finished, tmp_path, capsys, split):
    data = tmp_path / "cut"
    shutil.copytree(finished / "recording", data)
    shard = sorted(data.glob(f"{split}-*.tfrecord"))[1]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    line = stop(capsys, *SMALL, f"--workdir={tmp_path / 'w'}", f"--data_dir={data}")
    assert shard.name in line
    assert not (tmp_path / "w" / "prior").exists()


def test_records_of_another_image_size(finished, tmp_path, capsys):
    data = finished / "recording"
    line = stop(capsys, f"--workdir={tmp_path / 'w'}", f"--data_dir={data}", "--image_size=64")
    assert "64 px" in line
    assert "32 px" in line


def test_missing_initialization(tmp_path, finished, capsys):
    line = stop(
        capsys, *SMALL, f"--workdir={tmp_path / 'w'}", f"--data_dir={finished / 'recording'}",
        f"--init_from={tmp_path / 'nowhere'}",
    )  # fmt: skip
    assert "nowhere" in line
    assert not (tmp_path / "nowhere").exists()


def test_more_devices_than_there_are(tmp_path, capsys):
    line = stop(capsys, f"--workdir={tmp_path / 'w'}", "--num_devices=99")
    assert "99" in line
