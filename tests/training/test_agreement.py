"""What two workers have to agree on; both learn of it when they do not."""

import json
import textwrap

import pytest
import tensorflow as tf

from tests import two_workers
from tfhand import commands, files, train
from tfhand.runs import provenance
from tfhand.training import agreement, workers

# A process of two, the chief and a worker. Every attempt ends alike in both.
WORKER = """
    import json, pathlib, sys
    from tfhand import commands, train
    from tfhand.training import agreement, cluster, provenance, turns, workers
    folder, index = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    strategy = cluster.make_strategy(60)
    said = {}

    def attempt(name, make):
        try:
            said[name] = make()
        except (ValueError, OSError) as error:
            said[name] = f"{type(error).__name__}: {error}"

    def fail(who):
        with turns.one_by_one(strategy):
            if index == who:
                raise FileNotFoundError("no such records")

    def alone(path):
        with agreement.alone_in_workdir(strategy, path):
            workers.barrier(strategy)
            return sorted(p.name for p in pathlib.Path(path).iterdir())

    def command(*flags):
        argv = ["train", f"--workdir={folder / str(index)}", *flags]
        agreement.check_command(strategy, commands.parse(train.define_flags, argv))

    def data(checksum):
        provenance.data_checksums = lambda _: {"dataset_info.json": str(index), "train-0": checksum}
        agreement.check_data(strategy, folder)

    def start(content):
        stage = folder / f"start-{index}" / "init"
        stage.mkdir(parents=True, exist_ok=True)
        (stage / "pose.weights.h5").write_text(content)
        agreement.check_start(strategy, stage.parent)

    def fits(content):
        round_ = folder / f"fits-{index}"
        round_.mkdir(exist_ok=True)
        (round_ / "fits.npz").write_text(content)
        agreement.check_fits(strategy, round_)

    attempt("is_chief", lambda: workers.is_chief(strategy))
    attempt("gather", lambda: workers.gather(strategy, "\\N{DEGREE SIGN}" * 2 * index))
    attempt("chief fails", lambda: fail(0))
    attempt("worker fails", lambda: fail(1))
    attempt("shared", lambda: alone(folder / "shared"))
    attempt("not shared", lambda: alone(folder / str(index)))
    attempt("locked", lambda: alone(folder / "locked"))
    attempt("same command", lambda: command(f"--worker_timeout={60 + index}"))
    attempt("other flags", lambda: command(f"--tune_steps={4 + index}"))
    attempt("other place", lambda: command(f"--data_dir=/data{index}"))
    attempt("no place", lambda: command(*["--data_dir=/data"][index:]))
    attempt("same data", lambda: data("ab"))
    attempt("other data", lambda: data("ab" if index else "cd"))
    attempt("same start", lambda: start("ab"))
    attempt("other start", lambda: start("ab" if index else "cd"))
    attempt("same fits", lambda: fits("ab"))
    attempt("other fits", lambda: fits("ab" if index else "cd"))
    attempt("steps", lambda: workers.check_agreement(strategy, 100 * index))
    versions = provenance.versions() | {"python": str(index)}
    provenance.versions = lambda: versions
    attempt("python", command)
    versions["keras"] = f"3.{index}"
    attempt("versions", command)
    workers.barrier(strategy)
    print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What both processes say after each attempt, [dict of the chief, dict of the worker]."""
    folder = tmp_path_factory.mktemp("agreement")
    code = textwrap.dedent(WORKER)
    with files.alone_in(folder / "locked", lock=".lock"):
        results = two_workers.run(
            lambda index: ("-c", code, folder, index), tasks=(("chief", 0), ("worker", 0))
        )
    assert [status for status, _ in results] == [0, 0], results
    return [json.loads(text.splitlines()[-1]) for _, text in results]


def test_the_task_chief_is_the_chief(said):
    assert [one["is_chief"] for one in said] == [True, False]


def test_all_hear_what_all_say(said):
    for one in said:
        assert one["gather"] == ["", "\N{DEGREE SIGN}" * 2]


def test_what_one_meets_ends_both(said):
    for index, name in enumerate(("chief fails", "worker fails")):
        assert said[index][name] == "FileNotFoundError: no such records"
        assert said[1 - index][name] == f"ValueError: Worker {index} stopped: no such records"


def test_a_working_directory_is_shared_and_locked(said):
    chief, worker = said
    # The token is gone.
    assert chief["shared"] == worker["shared"] == [".lock"]
    assert chief["not shared"] == worker["not shared"]
    assert "--workdir on a file system that all workers share" in chief["not shared"]
    assert "of worker 1" in chief["not shared"]
    assert chief["locked"].startswith("FileExistsError: Another process is training in ")
    assert "Worker 0 stopped: Another process is training in " in worker["locked"]


@pytest.mark.parametrize(
    "name", ["same command", "other place", "same data", "same start", "same fits"]
)
def test_what_may_differ_may_differ(said, name):
    assert said[0][name] is said[1][name] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other flags", "same flags on all workers, found --tune_steps 4 of worker 0 and 5 of"),
        ("no place", "same flags on all workers, found --data_dir given of worker 0 and None of"),
        ("other data", "same data on all workers, found train-0 cd of worker 0 and ab of worker 1"),
        ("other start", "found init/pose.weights.h5 "),
        ("other fits", "same fits on all workers, found fits.npz "),
        ("versions", "same versions on all workers, found keras 3.0 of worker 0 and 3.1 of"),
        ("steps", "checkpoints of different steps: 0 of worker 0, 100 of worker 1"),
    ],
)
def test_both_name_the_difference(said, name, words):
    assert said[0][name] == said[1][name]
    assert said[0][name].startswith("ValueError: Expected ")
    assert words in said[0][name]


def test_another_python_may_be_used(said):
    assert said[0]["python"] is said[1]["python"] is None


def test_few_of_many_differences_are_named(monkeypatch):
    other = json.dumps({f"--{i:02}": i for i in range(20)})
    monkeypatch.setattr(workers, "gather", lambda strategy, text: [text, other])
    with pytest.raises(ValueError, match=r"--04 None of worker 0 and 4 .* and 15 more: do\.$"):
        agreement._check_same(None, "flags", {}, "do")


def test_one_process_agrees_with_itself(tmp_path):
    strategy = tf.distribute.get_strategy()
    values = commands.parse(train.define_flags, ["train", f"--workdir={tmp_path}"])
    agreement.check_command(strategy, values)
    with agreement.alone_in_workdir(strategy, tmp_path):
        with pytest.raises(FileExistsError, match="Another process is training in"):
            with agreement.alone_in_workdir(strategy, tmp_path):
                pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".token-1234").touch()
    with agreement.alone_in_workdir(tf.distribute.get_strategy(), tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_code_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    found = set()
    for name, content in (("a.py", "1"), ("a.py", "2"), ("b.h5", "2"), ("c.pyc", "3")):
        path = tmp_path / "tfhand" / "hand" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        found.add(provenance.code_checksum())
    assert len(found) == 3
