"""Stages of a working directory: done, killed, of other settings, or damaged."""

import json

import pytest

from tfhand.runs import workdir

SETTINGS = {"steps": 10, "rate": 0.5}


@pytest.fixture
def folder(tmp_path):
    with workdir.Workdir(tmp_path).making("prior", SETTINGS):
        pass
    assert workdir.Workdir(tmp_path).is_done("prior", SETTINGS)
    return tmp_path


@pytest.fixture
def run(tmp_path):
    return workdir.Workdir(tmp_path / "run")


def test_a_finished_stage_is_done(run):
    settings = {"steps": 3, "pair": (1, 2)}
    assert not run.is_done("init", settings)
    with run.making("init", settings) as folder:
        (folder / "backup").mkdir()
        assert not run.is_done("init", settings)
    assert run.is_done("init", settings)
    assert not (folder / "backup").exists()
    assert not run.is_done("tune", settings)
    # Killed after it was done, before its backup was removed.
    (folder / "backup").mkdir()
    assert run.is_done("init", settings) and not (folder / "backup").exists()
    assert json.loads((folder / "done.json").read_text())["seconds"] >= 0.0


@pytest.mark.parametrize("other", [{"steps": 4}, {"steps": 3, "batch": 1}, {}])
def test_other_settings_are_refused(run, other):
    with run.making("init", {"steps": 3}):
        pass
    with pytest.raises(ValueError, match=r"init was made with .*workdir"):
        run.is_done("init", other)


def test_a_killed_stage_is_not_done(run):
    with pytest.raises(KeyboardInterrupt):
        with run.making("init", {"steps": 3}) as folder:
            (folder / "backup").mkdir()
            raise KeyboardInterrupt
    assert not (folder / "done.json").exists()
    assert not run.is_done("init", {"steps": 3})
    # What there is goes on from here, but not with other settings.
    assert (folder / "backup").exists()
    with pytest.raises(ValueError, match=r"steps=3 \(now 4\)"):
        run.is_done("init", {"steps": 4})


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
    chief, other = workdir.Workdir(folder), workdir.Workdir(folder, is_chief=False)
    assert not chief.must_make("prior", SETTINGS) and not other.must_make("prior", SETTINGS)
    assert chief.must_make("recording", SETTINGS)
    with pytest.raises(ValueError, match=r"recording what the chief has made.*workers share"):
        other.must_make("recording", SETTINGS)
    with pytest.raises(ValueError, match="steps=10"):
        other.must_make("prior", {})


def test_only_the_chief_makes_the_folder(tmp_path):
    workdir.Workdir(tmp_path / "other", is_chief=False)
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
