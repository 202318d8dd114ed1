"""Checkpoints: the last few, and what happens when they are damaged."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from tests import bad_luck
from tfhand.runs import checkpoints


@pytest.fixture
def variables():
    return [tf.Variable(np.zeros([40, 50], np.float32)), tf.Variable(0, dtype=tf.int64)]


@pytest.fixture
def folder(tmp_path, variables):
    """Four checkpoints, of which three are kept; both variables hold the step."""
    kept = checkpoints.Checkpoints(tmp_path / "backup", variables)
    for step in (2, 4, 6, 8):
        fill(variables, step)
        kept.save(step)
    fill(variables, -1)
    return tmp_path / "backup"


def fill(variables, value):
    for variable in variables:
        variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))


def restore(folder, variables):
    step = checkpoints.Checkpoints(folder, variables).restore()
    for variable in variables:
        assert len(np.unique(variable)) == 1
    return step, int(variables[1])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"model_checkpoint_path"])
def test_a_damaged_list_of_checkpoints_costs_none(folder, variables, content):
    (folder / "checkpoint").write_bytes(content)
    assert restore(folder, variables) == (8, 8)
    # And the next is written as if nothing had been.
    kept = checkpoints.Checkpoints(folder, variables)
    fill(variables, 10)
    kept.save(10)
    assert restore(folder, variables) == (10, 10)


def test_other_variables_are_refused_and_stay(folder, variables):
    other = [tf.Variable(np.ones([40, 51], np.float32)), variables[1]]
    with pytest.raises(ValueError, match="another version"):
        checkpoints.Checkpoints(folder, other).restore()
    with pytest.raises(ValueError, match="3 variables"):
        checkpoints.Checkpoints(folder, [*variables, tf.Variable(1.0)]).restore()
    assert restore(folder, variables) == (8, 8)


def test_the_newest_of_the_last_three_is_read(folder, variables, capfd):
    assert sorted(p.name for p in folder.glob("*.index")) == [f"ckpt-{k}.index" for k in (4, 6, 8)]
    assert restore(folder, variables) == (8, 8)
    assert "from step 8" in capfd.readouterr().out


def test_without_any_nothing_is_read(tmp_path, variables):
    fill(variables, -1)
    assert restore(tmp_path / "nowhere", variables) == (0, -1)


def test_a_full_disk_keeps_the_checkpoints_before(folder, variables):
    kept = checkpoints.Checkpoints(folder, variables)
    fill(variables, 9)
    with pytest.raises(OSError, match="backup"), bad_luck.full_disk():
        kept.save(9)
    assert restore(folder, variables) == (8, 8)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", [cut, flip, empty, lambda path: path.unlink()])
def test_a_damaged_newest_one_gives_way_to_the_one_before(
    folder, variables, suffix, damage, caplog
):
    damage(folder / f"ckpt-8.{suffix}")
    with caplog.at_level(logging.WARNING, "absl"):
        assert restore(folder, variables) == (6, 6)
    # Without its index a checkpoint is not there, as after a kill while it was written.
    is_gone = suffix == "index" and not (folder / "ckpt-8.index").exists()
    assert ("ckpt-8 cannot be read" in caplog.text) != is_gone


def test_a_damaged_list_of_checkpoints_does_no_harm(folder, variables):
    flip(folder / "checkpoint")
    assert restore(folder, variables) == (8, 8)


def test_with_all_damaged_the_training_begins_again(folder, variables, caplog):
    for path in folder.glob("*.data-*"):
        flip(path)
    with caplog.at_level(logging.WARNING, "absl"):
        assert restore(folder, variables) == (0, -1)
    assert "starting anew" in caplog.text
