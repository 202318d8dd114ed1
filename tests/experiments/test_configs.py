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


# What other rows are compared with; their recipes differ as a whole.
METHODS = {"multi_view_100", "synth_noise", "best"}
COMPARED = [row for row in ROWS if row not in METHODS]


def flags_in(path):
    """Names of the flags that a file gives, those of the files that it names included."""
    names = set()
    for line in (ROOT / path).read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "--flagfile":
            names |= flags_in(value)
        elif name.startswith("--"):
            names |= {name[2:], name.removeprefix("--no")}
    return names


def test_every_file_is_a_row_that_is_compared():
    files = {path.stem for path in (ROOT / "configs" / "experiments").glob("*.flags")}
    assert files == set(ROWS)
    assert all(ROWS[row].compared_with for row in COMPARED)


@pytest.mark.parametrize("size", ["", "overnight", "nyu"])
@pytest.mark.parametrize("row", COMPARED)
def test_a_row_differs_from_its_comparison_by_its_own_flags_alone(row, size):
    more = [f"--flagfile=configs/{size}.flags"] if size else []
    paths = [f"configs/experiments/{name}.flags" for name in (row, ROWS[row].compared_with)]
    own, other = (parse(ROOT / path, *more).flag_values_dict() for path in paths)
    changed = {name for name, value in own.items() if value != other[name]} - {"flagfile"}
    # Whether fits are scored too is no part of a recipe.
    assert changed - {"test_fit"} <= flags_in(paths[0])
    # The number of samples a step is that of the size.
    assert changed or size == "nyu"


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
