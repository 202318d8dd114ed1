"""A recording in NYU's layout, whole: convert, calibrate, train a little, score."""

import json

import keras
import numpy as np

from data_prep import records
from data_prep.nyu import command as nyu_command
from tests.data_prep import nyu_layout
from tfhand import commands, evaluate, train
from tfhand.geometry import crop
from tfhand.runs import report
from tfhand.runs import workdir as workdirs

# The cameras of the frames without labels are found from where the hand goes: it has to go about.
UNLABELED, LABELED = 16, 4
SMALL = (
    "--flagfile=configs/paper.flags", "--image_size=32", "--features=8", "--growth=4", "--depth=1",
    "--init_from=none", "--prior_steps=2", "--prior_batch=16", "--init_steps=2", "--init_batch=4",
    "--tune_method=fit", "--tune_steps=4", "--tune_rounds=1", "--tune_batch=4",
    "--tune_synthetic_batch=4", "--tune_fit_steps=3",
    "--tune_most_residual_mm=999", "--notest_fit", "--precision=mixed_bfloat16",
)  # fmt: skip


def run(command, *arguments):
    return command.main(commands.parse(command.define_flags, ["command", *map(str, arguments)]))


def test_frames_without_labels_train_and_frames_with_labels_score(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHAND_NYU_RESULTS", "absent")
    dataset, data, workdir = (tmp_path / name for name in ("dataset", "records", "run"))
    nyu_layout.write_split(dataset / "train", UNLABELED, 21, annotation=False)
    nyu_layout.write_split(dataset / "test", LABELED, 22)
    run(
        nyu_command, f"--nyu_dir={dataset}", f"--output_dir={data}", "--num_shards=2",
        "--image_size=32",
    )  # fmt: skip
    splits = records.read_info(data).splits
    assert (splits["train"].num_labelled, splits["test"].num_labelled) == (0, LABELED)
    # The network that comes with the package finds the hands.
    assert 5.0 < splits["test"].extra["median_center_to_palm_mm"] < 60.0
    run(train, *SMALL, f"--data_dir={data}", f"--workdir={workdir}")
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    for name in ("synthetic_only", "self_supervised", "self_supervised_all_views"):
        # A few steps teach nothing: the joints of a hand lie within its crop.
        assert 5.0 < metrics[name]["mean_joint_error_mm"] < 120.0
    assert "error_mm" not in metrics["tune_fits"][0]
    output = tmp_path / "scores.json"
    run(
        evaluate, f"--model={workdir / 'pose.keras'}", f"--data_dir={data}", "--split=test",
        f"--output={output}",
    )  # fmt: skip
    scored = json.loads(output.read_text())["pose"]["mean_joint_error_mm"]
    np.testing.assert_allclose(scored, metrics["self_supervised"]["mean_joint_error_mm"], rtol=1e-4)
    network = keras.models.load_model(workdir / "pose.keras")
    check_report_without_labels(workdir, network, records.load_dataset(data, "train"))


def check_report_without_labels(workdir, network, samples):
    """There is nothing to score: the samples are drawn."""
    test = report.TestSplit(samples, crop.CropSpec(32, 300.0), with_fit=False)
    predicted, scores = report.predict_and_score("self_supervised", network, test)
    assert not scores
    run_folder = workdirs.Workdir(workdir)
    report.write_report(run_folder, workdir / "prior", network, test, predicted, scores)
    assert "self_supervised" not in json.loads((workdir / "report" / "metrics.json").read_text())
    for name in ("samples.png", "samples_views.png"):
        assert (workdir / "report" / name).read_bytes()[:4] == b"\x89PNG"
