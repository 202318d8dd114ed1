"""A training that is cut off goes on to the same weights and curves; bad numbers are survived."""

import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import bad_luck
from tfhand.data import stateless_rng
from tfhand.models import pose_prior
from tfhand.training import callbacks, optimization, options, prior_trainer, trainer

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 10
RUN_OPTIONS = options.RunOptions(checkpoint_steps=3, max_skipped_in_row=2, max_skipped=4)


class Toy(trainer.Trainer):
    """Doubles numbers, with noise that each step draws; its graph takes no time."""

    def __init__(self):
        inputs = keras.Input((3,))
        network = keras.Model(inputs, keras.layers.Dense(3)(inputs))
        super().__init__(network, ["error"], largest_gradient_norm=None, name="toy")

    def evaluate_terms(self, batch):
        rows, rng = batch["rows"], stateless_rng.for_step(4, "noise", batch["step"])
        difference = self.network(rows) - 2.0 * rows + 0.1 * rng.normal([6, 3])
        error = tf.reduce_mean(tf.square(difference), axis=1)
        return tf.reduce_mean(error), {"error": error}


def make_model(optimizer=None):
    keras.utils.set_random_seed(3)
    return compiled(Toy(), optimizer or keras.optimizers.Adam(1e-2))


def compiled(model, optimizer):
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    return model


def make_batch(step, shard=(0, 1)):
    rng = stateless_rng.for_step(5, "rows", step, shard)
    return {"rows": rng.normal([6, 3])}


def fit(model, folder, make=make_batch, writers=()):
    run = optimization.TrainingRun(folder, "toy", RUN_OPTIONS)
    optimization.fit(model, make, STEPS, run, writers)


def train(folder, make=make_batch):
    """Trains, or goes on; returns all that a step changes."""
    model = make_model()
    fit(model, folder, make)
    return [v.numpy() for v in (*model.weights, *model.optimizer.variables)]


def assert_equal(state, expected):
    for a, b in zip(state, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, read_curves):
    """The state, the curves and the folder of a training without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return train(folder), read_curves(folder), folder


def test_curves_have_a_point_at_the_end_of_every_epoch(whole):
    _, curves, _ = whole
    assert set(curves) == {"loss", "gradient_norm", "error", "learning_rate"}
    assert [step for step, _ in curves["error"]] == [3, 6, 9, 10]


class Killed(Exception):
    pass


def test_killed_before_there_is_a_checkpoint(whole, tmp_path, read_curves, monkeypatch):
    class KilledAt(callbacks.LastStep):
        def on_train_batch_end(self, batch, logs=None):
            if self._remaining == STEPS:
                raise Killed
            super().on_train_batch_end(batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "LastStep", KilledAt)
        with pytest.raises(Killed):
            train(tmp_path)
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]


# Runs this module's training in a process of its own, which kills itself after a point of the
# curves is written and before its checkpoint is.
KILL = """
    import importlib.util, os, pathlib, signal, sys
    from tfhand.runs import checkpoints
    path, folder, step = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("toy", path)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)

    class BeforeSaving(checkpoints.Checkpoints):
        def save(self, number_of_step):
            if number_of_step == int(step):
                os.kill(os.getpid(), signal.SIGKILL)
            super().save(number_of_step)

    checkpoints.Checkpoints = BeforeSaving
    toy.train(pathlib.Path(folder))
