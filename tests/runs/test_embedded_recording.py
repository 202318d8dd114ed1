"""The recording that a run makes itself is made once, and only with its own settings.

What is in it: tests/data_prep/test_synthetic.py; that runs take it: tests/end_to_end.
"""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from data_prep.synthetic import embedded, sequences
from tests import bad_luck
from tfhand.geometry import crop
from tfhand.runs import embedded_recording
from tfhand.runs import workdir as stage_folders

ROOT = pathlib.Path(__file__).parents[2]
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


class NoiseRenderer:
    """Draws noise in the place of hands, which take long to compile, from the same generator."""

    def __init__(self, sequence, spec, noise):
        self._sequence, self._size, self._noise = sequence, spec.image_size, noise

    def render(self, start):
        count = min(sequences.BATCH, self._sequence.num_frames - start)
        return [self.sample(self._sequence.first_frame + start + i) for i in range(count)]

    def sample(self, frame):
        return {
            "depth_mm": self._noise.uniform([3, self._size, self._size], -100.0, 100.0).numpy(),
            "center_mm": np.full([3, 3], 700.0),
            "intrinsics": np.full([3, 4], 588.0),
            "ref_from_view": self._sequence.view_from_ref,
            "subject": self._sequence.name,
            "frame": frame,
        }


def make_of_noise(folder, renderer=NoiseRenderer):
    """Makes the recording as a run does; returns its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "SequenceRenderer", renderer)
        workdir = stage_folders.Workdir(folder)
        return embedded_recording.make_recording(workdir, NUM_SAMPLES, SPEC)


# Kills itself in the second split: the first is there by then.
KILL = """
    import os, pathlib, signal, sys
    from tests.runs import test_embedded_recording as toy

    class Killing(toy.NoiseRenderer):
        def sample(self, frame):
            if self._sequence.name == "test-1":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().sample(frame)

    toy.make_of_noise(pathlib.Path(sys.argv[1]), Killing)
"""


def test_killed_while_it_is_made_it_ends_the_same(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", textwrap.dedent(KILL), str(tmp_path / "killed")]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    left = bad_luck.content_of(tmp_path / "killed" / "recording")
    assert any(name.startswith(".partial.test") for name in left) and "done.json" not in left
    whole, again = (
        bad_luck.content_of(make_of_noise(tmp_path / name)) for name in ("whole", "killed")
    )
    # How long it took.
    del again["done.json"], whole["done.json"]
    assert again == whole


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
