"""Files are there whole or not at all, and errors name them."""

import errno
import fcntl
import json
import logging
import pathlib
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfhand import commands, files

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    files.write_text(path, "old")
    files.write_text(str(path), "new \N{DEGREE SIGN}")
    assert path.read_text(encoding="utf-8") == "new \N{DEGREE SIGN}"
    assert names(tmp_path) == ["a", "a/b.txt"]


def test_keeps_the_suffixes(tmp_path):
    # Keras looks at them.
    with files.replacing(tmp_path / "pose.weights.h5") as partial:
        assert partial.name.endswith(".weights.h5") and partial.name.startswith(".")
        partial.touch()


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(type(error)), files.replacing(path) as partial:
        partial.write_text("half of")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a.txt"):
        pass


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def half(self, text, **_):
        with open(self, "w") as file:
            file.write(text[: len(text) // 2])
        # As the system says it: without a name.
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", half)
    with pytest.raises(OSError, match=r"No space left on device.*a\.json") as stopped:
        files.write_json(path, {"new": 2})
    assert (stopped.value.errno, stopped.value.filename) == (errno.ENOSPC, str(path))
    assert json.loads(path.read_text()) == {"old": 1} and names(tmp_path) == ["a.json"]


def test_what_libraries_say_of_a_full_disk_is_understood(tmp_path):
    class LibraryError(Exception):
        pass

    message = "{{node SaveV2}} /x/part-00000.tempstate; No space left on device [Op:SaveV2]"
    with pytest.raises(OSError, match=r"No space left on device: .*model") as stopped:
        with files.writing(tmp_path / "model"):
            raise LibraryError(message)
    assert stopped.value.errno == errno.ENOSPC
    with pytest.raises(LibraryError, match="shape"), files.writing(tmp_path / "model"):
        raise LibraryError("another shape")


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(PermissionError) as stopped, files.replacing(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "picture.png")
    assert stopped.value.filename == "picture.png"


def test_a_folder_beside_is_gone_afterwards(tmp_path):
    with files.folder_beside(tmp_path / "export" / "1") as beside:
        (beside / "half").touch()
        assert beside.parent == tmp_path / "export"
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("lock", [".", ".lock"])
def test_a_folder_has_one_writer(tmp_path, lock):
    folder = tmp_path / "a" / "b"
    with files.lock_folder(folder, "writing to", lock):
        with pytest.raises(FileExistsError, match=r"Another process is writing to .*a/b\.$"):
            with files.lock_folder(folder, "writing to", lock):
                pass
        # Another folder is another matter.
        with files.lock_folder(tmp_path / "a", lock=lock):
            pass
    with files.lock_folder(folder, lock=lock):
        pass
    assert names(folder) == ([] if lock == "." else [lock])


@pytest.mark.parametrize("lock", [".", ".lock"])
def test_a_killed_process_leaves_no_lock(tmp_path, lock):
    code = f"""
import sys, time
from tfhand import files
with files.lock_folder({str(tmp_path)!r}, lock={lock!r}):
    print("in", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "in\n"
        with pytest.raises(FileExistsError), files.lock_folder(tmp_path, lock=lock):
            pass
        process.send_signal(signal.SIGKILL)
    with files.lock_folder(tmp_path, lock=lock):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_a_warning_says_so(tmp_path, monkeypatch, caplog, code):
    def refuse(file, operation):
        raise OSError(code, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "absl"), files.lock_folder(tmp_path, "training in"):
        pass
    assert f"Cannot lock {tmp_path} (No locks available)" in caplog.text
    assert "no other process is training in it" in caplog.text


def test_other_errors_of_a_lock_are_errors(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), files.lock_folder(tmp_path):
        pass


def test_what_a_killed_process_left_is_gone_after_the_next(tmp_path):
    path = tmp_path / "export" / "1"
    # As if killed: the block is entered and never left.
    killed = files.folder_beside(path).gen
    (next(killed) / "half").touch()
    assert len(names(tmp_path)) == 3
    with files.folder_beside(path) as beside:
        assert list(beside.iterdir()) == []
    assert names(tmp_path) == ["export"]

    path = tmp_path / "export" / "a.txt"
    partial = next(files.replacing(path).gen)
    partial.write_text("half of a long text")
    files.write_text(path, "new")
    assert names(tmp_path) == ["export", "export/a.txt"] and path.read_text() == "new"


def test_commands_say_it_in_one_line(tmp_path, capsys):
    def main(options):
        (tmp_path / "a").mkdir()
        files.write_text(tmp_path / "a", "text")

    with pytest.raises(SystemExit) as stopped:
        commands.run(main, lambda flags: None, ["predict"])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error == f"predict: Is a directory: {tmp_path / 'a'}\n"


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(content=JSON_VALUES)
def test_json_comes_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, content)
    assert files.read_json(path) == content


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 200000, b"9" * 20000])
def test_what_is_no_json_is_one_error_that_names_the_file(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"Expected JSON in .*a\.json") as refused:
        files.read_json(path)
    assert type(refused.value) is ValueError
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "b.json")
