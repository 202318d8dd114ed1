"""Weights on disk: they come back, and damage is noticed."""

import errno
import pathlib

import h5py
import keras
import numpy as np
import pytest

from tfhand.models import weights


def make_model(units=5, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(units)(inputs), name="small")


@pytest.fixture
def saved(tmp_path):
    model = make_model()
    weights.save_weights(model, tmp_path / "a.weights.h5")
    return tmp_path / "a.weights.h5", model.get_weights()


def test_they_come_back(saved):
    path, values = saved
    model = make_model(seed=1)
    assert not np.array_equal(model.get_weights()[0], values[0])
    weights.load_weights(model, path)
    for found, expected in zip(model.get_weights(), values, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_keras_reads_them_too(saved):
    path, values = saved
    model = make_model(seed=1)
    model.load_weights(path)
    np.testing.assert_array_equal(model.get_weights()[0], values[0])


def test_files_without_a_checksum_are_taken(tmp_path):
    model, other = make_model(), make_model(seed=1)
    model.save_weights(tmp_path / "old.weights.h5")
    assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])
    weights.load_weights(other, tmp_path / "old.weights.h5")
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_changed_bit_is_noticed(saved):
    path, values = saved
    data = bytearray(path.read_bytes())
    # The last bit of a weight: the number stays what a weight may be.
    data[data.index(values[0].tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"saved in .*a\.weights\.h5, found changed ones"):
        weights.load_weights(make_model(), path)


def test_values_that_are_not_finite(tmp_path):
    model = make_model()
    model.set_weights([np.full_like(value, np.nan) for value in model.get_weights()])
    weights.save_weights(model, tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"a\.weights\.h5"):
        weights.load_weights(make_model(), tmp_path / "a.weights.h5")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_half_a_file(saved, share):
    path, _ = saved
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"weights of small in .*a\.weights\.h5"):
        weights.load_weights(make_model(), path)


def test_weights_of_another_model(saved):
    with pytest.raises(ValueError, match=r"weights of small in .*a\.weights\.h5"):
        weights.load_weights(make_model(units=6), saved[0])


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        weights.load_weights(make_model(), tmp_path / "none.weights.h5")


def test_sizes_that_no_memory_has(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        shape = (10**6, 10**6)
        file.create_dataset("layers/dense/vars/0", shape, np.float32, chunks=(64, 64))
    with pytest.raises(ValueError, match=r"a\.weights\.h5.*at most \d+ values, found 10{12}"):
        weights.load_weights(make_model(), path)


def test_a_full_disk_keeps_the_old_file(saved, monkeypatch):
    path, values = saved

    def fill(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fill)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.weights\.h5"):
        weights.save_weights(make_model(seed=1), path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    model = make_model(seed=2)
    weights.load_weights(model, path)
    np.testing.assert_array_equal(model.get_weights()[0], values[0])
