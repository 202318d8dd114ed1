"""MATLAB files: what SciPy would crash on never gets there."""

import struct

import numpy as np
import pytest
import scipy.io

from data_prep.nyu import mat_elements, recording_files

NAMES = ("joint_xyz", "joint_names")
# From the tag of an array: its size, the size and value of its flags, the type of its numbers.
SIZE, FLAGS_SIZE, FLAGS, NUMBERS = 4, 12, 16, 72


def save(path, compress=False):
    names = np.empty((1, 2), object)
    names[0] = ["thumb", "palm"]
    values = {"joint_xyz": np.arange(24.0).reshape(2, 3, 4, 1), "joint_names": names, "other": 1.0}
    scipy.io.savemat(path, values, do_compression=compress)
    return path.read_bytes()


def start_of(data, name):
    """The tag of an array: before the name are tag, flags and dimensions."""
    place = data.index(name.encode()) - 8
    while struct.unpack_from("<II", data, place)[0] != 14 or place % 8:
        place -= 8
    return place


def write_number(data, place, value):
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


@pytest.mark.parametrize("compress", [False, True])
def test_a_sound_file_keeps_what_is_wanted(tmp_path, compress):
    data = save(tmp_path / "whole.mat", compress)
    (tmp_path / "chosen.mat").write_bytes(mat_elements.select_arrays(data, NAMES))
    found = scipy.io.loadmat(tmp_path / "chosen.mat")
    expected = scipy.io.loadmat(tmp_path / "whole.mat")
    assert {name for name in found if name[0] != "_"} == set(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(found[name], expected[name])


def test_big_endian_files(tmp_path):
    array = struct.pack(">II", 6, 8) + struct.pack(">II", 6, 0)
    array += struct.pack(">IIii", 5, 8, 1, 1) + struct.pack(">II", 1, 9) + b"joint_xyz" + bytes(7)
    array += struct.pack(">IId", 9, 8, 2.5)
    data = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(array)) + array
    (tmp_path / "a.mat").write_bytes(mat_elements.select_arrays(data, NAMES))
    assert scipy.io.loadmat(tmp_path / "a.mat")["joint_xyz"] == 2.5


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        # These two end the process in SciPy 1.17.
        (NUMBERS, 9 | 1 << 29, "end of the data"),
        (NUMBERS, 11, "numbers or text"),
        (NUMBERS, 14, "numbers or text"),
        (NUMBERS + 4, 2**32 - 8, "end of the data"),
        (SIZE, 2**32 - 8, "end of the data"),
        (FLAGS_SIZE, 16, "flags"),
        (FLAGS, 1, "cell array"),
        (FLAGS, 2, "numbers or text"),
        (FLAGS, 6 | 1 << 11, "numbers or text"),
    ],
)
def test_numbers_that_are_not_what_they_claim(tmp_path, place, value, message):
    data = save(tmp_path / "a.mat")
    start = start_of(data, "joint_xyz")
    assert struct.unpack_from("<I", data, start + NUMBERS) == (9,)
    with pytest.raises(ValueError, match=message):
        mat_elements.select_arrays(write_number(data, start + place, value), NAMES)


def test_more_cells_than_there_are(tmp_path):
    data = save(tmp_path / "a.mat")
    place = data.index(struct.pack("<ii", 1, 2), start_of(data, "joint_names"))
    with pytest.raises(ValueError, match="found 2 cells"):
        mat_elements.select_arrays(write_number(data, place, 2**31 - 1), NAMES)


@pytest.mark.parametrize("name", ["joint_xyz", "joint_names"])
@pytest.mark.parametrize("size", [5, 2**31 - 1, 2**32 - 1])
def test_dimensions_that_the_numbers_do_not_fill(tmp_path, name, size):
    text = {"joint_xyz": np.arange(24.0).reshape(2, 12), "joint_names": "thumb"}
    scipy.io.savemat(tmp_path / "a.mat", text)
    data = (tmp_path / "a.mat").read_bytes()
    shape = {"joint_xyz": (2, 12), "joint_names": (1, 5)}[name]
    place = data.index(struct.pack("<ii", *shape), start_of(data, name))
    assert mat_elements.select_arrays(data, NAMES)
    with pytest.raises(ValueError, match=r"of shape \[|dimensions"):
        mat_elements.select_arrays(write_number(data, place, size), NAMES)


def test_arrays_that_are_not_wanted_are_not_inflated(tmp_path, monkeypatch):
    data = save(tmp_path / "a.mat", compress=True)
    monkeypatch.setattr(mat_elements, "_inflate", None)
    assert mat_elements.select_arrays(data, []) == data[:128]


def test_small_numbers_count_as_what_they_become(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "a.mat", {"joint_xyz": np.zeros([10, 10], np.int8)})
    data = (tmp_path / "a.mat").read_bytes()
    monkeypatch.setattr(mat_elements, "_MOST_BYTES", 800)
    assert mat_elements.select_arrays(data, NAMES)
    monkeypatch.setattr(mat_elements, "_MOST_BYTES", 799)
    with pytest.raises(ValueError, match="at most 799 bytes"):
        mat_elements.select_arrays(data, NAMES)


def test_cells_within_cells_have_an_end(tmp_path):
    values = "text"
    for _ in range(12):
        cell = np.empty((1, 1), object)
        cell[0, 0] = values
        values = cell
    scipy.io.savemat(tmp_path / "a.mat", {"joint_names": values})
    with pytest.raises(ValueError, match="depth 9"):
        mat_elements.select_arrays((tmp_path / "a.mat").read_bytes(), NAMES)


def test_an_array_that_inflates(tmp_path, monkeypatch):
    data = save(tmp_path / "a.mat", compress=True)
    monkeypatch.setattr(mat_elements, "_MOST_BYTES", 64)
    with pytest.raises(ValueError, match="less than 64 bytes"):
        mat_elements.select_arrays(data, NAMES)


def test_an_array_that_is_there_twice(tmp_path):
    data = save(tmp_path / "a.mat")
    start = start_of(data, "joint_xyz")
    size = struct.unpack_from("<I", data, start + SIZE)[0]
    with pytest.raises(ValueError, match="one array joint_xyz, found a second"):
        mat_elements.select_arrays(data + data[start : start + 8 + size], NAMES)


def test_a_compressed_array_without_its_checksum(tmp_path):
    data = save(tmp_path / "a.mat", compress=True)
    kind, size = struct.unpack_from("<II", data, 128)
    assert kind == 15
    cut = write_number(data[: 136 + size - 4], 128 + SIZE, size - 4) + data[136 + size :]
    with pytest.raises(ValueError, match="whole compressed array"):
        mat_elements.select_arrays(cut, NAMES)


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"text" * 100])
def test_other_files(tmp_path, data):
    with pytest.raises(ValueError, match="MATLAB file of version 5"):
        mat_elements.select_arrays(data, NAMES)
    (tmp_path / "joint_data.mat").write_bytes(data)
    with pytest.raises(ValueError, match=r"Cannot read .*joint_data\.mat"):
        recording_files.read_joint_data(tmp_path / "joint_data.mat")
