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

__all__ = ["RunContext", "TrainingRun", "compile_trainer", "fit"]

_WARMUP_STEPS = 60


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


class _CosineTracedOnce(keras.optimizers.schedules.CosineDecay):
    """Keras' schedule, traced once in a graph: Keras asks for it anew for every variable."""

    _graph = _rate = None

    def __call__(self, step):
        if tf.executing_eagerly():
            return super().__call__(step)
        graph = tf.compat.v1.get_default_graph()
        if self._graph is not graph:
            self._graph, self._rate = graph, super().__call__(step)
        return self._rate


def compile_trainer(model, learning_rate, steps, warmup=_WARMUP_STEPS, average=0.0):
    """Gives a `trainer.PoseTrainer` its optimizer: AdamW with a short rise and a cosine to 0.

    Args:
        model: The trainer.
        learning_rate: Highest learning rate.
        steps: Steps of the training.
        warmup: Steps of the rise.
        average: Share of the averaged weights that every step keeps, with which the network ends;
            0: with the last weights.
    """
    warmup = min(warmup, steps // 4)
    schedule = _CosineTracedOnce(
        0.01 * learning_rate, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    averaging = {"use_ema": average > 0.0, "ema_momentum": average}
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, **averaging)
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
