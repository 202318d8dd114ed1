"""The command `tfhand.evaluate`, on text files and on records."""

import json

import keras
import numpy as np
import pytest

from data_prep import records
from tfhand import commands, evaluate
from tfhand.evaluation import report
from tfhand.fitting import batched_fits, kinematic_fit
from tfhand.geometry.crop import CropSpec
from tfhand.hand import skeleton

SPEC = CropSpec(image_size=16, cube_mm=300.0)
FLOAT_MM = 1e-3


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        commands.run(evaluate.main, evaluate.define_flags, ["evaluate.py", *map(str, arguments)])
    return stopped.value.code


@pytest.fixture(scope="module")
def text_files(tmp_path_factory):
    """Labels on the optical axis, and two methods 4 and 25 mm behind them."""
    folder = tmp_path_factory.mktemp("text")
    uvd = np.tile([320.0, 240.0, 700.0], (6, 14, 1))
    for name, offset_mm in (("labels", 0), ("near", 4), ("far", 25)):
        shifted = uvd + [0, 0, offset_mm]
        np.savetxt(folder / f"{name}.txt", shifted.reshape(6, -1), fmt="%.3f")
    return folder


@pytest.fixture(scope="module")
def constant_model(tmp_path_factory):
    """A network that always answers with the same spheres, and those spheres."""
    spheres_mm = np.random.default_rng(4).normal(size=(41, 3)).astype(np.float32) * 40
    inputs = keras.Input((16, 16, 1))
    dense = keras.layers.Dense(123, kernel_initializer="zeros")
    flat = dense(keras.layers.Flatten()(inputs))
    # As in `pose_network`, where it tells the crop's cube.
    to_mm = keras.layers.Rescaling(150.0, name="spheres_to_mm")
    outputs = {
        "spheres_mm": to_mm(keras.layers.Reshape((41, 3))(flat)),
        "spread_mm": keras.layers.Dense(41, kernel_initializer="zeros")(flat),
    }
    model = keras.Model(inputs, outputs)
    dense.set_weights([dense.get_weights()[0], spheres_mm.reshape(-1) / 150.0])
    path = tmp_path_factory.mktemp("model") / "pose.keras"
    model.save(path)
    return path, spheres_mm


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, constant_model):
    """Records whose labels are the network's answer; view 1 is off by 6 mm."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(5)
    joints_mm = constant_model[1][skeleton.SPHERE_FROM_JOINT]
    plan = records.SplitPlan(folder, "test", 2, "test", SPEC, num_views=2)
    with records.ShardWriter(plan) as writer:
        for frame in range(5):
            center_mm = rng.normal([0, 0, 700], 30, (2, 3))
            depth_mm = np.full((2, 16, 16), SPEC.far_mm)
            depth_mm[:, 5:10, 5:10] = 0.0
            labels_mm = joints_mm + center_mm[:, np.newaxis]
            labels_mm[1, :, 1] += 6.0
            writer.write(
                {
                    "depth_mm": depth_mm,
                    "center_mm": center_mm,
                    "intrinsics": np.tile([588.0, 587.0, 320.0, 240.0], (2, 1)),
                    "ref_from_view": np.tile(np.eye(4), (2, 1, 1)),
                    "subject": "a",
                    "frame": frame,
                    "joints_mm": labels_mm,
                }
            )
    return folder


def test_text_files_are_scored(text_files, tmp_path, capsys):
    output = tmp_path / "scores.json"
    predictions = f"{text_files / 'near.txt'},{text_files / 'far.txt'}"
    status = run(
        f"--labels={text_files / 'labels.txt'}",
        f"--predictions={predictions}",
        f"--output={output}",
        f"--report_dir={tmp_path / 'report'}",
    )
    assert status == 0
    content = json.loads(output.read_text())
    assert content["near"]["mean_joint_error_mm"] == pytest.approx(4)
    assert content["far"]["success_rate"] | {"20": 0.0, "40": 1.0} == content["far"]["success_rate"]
    table = capsys.readouterr().out
    assert "| near | 6 | 4.00 |" in table
    assert (tmp_path / "report" / "table.md").read_text() == table


def test_a_model_is_scored_on_records(constant_model, data_dir, tmp_path, capsys):
    folder = tmp_path / "report"
    status = run(f"--model={constant_model[0]}", f"--data_dir={data_dir}", f"--report_dir={folder}")
    assert status == 0
    scores = report.read_metrics(folder / "metrics.json")
    assert scores["pose"].mean_joint_error_mm == pytest.approx(0, abs=FLOAT_MM)
    assert scores["pose"].num_frames == 5
    assert scores["pose_all_views"].mean_joint_error_mm == pytest.approx(3, abs=FLOAT_MM)
    assert (folder / "worst_views.png").is_file()
    assert "| pose | 5 | 0.00 |" in capsys.readouterr().out


def test_another_view_and_name_can_be_chosen(constant_model, data_dir, tmp_path):
    output = tmp_path / "scores.json"
    status = run(
        f"--model={constant_model[0]}",
        f"--data_dir={data_dir}",
        "--view=1",
        "--name=ours",
        f"--output={output}",
    )
    assert status == 0
    content = json.loads(output.read_text())
    assert content["ours"]["mean_joint_error_mm"] == pytest.approx(6, abs=FLOAT_MM)


def test_a_model_beside_published_files(constant_model, data_dir, text_files, tmp_path):
    ours = tmp_path / "ours.txt"
    model = (f"--model={constant_model[0]}", f"--data_dir={data_dir}")
    assert run(*model, f"--predictions_output={ours}", f"--report_dir={tmp_path / 'a'}") == 0
    # What was written is scored like any published file: against itself, and from the model.
    status = run(
        *model, f"--labels={ours}", f"--predictions={ours}", f"--report_dir={tmp_path / 'b'}"
    )
    assert status == 0
    scores = report.read_metrics(tmp_path / "b" / "metrics.json")
    assert list(scores) == ["pose", "pose_common_center", "pose_all_views", "ours"]
    assert scores["ours"].num_frames == 5
    assert scores["ours"].mean_joint_error_mm == 0.0
    assert run(*model, "--name=near", *files(text_files)) == 1


def files(folder):
    return f"--labels={folder / 'labels.txt'}", f"--predictions={folder / 'near.txt'}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--model and --data_dir, or --labels and --predictions, or both"),
        (["--model=a.keras", "--labels=b.txt"], "found no --data_dir"),
        (["--labels=b.txt", "--predictions=c.txt", "--predictions_output=d"], "Expected --model"),
        (["--model=a.keras"], "found no --data_dir"),
        (["--labels=b.txt"], "found no --predictions"),
        (["--labels=b.txt", "--predictions=c.txt"], "found no file b.txt"),
        (["--model=a.keras", "--data_dir=OUT"], "found no file a.keras"),
        (["--model=MODEL", "--data_dir=OUT"], "OUT"),
        (["--model=MODEL", "--data_dir=DATA", "--split=train"], "train"),
        (["--model=MODEL", "--data_dir=DATA", "--view=2"], "views below 2, received [2]"),
        (["--model=MODEL", "--data_dir=DATA", "--wiew=1"], "'wiew'"),
    ],
)
def test_bad_input_gives_one_line(arguments, expected, constant_model, data_dir, capfd):
    known = {"MODEL": str(constant_model[0]), "DATA": str(data_dir)}
    for word, value in known.items():
        arguments = [argument.replace(word, value) for argument in arguments]
    assert run(*arguments) == 1
    # The progress bar ends in its own line.
    (line,) = [x for x in capfd.readouterr().err.splitlines() if x.startswith("evaluate: ")]
    assert expected in line


class Notes(list):
    """What was fitted, and how."""

    def __init__(self):
        super().__init__()
        self.configs = []


def fits_of(spheres_mm, residual_mm):
    """Returns fits to depth maps that the estimates explain up to 3 mm."""
    residuals = np.float32(residual_mm), np.full(len(spheres_mm), 3.0, np.float32)
    return kinematic_fit.FitResult(spheres_mm, *[None] * 3, *residuals, *[None] * 3)


@pytest.fixture
def moved_fits(monkeypatch):
    """Fits that are their start moved by 6 mm along y, and notes of what was fitted."""
    notes = Notes()

    def fit_samples(starts_mm, samples, config, shape=None):
        notes.configs.append(config)
        group = None if samples.group is None else samples.group.tolist()
        notes.append((samples.depth_mm.shape[:2], group))
        moved = np.median(starts_mm, axis=1) + np.float32([0.0, 6.0, 0.0])
        return fits_of(moved, len(moved) * [2.0])

    monkeypatch.setattr(batched_fits, "fit_samples", fit_samples)
    return notes


def test_a_fit_to_the_view_is_scored_in_its_place(constant_model, data_dir, tmp_path, moved_fits):
    output = tmp_path / "scores.json"
    path = f"--model={constant_model[0]}"
    arguments = (path, f"--data_dir={data_dir}", "--fit=view", f"--output={output}")
    assert run(*arguments, "--view=1", "--name=n") == 0
    # Labels of view 1 are 6 mm off. Fits start from means over crops turned by 0, 15, 15, 30 and
    # 30 degrees, and what this network answers does not turn with them.
    joints_mm = constant_model[1][skeleton.EVALUATION_SPHERES]
    shrunk = 1.0 - np.cos(np.radians([0.0, 15.0, 15.0, 30.0, 30.0])).mean()
    expected = (shrunk * np.linalg.norm(joints_mm[:, :2], axis=1)).mean()
    scores = report.read_metrics(output)
    assert abs(scores["n"].mean_joint_error_mm - expected) < FLOAT_MM
    # The views are no longer of one kind.
    assert "n_all_views" not in scores
    assert moved_fits == [((5, 1), [0] * 5)]


def test_a_fit_to_all_views_is_one_hand(constant_model, data_dir, tmp_path, moved_fits):
    output = tmp_path / "scores.json"
    path = f"--model={constant_model[0]}"
    assert run(path, f"--data_dir={data_dir}", "--fit=views", f"--output={output}", "--name=n") == 0
    assert moved_fits == [((5, 2), [0] * 5)]
    scores = report.read_metrics(output)
    assert np.isfinite(scores["n"].mean_joint_error_mm)


@pytest.mark.parametrize(
    ("fit_shape", "group", "free"),
    [("subject", [0] * 5, "all"), ("sample", None, "all"), ("mean", [0] * 5, "none")],
)
def test_whose_shape_fits_have(constant_model, data_dir, moved_fits, fit_shape, group, free):
    arguments = (f"--model={constant_model[0]}", f"--data_dir={data_dir}")
    assert run(*arguments, "--fit=view", f"--fit_shape={fit_shape}") == 0
    assert moved_fits == [((5, 1), group)]
    assert moved_fits.configs[0].free_shape == free


def test_a_shape_without_a_fit_is_refused(constant_model, data_dir, capsys):
    arguments = (f"--model={constant_model[0]}", f"--data_dir={data_dir}")
    assert run(*arguments, "--fit_shape=sample") == 1
    assert "beside --fit_shape" in capsys.readouterr().err


def test_a_fit_that_is_no_number_or_no_better_leaves_the_estimate(monkeypatch):
    def fit_samples(starts_mm, *arguments):
        fitted_mm = starts_mm[:, 0] + 1.0
        fitted_mm[1] = np.nan
        return fits_of(fitted_mm, [2.0, 2.0, 2.9])

    monkeypatch.setattr(batched_fits, "fit_samples", fit_samples)
    spheres_mm = np.random.default_rng(1).normal(size=(3, 1, 41, 3)).astype(np.float32)
    still = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1, 1))
    depth_mm = np.zeros([3, 1, 8, 8], np.float32)
    samples = kinematic_fit.Samples(depth_mm, still, np.zeros(3, int), SPEC)
    fitted = batched_fits.refine(spheres_mm, samples, None)
    np.testing.assert_allclose(fitted[0], spheres_mm[0] + 1.0, atol=FLOAT_MM)
    np.testing.assert_array_equal(fitted[1:], spheres_mm[1:])
