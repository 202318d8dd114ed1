"""The training loop that stages share: optimizer, schedule, progress, curves, checkpoints.

A step is a function of the weights, the optimizer's state and its own number: what it is fed and
what it draws follow from seed and number. So a training that was cut off goes on
from any checkpoint to the same weights.

Keras' `fit` is not used: it saves between epochs only, and `MultiWorkerMirroredStrategy` fails in
it (Keras 3.15: a PerReplica batch cannot be converted to a tensor).
"""

import sys
import time

import keras
import tensorflow as tf
from tqdm import tqdm

from tfhand import files
from tfhand.runs import checkpoints, preemption
from tfhand.training import curves, diagnosis, guard, workers

__all__ = ["check_batches", "compile_trainer", "fit"]

_WARMUP_STEPS = 60
_PREFETCHED = 4
# What steps found is read every so many: reading waits for all that the device was given.
_LOOKED_AT_TOGETHER = 10


def check_batches(num_devices, **batches):
    """Checks that every device gets the same share of every batch.

    The mean over devices is that over the batch only then.

    Args:
        num_devices: Number of devices.
        **batches: Samples a step over all devices, by flag.

    Raises:
        ValueError: If a batch cannot be divided.
    """
    for name, size in batches.items():
        if size % num_devices:
            raise ValueError(
                f"Expected --{name} to be a multiple of the {num_devices} devices, found {size}."
            )


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
    schedule = keras.optimizers.schedules.CosineDecay(
        0.01 * learning_rate, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    averaging = {"use_ema": average > 0.0, "ema_momentum": average}
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, **averaging)
    # XLA compiles the element-wise parts by themselves; its convolutions are slower on a CPU.
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    model.track(model.metric_names())


def fit(model, make_batch, steps, folder, name, run, watching=(), describe=None):
    """Runs the steps up to `steps`, from the last checkpoint if there is one.

    Args:
        model: `trainer.PoseTrainer` or `prior_trainer.PriorTrainer`, compiled.
        make_batch: Function of TensorFlow operations from a step's number, int64 scalar from 0, and
            a part (index, count) of the batch to the part that it takes.
        steps: Steps.
        folder: `pathlib.Path` of the stage.
        name: Of this training within the stage.
        run: `options.RunOptions`.
        watching: Functions of (model, step) that write summaries at every point of the curves.
        describe: Function from (term's name, step, row of the batch) to the name of a sample, for
            messages; step counts from 0.

    Raises:
        ValueError: If loss or gradient were not finite too often; checkpoints are unharmed.
        SystemExit: After SIGTERM, once there is a checkpoint of the step that was under way.
    """
    training = _Training(model, make_batch, steps, folder, name, watching, describe, run)
    step = training.resume()
    batches = iter(workers.deal(model.distribute_strategy, make_batch, step, steps, _PREFETCHED))
    take_step = workers.compiled(model)
    with preemption.deferred() as is_asked_to_stop, training.progress(step) as bar:
        while step < steps:
            findings = take_step(next(batches), step, tf.constant(float(is_asked_to_stop())))
            step += 1
            bar.update()
            if training.look(step, findings, is_asked_to_stop()):
                preemption.leave(f"after step {step} of {steps} of {name}")
        if is_asked_to_stop():
            preemption.leave(f"after {name}")
    if model.optimizer.use_ema:
        # Nothing happens to what the checkpoint has: a restart ends here again.
        model.optimizer.finalize_variable_values(model.network.trainable_variables)


class _Training:
    """What a training leaves behind while it runs: counts, curves and checkpoints."""

    def __init__(self, model, make_batch, steps, folder, name, watching, describe, run):
        strategy = model.distribute_strategy
        self._model, self._steps, self._name = model, steps, name
        self._watching, self._every = watching, run.checkpoint_steps
        self._is_chief = workers.is_chief(strategy)
        self._is_alone = workers.num_workers(strategy) == 1
        self._logs = folder / "logs" / name
        self._tally = guard.Tally(
            name,
            model.term_names(),
            run.max_skipped_in_row,
            run.max_skipped,
            describe or (lambda term, step, row: f"row {row} of the batch"),
            diagnosis.Examiner(model, make_batch).find,
        )
        means = [variable for metric in model.metrics for variable in metric.variables]
        state = [v.value for v in (*model.weights, *model.optimizer.variables, *means)]
        self._checkpoints = checkpoints.Checkpoints(
            folder / "backup" / name, [*state, self._tally.variable], self._is_chief
        )
        self._pending = []
        self._writer = tf.summary.create_noop_writer()
        self._last = 0, time.monotonic()

    def resume(self):
        """Restores the newest checkpoint; returns its step."""
        step = self._checkpoints.restore()
        workers.check_agreement(self._model.distribute_strategy, step)
        if self._is_chief:
            curves.rewind(self._logs, step)
            if step < self._steps:
                with files.writing(self._logs):
                    self._writer = tf.summary.create_file_writer(str(self._logs))
        return step

    def progress(self, step):
        """Returns a progress bar, which is not shown in a file."""
        self._last = step, time.monotonic()
        return tqdm(
            initial=step,
            total=self._steps,
            desc=self._name,
            unit="step",
            disable=None if self._is_chief else True,
        )

    def look(self, step, findings, is_asked_to_stop):
        """Looks at steps that were made, saves this one if it is time, returns whether to leave.

        Several machines leave after the same step, at which all of them read that one was asked to.
        """
        leave = is_asked_to_stop and self._is_alone
        is_point = step % self._every == 0 or step == self._steps
        self._pending.append((step, findings))
        if is_point or leave or len(self._pending) == _LOOKED_AT_TOGETHER:
            for found in self._pending:
                leave |= self._tally.count(*found)
            self._pending = []
        if is_point:
            self._write_point(step)
        if is_point or leave:
            self._checkpoints.save(step)
        return leave

    def _write_point(self, step):
        """Writes and prints the means since the last point, and starts them anew."""
        metrics = self._model.metrics
        # Nothing counts where all steps since the last point were skipped.
        counted = [m for m in metrics if float(tf.convert_to_tensor(m.count.value)) > 0.0]
        values = {metric.name: metric.result() for metric in counted}
        values["learning_rate"] = self._model.optimizer.learning_rate
        values = {name: float(tf.convert_to_tensor(value)) for name, value in values.items()}
        self._print_point(step, values)
        with files.writing(self._logs), self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            if self._is_chief:
                for watch in self._watching:
                    watch(self._model, step)
            self._writer.flush()
        for metric in metrics:
            metric.reset_state()

    def _print_point(self, step, values):
        last_step, last_time = self._last
        self._last = step, time.monotonic()
        if self._is_chief:
            milliseconds = 1000.0 * (self._last[1] - last_time) / (step - last_step)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            place = f"{self._name}: step {step} of {self._steps}, {milliseconds:.0f} ms a step"
            tqdm.write(f"{place}: {shown}")
            sys.stdout.flush()
