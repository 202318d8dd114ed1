"""The command `tfhand.train` on two workers, whole."""

import json

import keras

from tests import two_workers
from tfhand import commands, train

SMALL = (
    "--recording_samples=24", "--image_size=32", "--features=8", "--growth=4", "--depth=1",
    "--prior_steps=2", "--prior_batch=16", "--init_steps=2", "--init_batch=4", "--tune_steps=2",
    "--tune_batch=4", "--tune_synthetic_batch=4", "--tune_fit_steps=2",
    "--tune_most_residual_mm=999", "--tune_rounds=1",
    "--init_from=none", "--distribution=multi_worker", "--notest_fit",
)  # fmt: skip


def test_from_nothing_to_the_report(tmp_path):
    workdir = tmp_path / "run"
    command = (
        "-m", "tfhand.train", "--flagfile=configs/selfsup.flags", *SMALL, f"--workdir={workdir}",
    )  # fmt: skip
    (chief, chief_text), (other, other_text) = two_workers.run(lambda index: command, timeout=600)
    assert (chief, other) == (0, 0), chief_text[-3000:] + other_text[-3000:]
    for name in (
        "recording/dataset_info.json", "prior/done.json", "init/done.json",
        "tune/round-1/fits.npz", "tune/done.json", "pose.keras", "export/pose/1/saved_model.pb",
        "export/prior/1/saved_model.pb", "report/metrics.json", "report/provenance.json",
        "report/table.md",
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
    assert len(json.loads((workdir / "report" / "provenance.json").read_text())) == 1
