"""A recording in NYU's layout, whole: convert, calibrate, train a little, score."""

import json

import numpy as np
import pytest

from data_prep import records
from data_prep.nyu import command as nyu_command
from tests.data_prep import nyu_layout
from tfhand import commands, evaluate, train

FRAMES = {"train": 14, "test": 6}
# Without labels the cameras are found from where the hand goes: it has to go about.
UNLABELED_FRAMES = {"train": 36, "test": 36}
SMALL = (
    "--flagfile=configs/selfsup.flags", "--image_size=32", "--features=16", "--growth=8",
    "--prior_steps=4", "--prior_batch=16", "--init_steps=4", "--init_batch=8", "--tune_steps=4",
    "--tune_batch=4", "--tune_synthetic_batch=4", "--tune_fit_steps=3",
    "--notest_fit", "--precision=mixed_bfloat16",
)  # fmt: skip


def run(command, *arguments):
    return command.main(commands.parse(command.define_flags, ["command", *map(str, arguments)]))


@pytest.fixture(autouse=True, scope="module")
def without_the_real_frame():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFHAND_NYU_RESULTS", "absent")
        yield


def convert_and_train(root, init_from, *, annotation):
    frames = FRAMES if annotation else UNLABELED_FRAMES
    for seed, (split, count) in enumerate(frames.items(), start=21):
        nyu_layout.write_split(root / "dataset" / split, count, seed, annotation=annotation)
    data, workdir = root / "records", root / "run"
    run(
        nyu_command, f"--nyu_dir={root / 'dataset'}", f"--output_dir={data}", "--num_shards=2",
        "--image_size=32",
    )  # fmt: skip
    run(
        train, *SMALL, f"--data_dir={data}", f"--workdir={workdir}", f"--init_from={init_from}"
    )  # fmt: skip
    return data, workdir


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Records and working folder of a recording with labels."""
    return convert_and_train(tmp_path_factory.mktemp("annotated"), "none", annotation=True)


def test_with_annotation_it_is_scored(annotated, tmp_path):
    data, workdir = annotated
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    for name in ("synthetic_only", "self_supervised", "self_supervised_all_views"):
        # Four steps teach nothing: the joints of a hand lie within its crop.
        assert 5.0 < metrics[name]["mean_joint_error_mm"] < 120.0
    assert metrics["tune_fits"][0]["error_mm"] > 0.0
    output = tmp_path / "scores.json"
    run(
        evaluate, f"--model={workdir / 'pose.keras'}", f"--data_dir={data}", "--split=test",
        f"--output={output}",
    )  # fmt: skip
    scored = json.loads(output.read_text())["pose"]["mean_joint_error_mm"]
    np.testing.assert_allclose(scored, metrics["self_supervised"]["mean_joint_error_mm"], rtol=1e-4)


def test_without_any_label_it_is_trained_and_drawn(annotated, tmp_path):
    data, workdir = convert_and_train(tmp_path, annotated[1], annotation=False)
    splits = records.read_info(data).splits
    assert all(split.num_labelled == 0 for split in splits.values())
    metrics = json.loads((workdir / "report" / "metrics.json").read_text())
    assert "self_supervised" not in metrics
    assert "error_mm" not in metrics["tune_fits"][0]
    for name in ("samples.png", "samples_views.png"):
        assert (workdir / "report" / name).read_bytes()[:4] == b"\x89PNG"
    assert (workdir / "pose.keras").is_file()
