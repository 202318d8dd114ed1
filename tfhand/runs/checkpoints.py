"""Checkpoints of a training: every variable a step changes, the last few, never half of one.

TensorFlow writes a checkpoint beside its final name and renames it, and holds a checksum of every
tensor, which is compared when it is read. Keras' `BackupAndRestore` has neither, and keeps one.
"""

import re

import tensorflow as tf
from absl import logging

from tfhand import files

__all__ = ["Checkpoints"]

_KEPT = 3
_NAME = "ckpt"


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: `pathlib.Path`.
        variables: List of TensorFlow variables.
    """

    def __init__(self, folder, variables):
        self._folder = folder
        self._checkpoint = tf.train.Checkpoint(variables=list(variables))
        self._manager = None

    def _make_manager(self):
        def make():
            return tf.train.CheckpointManager(
                self._checkpoint, str(self._folder), max_to_keep=_KEPT, checkpoint_name=_NAME
            )

        try:
            return make()
        except ValueError:
            # TensorFlow's list of the checkpoints; they themselves are found without it.
            index = self._folder / "checkpoint"
            logging.warning("%s cannot be read and is left out.", index)
            index.unlink()
            return make()

    def save(self, step):
        """Writes the variables as they are after a step.

        Raises:
            OSError: If they cannot be written; the checkpoints before stay.
        """
        with files.writing(self._folder):
            self._manager = self._manager or self._make_manager()
            self._manager.save(checkpoint_number=step)

    def restore(self):
        """Reads the newest checkpoint that can be read.

        Returns:
            The step it was written after; 0 if there is none, and then nothing is changed.

        Raises:
            ValueError: If it holds other variables, those of another version of this package.
        """
        steps = self._steps()
        for step in steps:
            path = str(self._folder / f"{_NAME}-{step}")
            problem = _find_problem(path)
            if problem is None:
                self._check_shapes(path)
                self._checkpoint.restore(path).assert_consumed()
                print(f"Going on from step {step} in {self._folder}.", flush=True)
                return step
            logging.warning("Checkpoint %s cannot be read and is left out: %s", path, problem)
        if steps:
            logging.warning("No checkpoint in %s can be read: starting anew.", self._folder)
        return 0

    def _check_shapes(self, path):
        shapes = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        shapes = {name: shape for name, shape in shapes.items() if name.startswith("variables/")}
        expected = {
            f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE": variable.shape.as_list()
            for i, variable in enumerate(self._checkpoint.variables)
        }
        if shapes != expected:
            raise ValueError(
                f"Expected {len(expected)} variables of this training in {path}, found "
                f"{len(shapes)} or other shapes: another version of this package wrote it. Finish "
                "the run there, or delete the folder of the stage."
            )

    def _steps(self):
        """Steps of the checkpoints on disk, the newest first."""
        names = (re.fullmatch(rf"{_NAME}-(\d+)\.index", p.name) for p in self._folder.glob("*"))
        return sorted((int(name[1]) for name in names if name), reverse=True)


def _find_problem(path):
    """Reads every tensor, which compares its checksum; returns what is wrong, in a line."""
    # All before any is assigned: half of a damaged checkpoint must not reach the variables.
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:  # Damage reaches any type: IndexError, MemoryError, OpError...
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None
