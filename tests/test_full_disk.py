"""Full disks and closed folders: one clear error, old files stay, and nothing is left over."""

import functools
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from data_prep import inspect, records
from data_prep.nyu import calibration, calibration_file
from data_prep.records import dataset_info
from data_prep.synthetic import embedded, sequences
from tests import bad_luck
from tfhand import commands, evaluate, export, files, predict
from tfhand.evaluation import metrics, published, report
from tfhand.fitting import pseudo_labels
from tfhand.geometry.crop import CropSpec
from tfhand.models import exporting, pose_network, pose_prior, runtimes, weights
from tfhand.runs import provenance, workdir

pytestmark = pytest.mark.usefixtures("loaded_once")

SPEC = CropSpec(image_size=16)


@pytest.fixture
def folder():
    """A folder that other users may read: pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="tfhand-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@functools.cache
def small_network():
    config = pose_network.PoseNetworkConfig(32, 8, features=4, growth=2)
    return pose_network.build_inference_network(pose_network.build_pose_network(config))


@functools.cache
def small_prior():
    palm = np.eye(11, 3).tolist()
    return pose_prior.PosePrior(pose_prior.PosePriorConfig(palm, latent_size=4, hidden_size=8))


def make_sample(frame):
    depth = np.random.default_rng(frame).uniform(-100.0, 100.0, (1, 16, 16))
    return {
        "depth_mm": depth.astype(np.float32),
        "center_mm": [[0.0, 0.0, 700.0]],
        "intrinsics": [[588.0, 588.0, 320.0, 240.0]],
        "ref_from_view": np.eye(4)[None],
        "subject": "s",
        "frame": frame,
    }


def write_shards(path):
    plan = records.SplitPlan(path, "train", 2, "t", SPEC, num_views=1, overwrite=True)
    with records.ShardWriter(plan) as writer:
        for frame in range(20):
            writer.write(make_sample(frame))


def write_info(path):
    info = records.DatasetInfo(SPEC, 1, {})
    for i in range(9):
        split = records.SplitInfo("t", 1, 0, {}, (), {}, {})
        info.splits[f"split{i}"] = split
    dataset_info.write_info(path, info)


def write_calibration(path):
    unknown = np.full(9, np.nan)
    cameras = calibration.Calibration(np.tile(np.eye(4), (9, 1, 1)), None, unknown, unknown, "t")
    calibration_file.save_calibration(path / "cameras.json", cameras)


def write_network(path):
    with files.replacing(path / "pose.keras") as partial:
        small_network().save(partial)


def scores():
    uvd = np.random.default_rng(0).uniform(100.0, 700.0, (4, 14, 3))
    return {"a": metrics.score(uvd, uvd + 5.0)}


def write_predictions(path):
    published.write_joints_uvd(path / "a.txt", np.full((9, 14, 3), 700.0), np.arange(9))


def write_fits(path):
    fits = pseudo_labels.PseudoLabels(*[np.random.default_rng(0).normal(size=(9, 9))] * 7)
    pseudo_labels.save_pseudo_labels(path / "fits.npz", fits)


def write_stage(path):
    with workdir.Workdir(path).making("prior", {"name": "x" * 1000}):
        pass


WRITERS = {
    "shards": write_shards,
    "dataset_info": write_info,
    "calibration": write_calibration,
    "network": write_network,
    "weights": lambda path: weights.save_weights(small_network(), path / "a.weights.h5"),
    "prior": lambda path: pose_prior.save_prior(small_prior(), path),
    "SavedModel": lambda path: exporting.export_pose(small_network(), str(path / "1"), 300.0),
    "LiteRT": lambda path: runtimes.export_file(
        small_network(), path / "pose.tflite", 300.0, "litert"
    ),
    "report": lambda path: report.write_report(path / "report", scores()),
    "scores": lambda path: report.write_metrics(path / "scores.json", scores()),
    "predictions": write_predictions,
    "stage": write_stage,
    "start": lambda path: provenance.record_launch(path, {"name": "x" * 1000}),
    "fits": write_fits,
}
# They take seconds.
ONCE = {"SavedModel", "LiteRT"}


@pytest.mark.parametrize("bad_luck_of", [lambda _: bad_luck.full_disk(), bad_luck.closed_folder])
@pytest.mark.parametrize("name", WRITERS)
def test_writers(folder, name, bad_luck_of):
    write = WRITERS[name]
    if name not in ONCE:
        write(folder)
    before = bad_luck.content_of(folder)
    with pytest.raises(OSError) as refused, bad_luck_of(folder):
        write(folder)
    message = commands._one_line(refused.value)
    assert re.match(r"(File too large|Permission denied): ", message), message
    assert str(folder) in message and ".partial" not in message
    assert bad_luck.content_of(folder) == before
    assert not list(folder.rglob(".partial*"))
    if name not in ONCE:
        write(folder)


@pytest.fixture(scope="module")
def short_batches():
    """A sequence of the recordings here has two frames at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "BATCH", 2)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, short_batches):
    path = tmp_path_factory.mktemp("inputs")
    small_network().save(path / "pose.keras")
    argv = ["--num_samples=8", "--num_shards=1", "--image_size=32"]
    argv = ["synthetic", f"--output_dir={path / 'data'}", *argv]
    embedded.main(commands.parse(embedded.define_flags, argv))
    rows, columns = np.mgrid[:96, :128]
    ball = np.hypot(rows - 48, columns - 64) < 40
    np.save(path / "depth.npy", np.where(ball, 700.0, 0.0).astype(np.float32))
    return path


def run(command, *arguments):
    commands.run(command.main, command.define_flags, ["command", *arguments])


COMMANDS = {
    "synthetic": (embedded, "--output_dir={out}/new", "--num_samples=8", "--image_size=32"),
    "inspect": (inspect, "--data_dir={inputs}/data", "--output={out}/a.json"),
    "sheet": (inspect, "--data_dir={inputs}/data", "--sheet={out}/a.png"),
    "predict": (predict, "--model={inputs}/pose.keras", "--depth={inputs}/depth.npy",
                "--intrinsics=500,500,64,48", "--output={out}/a.json"),
    "overlay": (predict, "--model={inputs}/pose.keras", "--depth={inputs}/depth.npy",
                "--intrinsics=500,500,64,48", "--overlay={out}/a.png"),
    "scores": (evaluate, "--model={inputs}/pose.keras", "--data_dir={inputs}/data",
               "--output={out}/a.json"),
    "report": (evaluate, "--model={inputs}/pose.keras", "--data_dir={inputs}/data",
               "--report_dir={out}/report"),
    "predictions": (evaluate, "--model={inputs}/pose.keras", "--data_dir={inputs}/data",
                    "--predictions_output={out}/a.txt"),
    "export": (export, "--model={inputs}/pose.keras", "--output_dir={out}/export"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_say_it_in_one_line(folder, inputs, name, capsys):
    command, *arguments = COMMANDS[name]
    arguments = [text.format(out=folder, inputs=inputs) for text in arguments]
    with pytest.raises(SystemExit) as stopped, bad_luck.full_disk():
        run(command, *arguments)
    assert stopped.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"command: File too large: {folder}"), error
    assert bad_luck.content_of(folder) == {}
    if name == "export":
        return
    with pytest.raises(SystemExit) as stopped:
        run(command, *arguments)
    assert stopped.value.code == 0 and bad_luck.content_of(folder)
