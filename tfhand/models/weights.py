"""Weights of a model on disk, in Keras' own form, with a checksum of the values.

HDF5 has no checksum where Keras writes it: a changed bit is another weight, and nothing says so.
Not in the paper.
"""

import hashlib
import io
import os

import h5py
import numpy as np

from tfhand import files

__all__ = ["load_weights", "save_weights"]

# An attribute of the file's root, which Keras passes over.
_CHECKSUM = "values_sha256"
# A file may hold an optimizer's two moments beside each weight, and a few metrics.
_MOST_VALUES = 4


class _Memory(io.BytesIO):
    """A file in memory. Keras takes only places whose name has this ending."""

    def __str__(self):
        return "memory.weights.h5"


def save_weights(model, path):
    """Writes the weights of a model, whole or not at all.

    Args:
        model: A built `keras.Model`.
        path: The file, `.weights.h5`; an existing one is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    # In memory first: HDF5 ends the process where the disk is full.
    stream = _Memory()
    model.save_weights(stream)
    with h5py.File(stream, "r+") as file:
        file.attrs[_CHECKSUM] = _checksum(model)
    with files.replacing(path) as partial:
        partial.write_bytes(stream.getbuffer())


def load_weights(model, path):
    """Loads weights that `save_weights` wrote into a model.

    Args:
        model: A built `keras.Model` of the same layers.
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds the weights of another model.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Expected weights at {path}, found none.")
    try:
        expected = _read_checksum(model, path)
        model.load_weights(path)
    except Exception as error:  # HDF5 and Keras raise errors of many kinds on damaged files.
        reason = str(error).split("\n", 1)[0][:200]
        raise ValueError(
            f"Expected weights of {model.name} in {path}, found others or a damaged file: {reason}"
        ) from error
    # Files of before there was a checksum have none.
    if expected not in (None, _checksum(model)) or not _are_finite(model):
        raise ValueError(f"Expected the weights that were saved in {path}, found changed ones.")


def _read_checksum(model, path):
    """Returns the checksum in a file, or None; refuses a file that claims far too many values."""
    sizes = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
        )
        checksum = file.attrs.get(_CHECKSUM)
    most = _MOST_VALUES * sum(int(np.prod(weight.shape)) for weight in model.weights) + 1000
    if sum(sizes) > most:
        raise ValueError(f"expected at most {most} values, found {sum(sizes)}")
    return checksum


def _checksum(model):
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()


def _are_finite(model):
    return all(np.isfinite(values).all() for values in model.get_weights())
