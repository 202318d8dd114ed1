"""Stages of a working directory whose files are damaged."""

import pytest

from tfhand.training import workdir

SETTINGS = {"steps": 10, "rate": 0.5}


@pytest.fixture
def folder(tmp_path):
    with workdir.Workdir(tmp_path).working("prior", SETTINGS):
        pass
    assert workdir.Workdir(tmp_path).is_done("prior", SETTINGS)
    return tmp_path


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 200000])
def test_settings_that_are_none(folder, content):
    (folder / "prior" / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json"):
        workdir.Workdir(folder).is_done("prior", SETTINGS)


def test_a_changed_setting_is_named(folder):
    (folder / "prior" / "settings.json").write_text('{"steps": 11, "rate": 0.5}')
    with pytest.raises(ValueError, match="steps"):
        workdir.Workdir(folder).is_done("prior", SETTINGS)
