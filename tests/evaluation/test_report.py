"""What a report holds, that it is written whole, and that its pictures show what they should."""

import json

import numpy as np
import pytest
from PIL import Image

from tfhand.evaluation import figures, metrics, pictures, report, sheets

SIZE, CUBE_MM, FAR_MM = 16, 300.0, 150.0


@pytest.fixture
def scores(rng):
    truth_mm = rng.normal(size=(20, 14, 3)) * 50
    return {
        name: metrics.score(truth_mm + rng.normal(size=truth_mm.shape) * noise_mm, truth_mm)
        for name, noise_mm in (("synthetic_only", 15.0), ("self_supervised", 5.0))
    }


def depth_maps(samples=2, num_views=3):
    """A flat square of 8 x 8 pixels at depth 0 in every view."""
    depth_mm = np.full((samples, num_views, SIZE, SIZE), FAR_MM, np.float32)
    depth_mm[..., 4:12, 4:12] = 0.0
    return depth_mm


def read_rgb(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_metrics_have_the_agreed_entries(tmp_path, scores):
    path = tmp_path / "new" / "metrics.json"
    report.write_metrics(path, scores, {"seconds": 1.5})
    content = json.loads(path.read_text())
    assert content["seconds"] == 1.5
    for name in ("synthetic_only", "self_supervised"):
        assert content[name]["mean_joint_error_mm"] == scores[name].mean_joint_error_mm
        assert 0 <= content[name]["success_rate"]["20"] <= content[name]["success_rate"]["40"] <= 1
    assert report.read_metrics(path) == scores


def test_a_failed_write_keeps_what_was_there(tmp_path, scores):
    path = tmp_path / "metrics.json"
    report.write_metrics(path, scores)
    before = path.read_text()
    with pytest.raises(ValueError, match="JSON"):
        report.write_metrics(path, scores, {"loss": float("nan")})
    with pytest.raises(ValueError, match="synthetic_only"):
        report.write_metrics(path, scores, {"synthetic_only": 1})
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"seconds": 1}'])
def test_files_without_scores_are_refused(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.json"):
        report.read_metrics(path)
    with pytest.raises(FileNotFoundError, match="other"):
        report.read_metrics(tmp_path / "other.json")


def test_per_joint_table_has_one_row_a_joint(scores):
    lines = report.per_joint_table(scores).splitlines()
    first = next(iter(scores.values()))
    assert len(lines) == 2 + len(first.per_joint_error_mm) + 1
    for joint, error_mm in first.per_joint_error_mm.items():
        (line,) = [line for line in lines if line.startswith(f"| {joint} |")]
        assert line.split(" | ")[1].strip(" |") == ("" if np.isnan(error_mm) else f"{error_mm:.2f}")
    assert lines[-1].startswith(f"| all | {first.mean_joint_error_mm:.2f} ")


def test_table_has_one_row_a_method(scores):
    lines = report.markdown_table(scores).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert f"{scores['synthetic_only'].mean_joint_error_mm:.2f}" in lines[2]
    assert f"{100 * scores['self_supervised'].success_rate[20]:.2f} %" in lines[3]


def test_report_folder_is_complete(tmp_path, scores):
    report.write_report(tmp_path / "report", scores, title="test")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"metrics.json", "table.md", "success_curves.png", "per_joint_error.png"}
    for name in ("success_curves.png", "per_joint_error.png"):
        picture = read_rgb(tmp_path / "report" / name)
        assert min(picture.shape[:2]) > 300
        # Both methods' colors are there: more than black, white and gray.
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("draw", [figures.draw_success_curves, figures.draw_per_joint_bars])
def test_no_method_is_refused(tmp_path, draw):
    with pytest.raises(ValueError, match="at least one method"):
        draw({}, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_background_is_white_and_near_is_brighter_than_far():
    depth_mm = depth_maps()[0, 0]
    depth_mm[4:12, 8:12] = -100.0
    picture = pictures.colorize(depth_mm, CUBE_MM)
    assert picture.dtype == np.uint8
    assert (picture[0, 0] == 255).all()
    assert picture[8, 10].astype(int).sum() > picture[8, 5].astype(int).sum()


def test_all_background_is_all_white():
    empty = np.full((SIZE, SIZE), FAR_MM, np.float32)
    assert (pictures.colorize(empty, CUBE_MM) == 255).all()
    assert (pictures.overlay(empty, empty, CUBE_MM) == 255).all()


def test_overlay_separates_agreement_from_disagreement():
    depth_mm, rendered_mm = depth_maps()[0, 0], depth_maps()[0, 0]
    rendered_mm[4:12, 2:4] = 0.0
    rendered_mm[4:6, 4:12] = FAR_MM
    rendered_mm[10:12, 4:12] = 60.0
    picture = pictures.overlay(depth_mm, rendered_mm, CUBE_MM).astype(int)
    blue, orange, agree, red = picture[8, 2], picture[4, 6], picture[8, 8], picture[11, 8]
    assert blue[2] > blue[0] and orange[0] > orange[2]
    assert agree[0] == agree[1] == agree[2] > 100
    assert red[0] > 100 and red[1] == red[2] == 0


def test_tile_keeps_every_picture_in_its_place():
    values = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
    sheet = pictures.tile(np.broadcast_to(values, (2, 3, 4, 5, 3)), gap=2)
    assert sheet.shape == (2 * 6 - 2, 3 * 7 - 2, 3)
    for row in range(2):
        for column in range(3):
            cell = sheet[6 * row : 6 * row + 4, 7 * column : 7 * column + 5]
            assert (cell == 3 * row + column).all()
    assert (sheet[4:6] == 255).all()
    assert pictures.tile(np.zeros((1, 2, 4, 4, 3), np.uint8), gap=0).shape == (4, 8, 3)


@pytest.mark.parametrize("num_views", [1, 3])
def test_sheets_show_every_sample_and_view(tmp_path, num_views):
    depth_mm = depth_maps(num_views=num_views)
    joints_mm = np.zeros((2, num_views, 36, 3), np.float32)
    truth_mm = joints_mm + 20
    truth_mm[0] = np.nan
    rows = sheets.Rows(depth_mm, depth_mm, CUBE_MM, ["a", "b"])
    sheets.draw_picture_sheet(rows, tmp_path / "own.png", joints_mm=joints_mm, truth_mm=truth_mm)
    sheets.draw_view_sheet(rows, tmp_path / "views.png")
    for name in ("own.png", "views.png"):
        height, width = read_rgb(tmp_path / name).shape[:2]
        assert width > 3 * num_views * 100 and height > 2 * 100


def test_sheets_refuse_what_does_not_belong_together(tmp_path):
    depth_mm = depth_maps()
    with pytest.raises(ValueError, match=r"\[samples, views, S, S\]"):
        sheets.Rows(depth_mm, depth_mm[:, :2])
    with pytest.raises(ValueError, match="at least one sample"):
        sheets.Rows(depth_mm[:0], depth_mm[:0])
    rows = sheets.Rows(depth_mm, depth_mm)
    with pytest.raises(ValueError, match="source view below 3"):
        sheets.draw_view_sheet(rows, tmp_path / "sheet.png", source_view=3)
    with pytest.raises(ValueError, match="one shape"):
        pictures.overlay(depth_mm, depth_mm[:1])
    with pytest.raises(ValueError, match="rows, columns"):
        pictures.tile(np.zeros((4, 4, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(num_frames=2.5), "whole num_frames"),
        (lambda e: e.update(num_frames=True), "num_frames"),
        (lambda e: e.update(auc="0.5"), "numbers as auc"),
        (lambda e: e.update(mean_joint_error_mm=10**400), "numbers as mean_joint_error_mm"),
        (lambda e: e.update(auc=float("inf")), "numbers as auc"),
        (lambda e: e.update(success_rate=[1.0]), "numbers by name as success_rate"),
        (lambda e: e["success_rate"].pop("20"), "within 0 to 80"),
        (lambda e: e["success_rate"].update({"1e308": 1.0}), "within 0 to 80"),
        (lambda e: e["per_joint_error_mm"].update(PALM_9=1.0), "the same joints"),
        (lambda e: e["per_joint_error_mm"].update(PALM_1={}), "numbers as per_joint"),
        (lambda e: e.pop("auc"), "auc"),
    ],
)
def test_damaged_scores_are_refused(tmp_path, scores, change, message):
    path = tmp_path / "metrics.json"
    assert len(scores) > 1
    report.write_metrics(path, scores)
    content = json.loads(path.read_text())
    change(next(iter(content.values())))
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as refused:
        report.read_metrics(path)
    assert "metrics.json" in str(refused.value)
