"""The recording that a run makes itself is made once, and only with its own settings.

What is in it: tests/data_prep/test_synthetic.py; that runs take it: tests/end_to_end.
"""

import pytest

from data_prep.synthetic import embedded
from tfhand.geometry import crop
from tfhand.runs import embedded_recording
from tfhand.runs import workdir as stage_folders

NUM_SAMPLES, SPEC = 24, crop.CropSpec(32, 300.0)


@pytest.fixture
def written(monkeypatch):
    """Returns the list of recordings that were written, which takes no time."""
    written = []

    def write(output_dir, options, overwrite):
        assert overwrite
        written.append((output_dir, options.num_samples, options.spec))

    monkeypatch.setattr(embedded, "write", write)
    return written


def test_it_is_made_once(written, tmp_path):
    workdir = stage_folders.Workdir(tmp_path)
    folder = embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)
    assert written == [(str(folder), NUM_SAMPLES, SPEC)]
    # A worker that makes nothing finds it.
    for user in (workdir, stage_folders.Workdir(tmp_path, is_chief=False)):
        assert embedded_recording.make_recording(user, NUM_SAMPLES, SPEC) == folder
    assert len(written) == 1


def test_one_that_was_cut_off_is_made_anew(written, tmp_path, monkeypatch):
    workdir = stage_folders.Workdir(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="full"):
        patched.setattr(embedded, "write", _raise_that_the_disk_is_full)
        embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)
    embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)
    assert len(written) == 1


def _raise_that_the_disk_is_full(*_, **__):
    raise OSError("the disk is full")


@pytest.mark.parametrize(
    ("num_samples", "spec", "named"),
    [
        (30, SPEC, "samples=24"),
        (NUM_SAMPLES, crop.CropSpec(64, 300.0), "image_size=32"),
        (NUM_SAMPLES, crop.CropSpec(32, 250.0), "cube_mm=300"),
    ],
)
def test_other_settings_are_refused(written, tmp_path, num_samples, spec, named):
    workdir = stage_folders.Workdir(tmp_path)
    embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)
    with pytest.raises(ValueError, match=named):
        embedded_recording.make_recording(workdir, num_samples, spec)
    assert len(written) == 1


def test_another_recipe_is_refused(written, tmp_path, monkeypatch):
    workdir = stage_folders.Workdir(tmp_path)
    embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)
    monkeypatch.setattr(embedded, "RECIPE", embedded.RECIPE + 1)
    with pytest.raises(ValueError, match="recipe"):
        embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)


def test_a_worker_does_not_make_it(written, tmp_path):
    with pytest.raises(ValueError, match="chief"):
        embedded_recording.make_recording(
            stage_folders.Workdir(tmp_path, is_chief=False), NUM_SAMPLES, SPEC
        )
    assert not written
