"""Every file in `configs/` is a command line that parses, and says what it is for."""

import pathlib

import pytest

from experiments.rows import ROWS
from tfhand import commands, train
from tfhand.losses import terms
from tfhand.training import options

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.flags"))

OF_LENGTH = ("tune_steps", "tune_batch", "tune_synthetic_batch")


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    # Nested flagfiles are relative to the working directory.
    monkeypatch.chdir(ROOT)


def parse(path, *more):
    argv = ["train.py", f"--flagfile={path.relative_to(ROOT)}", "--workdir=w", *more]
    return commands.parse(train.define_flags, argv)


def test_the_promised_files_are_there():
    assert {"base.flags", "selfsup.flags"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parses(path):
    values = parse(path)
    for cls in options.PREFIXES:
        options.from_flags(cls, values)
    assert values.workdir == "w"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_starts_with_what_it_is_for(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and lines[0].endswith(".")
    for line in lines:
        assert not line or line.startswith(("# ", "--")), line
    if path.stem not in ("base", "nyu", "overnight"):
        assert "--flagfile=configs/base.flags" in lines


# The row that a row is compared with, and the flags in which it differs from it.
DIFFERENCES = {
    "multi_view_50": ("multi_view_100", {"tune_multi_view_share": 0.5}),
    "multi_view_50_single_view_50": ("multi_view_50", {"tune_single_view_share": 0.5}),
    "multi_view_50_alone": ("multi_view_50", {"tune_batch": 5}),
    "multi_view_5": ("multi_view_100", {"tune_multi_view_share": 0.05}),
    "multi_view_5_single_view_95": ("multi_view_5", {"tune_single_view_share": 0.95}),
    "single_view_100": (
        "multi_view_100",
        {"tune_multi_view_share": 0.0, "tune_single_view_share": 1.0},
    ),
    "without_vae": ("multi_view_100", {"weight_pose_prior": 0.0}),
    "without_bone_length": ("multi_view_100", {"weight_bone_length": 0.0}),
    "without_collision": ("multi_view_100", {"weight_collision": 0.0}),
    "without_priors": (
        "multi_view_100",
        {"weight_pose_prior": 0.0, "weight_bone_length": 0.0, "weight_collision": 0.0},
    ),
    "without_synthetic": ("multi_view_100", {"tune_synthetic_weight": 0.0}),
    "without_synthetic_and_vae": ("without_synthetic", {"weight_pose_prior": 0.0}),
    "without_synthetic_and_bone_length": ("without_synthetic", {"weight_bone_length": 0.0}),
    "without_synthetic_and_collision": ("without_synthetic", {"weight_collision": 0.0}),
    "without_synthetic_and_priors": (
        "without_synthetic",
        {"weight_pose_prior": 0.0, "weight_bone_length": 0.0, "weight_collision": 0.0},
    ),
    "train_on_test": ("multi_view_100", {"tune_splits": "test"}),
    "train_on_test_and_train": ("multi_view_100", {"tune_splits": "train_and_test"}),
    "two_stacks": ("multi_view_100", {"num_stacks": 2}),
    "synth": ("synth_noise", {"init_noise": "none", "test_fit": False}),
    "synth_gaussian": ("synth_noise", {"init_noise": "gaussian", "test_fit": False}),
    "synthetic_alone": (
        "multi_view_100",
        {
            "weight_model_to_data": 0.0,
            "weight_data_to_model": 0.0,
            "weight_multi_view_consistency": 0.0,
            "weight_pose_prior": 0.0,
            "weight_bone_length": 0.0,
            "weight_collision": 0.000001,
        },
    ),
    "synth_on_synth": ("synth", {"test_on": "synthetic"}),
    "best_averaged": ("best", {"tune_average": 0.99}),
    "best_kept_parts": ("best", {"tune_keep_parts_share": 0.85}),
    "best_two_rounds": ("best", {"tune_rounds": 2}),
    "best_teacher": ("best_averaged", {"tune_rounds": 2}),
    "best_normalized_decoder": ("best", {"decoder": "normalized"}),
    "best_without_margin": ("best", {"tune_margin_px": 0.0}),
    "best_without_near_fits": ("best", {"tune_near_fits": 0.0}),
    "best_without_augmentation": ("best", {"tune_augment": False}),
    "best_without_gate": ("best", {"tune_keep_share": 1.0}),
    "best_without_targets": ("best", {"tune_target_weight": 0.0}),
    "best_mean_hand": ("best", {"tune_fit_subject": "none"}),
    "best_with_terms": ("best", {"weight_model_to_data": 1.0, "weight_data_to_model": 1.0}),
    "best_single_view": (
        "best_kept_parts",
        {"tune_multi_view_share": 0.0, "tune_single_view_share": 1.0},
    ),
    "with_labels": (
        "best",
        {
            "tune_method": "labels",
            "weight_multi_view_consistency": 0.0,
            "weight_pose_prior": 0.0,
            "weight_bone_length": 0.0,
            "weight_collision": 0.0,
        },
    ),
}


def test_every_row_is_compared_with_another():
    rows = {path.stem for path in (ROOT / "configs" / "experiments").glob("*.flags")}
    assert rows == {*DIFFERENCES, "multi_view_100", "synth_noise", "best"}
    for row, (other, _) in DIFFERENCES.items():
        assert ROWS[row].compared_with == other


@pytest.mark.parametrize("size", ["", "overnight", "nyu"])
@pytest.mark.parametrize("row", DIFFERENCES)
def test_a_row_differs_from_another_by_these_flags_alone(row, size):
    other, expected = DIFFERENCES[row]
    more = [f"--flagfile=configs/{size}.flags"] if size else []
    own, base = (
        parse(ROOT / "configs" / "experiments" / f"{name}.flags", *more).flag_values_dict()
        for name in (row, other)
    )
    if size == "nyu":
        # The number of samples a step is that of the size.
        expected = {k: v for k, v in expected.items() if k not in OF_LENGTH}
    assert {k: v for k, v in own.items() if v != base[k] and k != "flagfile"} == expected


def test_recipes_side_by_side_have_the_same_length():
    lengths = {
        tuple(getattr(parse(ROOT / "configs" / f"{name}.flags"), flag) for flag in OF_LENGTH)
        for name in ("paper", "selfsup", "labels")
    }
    assert len(lengths) == 1


def test_labels_alone_supervise_in_labels():
    values = parse(ROOT / "configs" / "labels.flags")
    weights = options.from_flags(terms.LossWeights, values)
    assert not any(vars(weights).values())
    tune = options.from_flags(options.FineTuneOptions, values)
    assert (tune.method, tune.target_weight > 0) == ("labels", True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_misspelt_flag_is_one_line_and_status_1(path, tmp_path, capsys):
    wrong = tmp_path / "wrong.flags"
    wrong.write_text(path.read_text() + "--tune_step=3\n")
    argv = ["train.py", f"--flagfile={wrong}", f"--workdir={tmp_path / 'w'}"]
    with pytest.raises(SystemExit) as stopped:
        commands.run(train.main, train.define_flags, argv)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "tune_step" in line
    assert not (tmp_path / "w").exists()