"""


def test_killed_between_a_point_of_the_curves_and_its_checkpoint(
    whole, tmp_path, read_curves, capsys
):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", textwrap.dedent(KILL), __file__, str(tmp_path), "6"]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    # The point of step 6 was written before the kill, and again after it.
    state = train(tmp_path)
    assert "from step 3" in capsys.readouterr().out
    assert_equal(state, whole[0])
    assert read_curves(tmp_path) == whole[1]


def test_a_record_of_the_curves_that_was_cut_off(whole, tmp_path, read_curves):
    shutil.copytree(whole[2], tmp_path, dirs_exist_ok=True)
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    events.write_bytes(events.read_bytes()[:-5])
    for path in tmp_path.rglob("ckpt-10.*"):
        path.unlink()
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]


def bad_at(*steps):
    def make(step, shard):
        is_bad = tf.reduce_any(tf.equal(step, tf.constant(steps, tf.int64)))
        rows = make_batch(step)["rows"]
        wrong = tf.where(tf.range(6)[:, None] == 4, np.nan, rows)
        return {"rows": tf.where(is_bad, wrong, rows)}

    return make


def test_a_step_that_went_wrong_changes_nothing(tmp_path, caplog, read_curves, monkeypatch, graphs):
    make = bad_at(2, 3, 7)
    with caplog.at_level(logging.WARNING, "absl"):
        state = train(tmp_path / "some", make)
    assert_traced_once_without_python(graphs)
    messages = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    # Read at the end of every epoch.
    cause = "with loss, error not finite."
    assert messages == [f"toy: skipped steps: 1, {cause}"] * 3
    assert all(np.isfinite(value).all() for value in state)
    # The optimizer counts the steps that it made.
    assert STEPS - 3 in [int(v) for v in state if v.dtype == np.int64 and v.shape == ()] + [
        int(v) for v in state if v.dtype == np.int32 and v.shape == ()
    ]
    curves = read_curves(tmp_path / "some")
    assert np.isfinite([value for _, value in curves["error"]]).all()
    # Killed, it goes on to the same.
    with monkeypatch.context() as patch:
        patch.setattr(optimization.checkpoints.Checkpoints, "save", save_and_raise_at(6))
        with pytest.raises(Killed):
            train(tmp_path / "killed", make)
    assert_equal(train(tmp_path / "killed", make), state)
    assert read_curves(tmp_path / "killed") == curves


def assert_traced_once_without_python(graphs):
    (graph,) = graphs
    operations = {op.type for op in graph.get_operations()}
    for function in graph.as_graph_def().library.function:
        operations |= {node.op for node in function.node_def}
    assert not {name for name in operations if "PyFunc" in name}


def test_too_many_in_a_row_stop(tmp_path):
    with pytest.raises(ValueError, match=r"toy went wrong.*at most 2 .*3 and 3.*error"):
        train(tmp_path, bad_at(5, 6, 7))
    # Good data from the checkpoint of step 6 on; it counts the one step that was skipped by then.
    state = train(tmp_path)
    assert all(np.isfinite(value).all() for value in state)


def test_too_many_in_all_stop_also_after_an_interruption(tmp_path, monkeypatch):
    make = bad_at(0, 1, 3, 4, 6)

    with monkeypatch.context() as patch:
        patch.setattr(optimization.checkpoints.Checkpoints, "save", save_and_raise_at(6))
        with pytest.raises(Killed):
            train(tmp_path, make)
    with pytest.raises(ValueError, match=r"4 in all, found 2 and 5"):
        train(tmp_path, make)


def save_and_raise_at(step):
    original = optimization.checkpoints.Checkpoints.save

    def save(self, number):
        original(self, number)
        if number == step:
            raise Killed

    return save


def test_ends_with_averaged_weights(tmp_path):
    weights = []

    def averaged():
        return make_model(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.8))

    class Recording(callbacks.LastStep):
        def on_train_batch_end(self, batch, logs=None):
            weights.append([v.numpy() for v in self.model.network.trainable_variables])
            super().on_train_batch_end(batch, logs)

    model = averaged()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "LastStep", Recording)
        fit(model, tmp_path)
    # Averages begin with the first step.
    average, *later = weights
    for values in later:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, values, strict=True)]
    for variable, expected in zip(model.network.trainable_variables, average, strict=True):
        # float32 sums in another order.
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)
    # What is taken up from the last checkpoint ends in the same place.
    again = averaged()
    fit(again, tmp_path)
    assert_equal(again.network.get_weights(), model.network.get_weights())


def test_draws_follow_the_number_of_the_step_and_not_what_the_optimizer_made(tmp_path, monkeypatch):
    """A draw that goes wrong comes once: the step after a skipped one has draws of its own."""
    original = pose_prior.PosePrior.negative_elbo
    luck = [float(stateless_rng.for_step(4, "latents", k).uniform([1])[0]) for k in range(STEPS)]
    worst = sorted(luck)[2]

    def negative_elbo(self, spheres_mm, rng):
        is_bad = rng.uniform([1]) <= worst
        return tf.where(is_bad, np.nan, original(self, spheres_mm, rng=rng))

    monkeypatch.setattr(pose_prior.PosePrior, "negative_elbo", negative_elbo)
    palm = np.random.default_rng(3).uniform(-40.0, 40.0, (11, 3))
    config = pose_prior.PosePriorConfig(palm, latent_size=2, hidden_size=8)
    model = prior_trainer.PriorTrainer(pose_prior.PosePrior(config), seed=4)
    compiled(model, keras.optimizers.Adam(1e-2))

    def make_hands(step, shard):
        return {"spheres_mm": 40.0 * stateless_rng.for_step(5, "hands", step).normal([6, 41, 3])}

    fit(model, tmp_path, make_hands)
    _, total, _ = model.counter.read()
    assert total == 3


def test_a_full_disk_is_one_error_and_no_end(tmp_path, whole, read_curves):
    with pytest.raises(OSError, match="File too large") as refused, bad_luck.full_disk():
        train(tmp_path)
    assert str(tmp_path) in refused.value.filename
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]


@pytest.mark.parametrize(
    ("first", "stop", "every", "steps"),
    [
        (0, 10, 3, [3, 6, 9, 10]),
        (6, 10, 3, [9, 10]),
        (10, 10, 3, []),
        (0, 2, 3, [2]),
        # Another interval than before.
        (150, 460, 100, [250, 350, 450, 460]),
    ],
)
def test_an_epoch_ends_where_a_checkpoint_is_written(first, stop, every, steps):
    schedule = callbacks.Schedule(first, stop, every)
    epochs = range(schedule.initial_epoch, schedule.epochs)
    assert [schedule.steps_after(epoch) for epoch in epochs] == steps
    # Keras ends with averaged weights only where there is an epoch, made or not.
    assert schedule.epochs > 0


def test_the_rate_rises_stays_and_falls():
    schedule = optimization.HoldThenDecay(2.0, steps=40, warmup=4, hold=20)
    rates = np.array([schedule(step) for step in range(40)])
    assert np.all(np.diff(rates[:5]) > 0.0)
    np.testing.assert_allclose(rates[4:25], 2.0, rtol=1e-6)
    np.testing.assert_allclose(rates[32], 1.0, rtol=1e-6)
    assert np.all(np.diff(rates[24:]) < 0.0) and rates[-1] < 0.05
    later = optimization.HoldThenDecay(2.0, steps=400, warmup=4, hold=380)
    np.testing.assert_array_equal([later(step) for step in range(25)], rates[:25])
