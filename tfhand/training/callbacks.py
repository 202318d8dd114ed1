"""Keras callbacks of a training: its last step, progress, curves, checkpoints."""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfhand import files
from tfhand.data import stateless_rng
from tfhand.evaluation import pictures, qualitative
from tfhand.geometry import crop, views

__all__ = [
    "Curves",
    "LastStep",
    "PictureSummary",
    "Progress",
    "SaveCheckpoint",
    "Schedule",
    "TermSummary",
]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Steps of a training in epochs, which end where a checkpoint is written.

    Attributes:
        first: Number of the first step.
        stop: Number after the last step.
        every: Steps an epoch; the last one may have fewer.
    """

    first: int
    stop: int
    every: int

    @property
    def initial_epoch(self):
        """Number of the first epoch, from 0."""
        return -(-self.first // self.every)

    @property
    def epochs(self):
        """Number after the last epoch."""
        return self.initial_epoch - (self.first - self.stop) // self.every

    def steps_after(self, epoch):
        """Returns the number of steps made when an epoch is over."""
        return min(self.first + (epoch - self.initial_epoch + 1) * self.every, self.stop)


class LastStep(keras.callbacks.Callback):
    """Ends the last epoch at the last step.

    Args:
        schedule: `Schedule`.
    """

    def __init__(self, schedule):
        super().__init__()
        self._remaining = schedule.stop - schedule.first

    def on_train_batch_end(self, batch, logs=None):
        """Counts a step."""
        self._remaining -= 1
        if self._remaining == 0:
            self.model.stop_training = True


class Progress(keras.callbacks.Callback):
    """Shows a bar in a terminal, and prints a line an epoch: step, speed, time left, means.

    Args:
        name: Name of the training.
        schedule: `Schedule`.
    """

    def __init__(self, name, schedule):
        super().__init__()
        self._name, self._schedule = name, schedule
        self._bar, self._last = None, None

    def on_train_begin(self, logs=None):
        """Shows the bar."""
        first, stop = self._schedule.first, self._schedule.stop
        # No bar in a file.
        self._bar = tqdm(initial=first, total=stop, desc=self._name, unit="step", disable=None)
        self._last = first, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Prints the line."""
        step, now = self._schedule.steps_after(epoch), time.monotonic()
        seconds = (now - self._last[1]) / (step - self._last[0])
        minutes = (self._schedule.stop - step) * seconds / 60.0
        means = ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        tqdm.write(
            f"{self._name}: step {step} of {self._schedule.stop}, {1000 * seconds:.0f} ms a step, "
            f"{minutes:.0f} min left: {means}"
        )
        self._last = step, now

    def on_train_end(self, logs=None):
        """Closes the bar."""
        self._bar.close()


class Curves(keras.callbacks.Callback):
    """Writes the means of every epoch for TensorBoard, and more summaries.

    Args:
        folder: `pathlib.Path` of the event files.
        schedule: `Schedule`.
        writers: Functions of (network, step) that write summaries of their own.
    """

    def __init__(self, folder, schedule, writers=()):
        super().__init__()
        self._folder, self._schedule, self._writers = folder, schedule, writers
        self._summary, self._last = None, None

    def on_train_begin(self, logs=None):
        """Opens an event file."""
        self._last = self._schedule.first, self.model.counter.read()[1]
        if self._schedule.first < self._schedule.stop:
            with files.writing(self._folder):
                self._summary = tf.summary.create_file_writer(str(self._folder))

    def on_epoch_end(self, epoch, logs=None):
        """Writes one point of every curve."""
        step, skipped = self._schedule.steps_after(epoch), self.model.counter.read()[1]
        # No means where all steps of the epoch were left out.
        has_means = step - self._last[0] > skipped - self._last[1]
        self._last = step, skipped
        values = {**logs} if logs and has_means else {}
        values["learning_rate"] = self.model.optimizer.learning_rate
        with files.writing(self._folder), self._summary.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, float(tf.convert_to_tensor(value)))
            for write in self._writers:
                write(self.model.network, step)
            self._summary.flush()


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes a checkpoint at the end of every epoch.

    Args:
        saved: `checkpoints.Checkpoints`.
        schedule: `Schedule`.
    """

    def __init__(self, saved, schedule):
        super().__init__()
        self._saved, self._schedule = saved, schedule

    def on_epoch_end(self, epoch, logs=None):
        """Writes it."""
        self._saved.save(self._schedule.steps_after(epoch))


class TermSummary:
    """Writes every term of equation 4 on some samples.

    Evaluates all terms, so that runs compare; training evaluates only those with a weight.

    Args:
        objective: `objectives.RecordedObjective`.
        batch: Dict of `depth_mm` [B, V, S, S], `ref_from_crop` [B, V, 4, 4] and `is_multi_view`
            [B].
    """

    def __init__(self, objective, batch):
        self._objective = objective
        self._batch = {name: tf.constant(value) for name, value in batch.items()}

    def __call__(self, network, step):
        """Writes the mean of each term over the samples."""
        # The prior draws: the same for every step, so that points compare.
        rng = stateless_rng.for_step(0, "terms of pictures", 0)
        values = self._objective.measure(network, self._batch, rng)
        for name, value in values.items():
            tf.summary.scalar(f"terms_of_pictures/{name}", tf.reduce_mean(value), step)


class PictureSummary:
    """Writes input | rendered spheres | overlay of some samples.

    Args:
        depth_mm: float32 [n, V, S, S], crop depth; the first view is drawn.
        cube_mm: Side of the crops.
    """

    def __init__(self, depth_mm, cube_mm):
        self._depth_mm = np.asarray(depth_mm)[:, :1]
        self._cube_mm = cube_mm

    def __call__(self, network, step):
        """Draws one row a sample."""
        folded = crop.normalize(views.fold_views(tf.constant(self._depth_mm)), self._cube_mm)
        estimate = network(folded, training=False)["spheres_mm"]
        rendered = qualitative.render_own_views(
            np.asarray(estimate)[:, None], image_size=folded.shape[1], cube_mm=self._cube_mm
        )
        rows = [
            [
                pictures.colorize(self._depth_mm[i, 0], self._cube_mm),
                pictures.colorize(rendered[i, 0], self._cube_mm),
                pictures.overlay(self._depth_mm[i, 0], rendered[i, 0], self._cube_mm),
            ]
            for i in range(len(rendered))
        ]
        tf.summary.image("input_rendered_overlay", pictures.tile(np.array(rows))[None], step)
