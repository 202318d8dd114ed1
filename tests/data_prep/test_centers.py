"""Text files of crop centers, whole and damaged."""

import numpy as np
import pytest

from data_prep.nyu import centers


def read(path, text, form="xyz"):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return centers.read_centers(path, form)


@pytest.mark.parametrize(
    ("form", "expected"),
    [("xyz", [10.0, 20.0, 700.0]), ("xyz_up", [10.0, -20.0, 700.0])],
)
def test_forms(tmp_path, form, expected):
    np.testing.assert_array_equal(read(tmp_path / "a.txt", "10 20 700\n", form), [expected])


def test_pixels_keep_float64(tmp_path):
    found = read(tmp_path / "a.txt", "320.123456789 240 700.123456789\n", "uvd")
    assert found.dtype == np.float64 and found[0, 2] == 700.123456789


@pytest.mark.parametrize(
    "line",
    [b"invalid", b"1 2", b"1 2 3 4", b"nan 2 3", b"1 2 1e999", b"1 2 1e300", b"\xff 2 3", b""],
)
@pytest.mark.parametrize("form", centers.CENTER_FORMS)
def test_a_damaged_line_is_a_frame_without_a_center(tmp_path, line, form):
    found = read(tmp_path / "a.txt", b"10 20 700\n" + line + b"\n11 21 701\n", form)
    assert found.shape == (3, 3)
    assert np.isfinite(found[[0, 2]]).all() and np.isnan(found[1]).all()


def test_no_centers_at_all(tmp_path):
    with pytest.raises(ValueError, match=r"three numbers a line.*a\.txt"):
        read(tmp_path / "a.txt", b"\xff\xfe\n")
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        centers.read_centers(tmp_path / "none.txt", "xyz")
