"""Commands stop on bad input with one line and a status, and on nothing else."""

import importlib.util

import pytest
from absl import flags

from tfhand import __main__ as program
from tfhand import commands


def define_flags(flag_values):
    flags.DEFINE_integer("steps", 10, "Steps.", lower_bound=1, flag_values=flag_values)
    flags.DEFINE_string("data_dir", None, "Folder.", flag_values=flag_values)


def run(main, *arguments):
    with pytest.raises(SystemExit) as stopped:
        commands.run(main, define_flags, ["tfhand/train.py", *arguments])
    return stopped.value.code


def succeed(options):
    return None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--step=3"], "Unknown command line flag 'step'. Did you mean: steps ?"),
        (["--steps=many"], "many"),
        (["--steps=0"], "0"),
        (["--flagfile=nowhere.flags"], "nowhere.flags"),
        (["OUT"], "OUT"),
    ],
)
def test_bad_flags_give_one_line(arguments, expected, capsys):
    assert run(succeed, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("train: ") and expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("Expected\n 1,\n found 2."), FileNotFoundError("Expected 1, found 2.")]
)
def test_bad_input_gives_one_line(error, capsys):
    def main(options):
        raise error

    assert run(main) == 1
    assert capsys.readouterr().err == "train: Expected 1, found 2.\n"


def test_the_systems_own_error_names_the_file(capsys):
    def main(options):
        with open("no/such/file"):
            pass

    assert run(main) == 1
    assert capsys.readouterr().err == "train: No such file or directory: no/such/file\n"


def test_a_defect_is_not_mistaken_for_bad_input():
    def main(options):
        raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        commands.run(main, define_flags, ["train.py"])


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status_is_that_of_main(returned, status):
    assert run(lambda options: returned) == status


def test_later_flags_override_a_flagfile(tmp_path):
    flagfile = tmp_path / "base.flags"
    flagfile.write_text("# A comment.\n--steps=20\n--data_dir=OUT\n")
    options = commands.parse(define_flags, ["train", f"--flagfile={flagfile}", "--steps=30"])
    assert options.steps == 30
    assert options.data_dir == "OUT"


def test_two_command_lines_do_not_share_values():
    first = commands.parse(define_flags, ["train", "--steps=5"])
    second = commands.parse(define_flags, ["train"])
    assert (first.steps, second.steps) == (5, 10)


def test_help_shows_this_commands_flags(capsys):
    assert run(succeed, "--help") == 0
    output = capsys.readouterr().out
    assert "--steps" in output and "Commands stop on bad input" in output


def test_interruption_has_its_own_status(capsys):
    def main(options):
        raise KeyboardInterrupt

    assert run(main) == 130
    assert capsys.readouterr().err == "train: interrupted\n"


def test_a_flagfile_that_is_no_text(tmp_path, capsys):
    (tmp_path / "my.flags").write_bytes(b"--steps=\xff\xfe")
    assert run(succeed, f"--flagfile={tmp_path / 'my.flags'}") == 1
    assert "Expected text in --flagfile" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_numbers_that_are_not_finite(value, capsys):
    def define(flag_values):
        flags.DEFINE_float("rate", 0.5, "Rate.", lower_bound=0.0, flag_values=flag_values)

    with pytest.raises(ValueError, match="finite number for --rate"):
        commands.parse(define, ["train", f"--rate={value}"])


def test_a_message_that_quotes_a_damaged_file_is_cut(capsys):
    def main(options):
        raise ValueError("Expected a number, found " + "x" * 10**6)

    assert run(main) == 1
    assert len(capsys.readouterr().err) < 1100


def test_one_program_has_every_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tfhand"])
    program.main()
    listed = capsys.readouterr().out
    for name, (module, _) in program.COMMANDS.items():
        assert f"  {name} " in listed
        assert importlib.util.find_spec(module)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_one_program_runs_a_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tfhand", "predict", "--depth=nowhere.png"])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("predict: ")


def test_one_program_names_its_commands_for_another(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tfhand", "pedict"])
    with pytest.raises(SystemExit, match=r"Expected one of predict, live, .*'pedict'"):
        program.main()
