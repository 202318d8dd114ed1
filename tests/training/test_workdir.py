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


def test_some_settings_are_checked_by_themselves(folder):
    run = workdir.Workdir(folder)
    run.check("prior", {"rate": 0.5})
    run.check("init", {"rate": 0.6})
    for settings in ({"rate": 0.6}, {"more": 1}):
        with pytest.raises(ValueError, match=r"prior was made with .*now"):
            run.check("prior", settings)
    with pytest.raises(ValueError, match=r"rate=0.5 \(now None\)"):
        run.is_done("prior", {"steps": 10})


def test_what_the_chief_makes_alone_is_made_by_no_other(folder):
    chief, other = workdir.Workdir(folder), workdir.Workdir(folder, writes=False)
    assert not chief.has_to_make("prior", SETTINGS) and not other.has_to_make("prior", SETTINGS)
    assert chief.has_to_make("recording", SETTINGS)
    with pytest.raises(ValueError, match=r"recording what the chief has made.*workers share"):
        other.has_to_make("recording", SETTINGS)
    with pytest.raises(ValueError, match="steps=10"):
        other.has_to_make("prior", {})


def test_only_the_chief_makes_the_folder(tmp_path):
    workdir.Workdir(tmp_path / "other", writes=False)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 200000])
def test_settings_that_are_none(folder, content):
    (folder / "prior" / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"settings\.json"):
        workdir.Workdir(folder).is_done("prior", SETTINGS)


def test_a_changed_setting_is_named(folder):
    (folder / "prior" / "settings.json").write_text('{"steps": 11, "rate": 0.5}')
    with pytest.raises(ValueError, match="steps"):
        workdir.Workdir(folder).is_done("prior", SETTINGS)
