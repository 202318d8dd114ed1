"""Every file in `configs/` is a command line that parses, and says what it is for."""

import pathlib

import pytest

from tfhand import commands, train
from tfhand.losses import terms
from tfhand.training import options

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.flags"))


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_later_flags_win(path):
    assert parse(path, "--tune_steps=7").tune_steps == 7


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
