"""Optimizer, schedule and Keras' `fit`, as the stages of a run use them.

A step is a function of the weights, the optimizer's state and its own number: what it is fed and
what it draws follow from seed and number (`data/stateless_rng.py`). An epoch is the interval
between two checkpoints. So a training that was cut off goes on from its last checkpoint to the same
weights.
"""

import dataclasses
import pathlib

import keras
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.runs import checkpoints, workdir
from tfhand.training import callbacks, non_finite, options, replicas

__all__ = ["HoldThenDecay", "RunContext", "TrainingRun", "compile_trainer", "fit"]


@dataclasses.dataclass(frozen=True)
class RunContext:
    """Context shared by the stages of a run.

    Attributes:
        workdir: `workdir.Workdir`.
        strategy: `tf.distribute.Strategy`.
        spec: `crop.CropSpec`.
        seed: Seed of all that is drawn.
        run_options: `options.RunOptions`.
    """

    workdir: workdir.Workdir
    strategy: tf.distribute.Strategy
    spec: crop.CropSpec
    seed: int
    run_options: options.RunOptions

    @property
    def is_chief(self):
        """True if this process writes."""
        return self.workdir.is_chief


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Folder, name and limits of a training; they do not change the weights of one that ends.

    Attributes:
        folder: Folder of the stage.
        name: Name of the training within the stage.
        options: `options.RunOptions`.
    """

    folder: pathlib.Path
    name: str
    options: options.RunOptions


@keras.saving.register_keras_serializable(package="tfhand")
class HoldThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A short rise, a constant learning rate, and a cosine to 0.

    The weights at the end of the constant part do not depend on when the training will end.

    Args:
        learning_rate: Highest learning rate.
        steps: Steps of the training.
        warmup: Steps of the rise, at most a quarter of the others.
        hold: Steps of the constant part.
    """

    def __init__(self, learning_rate, steps, warmup, hold=0):
        self._config = {
            "learning_rate": learning_rate, "steps": steps, "warmup": warmup, "hold": hold
        }  # fmt: skip
        moving = steps - hold
        self._warmup, self._hold = min(warmup, moving // 4), hold
        self._cosine = keras.optimizers.schedules.CosineDecay(
            0.01 * learning_rate,
            moving - self._warmup,
            warmup_target=learning_rate,
            warmup_steps=self._warmup,
        )
        self._graph = self._rate = None

    def __call__(self, step):
        """Returns the learning rate of a step.

        In a graph it is traced once, of the step for which it is asked first: Keras asks anew for
        every variable.
        """
        if tf.executing_eagerly():
            return self._evaluate(step)
        graph = tf.compat.v1.get_default_graph()
        if self._graph is not graph:
            self._graph, self._rate = graph, self._evaluate(step)
        return self._rate

    def _evaluate(self, step):
        # The clock of rise and cosine stands still at the highest rate.
        step = keras.ops.cast(step, "float32")
        held = keras.ops.clip(step - self._warmup, 0, self._hold)
        return self._cosine(step - held)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return self._config


def compile_trainer(model, optimizer):
    """Gives a `trainer.Trainer` its optimizer, with the state that checkpoints hold."""
    # XLA compiles the element-wise parts by themselves; its convolutions are slower on a CPU.
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)


def fit(model, make_batch, steps, run, writers=()):
    """Trains up to a number of steps, from the last checkpoint if there is one.

    Args:
        model: `trainer.Trainer`, compiled.
        make_batch: Function of TensorFlow operations from a step's number, int64 scalar from 0, and
            a shard (index, count) of the batch, as in `StatelessRng`, to a dict of that shard.
        steps: Steps.
        run: `TrainingRun`.
        writers: Functions of (network, step) that write summaries, see `callbacks.Curves`.

    Raises:
        ValueError: If loss or gradient were not finite too often, which harms no checkpoint, or if
            a checkpoint is of another version of this package.
        OSError: If curves or checkpoints cannot be written; the checkpoints before stay.
    """
    strategy = model.distribute_strategy
    saved = checkpoints.Checkpoints(
        run.folder / "backup" / run.name,
        [variable.value for variable in (*model.weights, *model.optimizer.variables)],
    )
    first, every = saved.restore(), run.options.checkpoint_steps
    _check_same_checkpoint(strategy, first)
    schedule = callbacks.Schedule(first, steps, every)
    own = [non_finite.StopWhenNotFinite(run.name, run.options), callbacks.LastStep(schedule)]
    if replicas.is_chief(strategy):
        # Curves first: after a restart a point may be there twice, but never not at all.
        logs = run.folder / "logs" / run.name
        own += [
            callbacks.Progress(run.name, schedule),
            callbacks.Curves(logs, schedule, writers),
            callbacks.SaveCheckpoint(saved, schedule),
        ]
    model.fit(
        replicas.distribute_batches(strategy, make_batch, first),
        initial_epoch=schedule.initial_epoch,
        epochs=schedule.epochs,
        steps_per_epoch=every,
        shuffle=False,
        verbose=0,
        callbacks=own,
    )


def _check_same_checkpoint(strategy, first):
    """Checks that all machines have read the same checkpoint."""
    if replicas.mean(strategy, float(first)) != first:
        raise ValueError(
            f"Expected the same checkpoint on all machines, found that of step {first} here and "
            "another elsewhere: --workdir has to be on a file system that all of them share."
        )
