"""The command `tfhand.train` on two workers, whole, and when they were started differently."""

import json

import keras

from tests import two_workers
from tfhand import commands, train

SMALL = (
    "--recording_samples=24", "--image_size=32", "--features=8", "--growth=4", "--depth=1",
    "--prior_steps=2", "--prior_batch=16", "--init_steps=2", "--init_batch=4", "--tune_steps=2",
    "--tune_batch=4", "--tune_synthetic_batch=4", "--tune_fit_steps=2", "--tune_rounds=1",
    "--worker_timeout=400", "--distribution=multi_worker", "--init_from=none",
    "--precision=float32",
)  # fmt: skip


def train_both(workdir, *flags):
    """Runs the command on both workers; flags are a list for each of them."""
    common = ("-m", "tfhand.train", "--flagfile=configs/selfsup.flags", *SMALL)
    more = flags or ([], [])
    return two_workers.run(
        lambda index: (*common, f"--workdir={workdir}", *more[index]), timeout=600
    )


def test_a_whole_run(tmp_path):
    workdir = tmp_path / "run"
    (chief, chief_text), (other, other_text) = train_both(workdir)
    assert (chief, other) == (0, 0), chief_text[-3000:] + other_text[-3000:]
    for name in (
        "recording/dataset_info.json", "prior/done.json", "init/done.json", "tune/done.json",
        "pose.keras", "export/pose/1/saved_model.pb", "export/prior/1/saved_model.pb",
        "report/metrics.json", "report/provenance.json", "report/table.md",
    ):  # fmt: skip
        assert (workdir / name).is_file(), name
    assert not list(workdir.glob(".token*"))
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    assert {"synthetic_only", "self_supervised"} <= set(metrics)
    assert keras.models.load_model(workdir / "pose.keras").count_params() > 0
    argv = ["train", f"--flagfile={workdir / 'resolved.flags'}"]
    values = commands.parse(train.define_flags, argv)
    assert (values.workdir, values.distribution) == (str(workdir), "multi_worker")
    # Only the chief makes, scores and reports, once.
    assert "Report: " in chief_text and "Report: " not in other_text
    assert len(json.loads((workdir / "report" / "provenance.json").read_text())) == 1


def test_other_flags_end_both(tmp_path):
    results = train_both(tmp_path / "run", ["--tune_steps=4"], ["--tune_steps=5"])
    assert [status for status, _ in results] == [1, 1], results
    for _, text in results:
        (line,) = [line for line in text.splitlines() if line.startswith("train: ")]
        assert line == (
            "train: Expected the same flags on all workers, found --tune_steps 4 of worker 0 and 5 "
            "of worker 1: start the same command on all machines."
        )
        assert "Traceback" not in text
    assert not (tmp_path / "run").exists()
