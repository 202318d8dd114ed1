"""The inspection command on a small folder."""

import json

import numpy as np
import pytest
from PIL import Image

from data_prep import inspect, records
from tfhand import commands
from tfhand.geometry.crop import CropSpec

SPEC = CropSpec(image_size=16, cube_mm=300.0)


def make_sample(frame, labelled):
    depth = np.full((2, 16, 16), 150.0, np.float32)
    depth[:, 4:12, 4:12] = np.linspace(-40, 60, 64).reshape(8, 8)
    sample = {
        "depth_mm": depth,
        "center_mm": [[0, 0, 700.0], [0, 300, 400]],
        "intrinsics": np.ones((2, 4)),
        "ref_from_view": np.tile(np.eye(4), (2, 1, 1)),
        "subject": "anna",
        "frame": frame,
    }
    if labelled:
        joints = np.zeros((2, 36, 3)) + np.array(sample["center_mm"])[:, None]
        joints[:, :9] += 200.0
        sample["joints_mm"] = joints
    return sample


@pytest.fixture
def folder(tmp_path):
    for split, labelled in (("train", False), ("test", True)):
        plan = records.SplitPlan(tmp_path / "data", split, 1, "drawn", SPEC, num_views=2)
        with records.ShardWriter(plan) as writer:
            for frame in range(5):
                writer.write(make_sample(frame, labelled))
            writer.skip("no hand found", 77)
    return tmp_path / "data"


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        commands.run(inspect.main, inspect.define_flags, ["inspect", *arguments])
    return exit_info.value.code


def test_prints_a_table_and_writes_sheet_and_json(folder, tmp_path, capsys):
    sheet, report = tmp_path / "sheet.png", tmp_path / "info.json"
    code = run(f"--data_dir={folder}", f"--sheet={sheet}", f"--output={report}", "--verify")
    printed = capsys.readouterr().out
    assert code == 0
    assert "2 views of 16 x 16 px, cube 300 mm" in printed
    assert "skipped 1: no hand found, first frames [77]" in printed
    values = json.loads(report.read_text())
    assert values["splits"]["test"]["num_labelled"] == 5
    measured = values["measured"]
    assert measured["train"]["joints_inside"] is None
    assert measured["test"]["joints_inside"] == pytest.approx(27 / 36, abs=1e-4)
    assert measured["test"]["foreground_fraction"] == pytest.approx(0.25)
    assert measured["test"]["center_distance_mm"] == pytest.approx(600)
    assert measured["test"]["nearest_mm"] == pytest.approx(-40)
    assert measured["test"]["farthest_mm"] == pytest.approx(60)
    pixels = np.asarray(Image.open(sheet).convert("RGB"), np.int32)
    assert pixels.shape[0] > 100 and pixels.std() > 5


def test_joints_are_drawn_where_they_are(folder):
    samples = list(records.load_dataset(folder, "test").as_numpy_iterator())
    figure = inspect.draw_contact_sheet(samples[:1], SPEC.cube_mm, columns=1)
    (dots,) = figure.axes[0].collections
    # A joint at the center lies between the middle pixels, 7 and 8.
    np.testing.assert_allclose(dots.get_offsets()[-1], [7.5, 7.5], atol=1e-4)


def test_even_choice_of_samples(folder, tmp_path):
    report = tmp_path / "info.json"
    assert (
        run(f"--data_dir={folder}", "--split=test", "--max_measured=2", f"--output={report}") == 0
    )
    assert json.loads(report.read_text())["measured"]["test"]["samples"] == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data_dir=/absent"], "No folder /absent"),
        (["--data_dir={folder}", "--split=tset"], "No split 'tset'"),
        (["--data_dri={folder}"], "data_dri"),
    ],
)
def test_bad_input_is_one_line(folder, arguments, message, capsys):
    assert run(*[argument.format(folder=folder) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
