"""A training that is cut off goes on to the same weights and curves; bad numbers are survived."""

import logging
import os
import pathlib
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
from tfhand.runs import preemption
from tfhand.training import loop, options, prior_trainer

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 10
EVERY = options.RunOptions(checkpoint_steps=3, max_skipped_in_row=2, max_skipped=4)


def make_model():
    keras.utils.set_random_seed(3)
    palm = np.random.default_rng(3).uniform(-40.0, 40.0, (11, 3))
    config = pose_prior.PosePriorConfig(palm, latent_size=2, hidden_size=8)
    return prior_trainer.PriorTrainer(pose_prior.PosePrior(config), STEPS, seed=4)


def make_batch(step, part=(0, 1)):
    return {"prior": 40.0 * stateless_rng.for_step(5, "hands", step, part).normal([6, 41, 3])}


def train(folder, make=make_batch):
    """Trains, or goes on; returns all that a step changes."""
    model = make_model()
    loop.fit(model, make, STEPS, folder, "toy", EVERY)
    return [v.numpy() for v in (*model.weights, *model.optimizer.variables)]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, read_curves):
    """The state and the curves of a training without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return train(folder), read_curves(folder)


def test_curves_have_every_point_once(whole):
    _, curves = whole
    assert set(curves) == {"negative_elbo", "learning_rate"}
    assert [step for step, _ in curves["negative_elbo"]] == [3, 6, 9, 10]


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 3, 5, 9])
def test_goes_on_to_the_same_weights_and_curves(whole, tmp_path, read_curves, monkeypatch, step):
    original = loop._Training.look

    def look(self, number, *arguments):
        if number == step:
            raise Killed
        return original(self, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "look", look)
        with pytest.raises(Killed):
            train(tmp_path)
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]


# Runs this module's training in a process of its own, which kills itself: `where` is a function
# of the loop and `step` the one of its calls.
KILL = """
    import importlib.util, os, pathlib, signal, sys
    from tfhand.training import checkpoints, loop
    path, folder, where, step = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("toy", path)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)

    def killing(cls, name):
        original = getattr(cls, name)

        def function(self, number, *arguments):
            if where == name and number == int(step):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, number, *arguments)

        setattr(cls, name, function)

    # Before a step is looked at; after a point is written, before its checkpoint is; never.
    killing(loop._Training, "look")
    killing(checkpoints.Checkpoints, "save")
    toy.train(pathlib.Path(folder))
"""


def run_process(code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", textwrap.dedent(code), __file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_killed_again_and_again(whole, tmp_path, read_curves):
    for where, step in (("look", 2), ("save", 6), ("look", 8)):
        assert run_process(KILL, tmp_path, where, step).returncode == -signal.SIGKILL
    # The point of step 6 was written before the kill, and again after it.
    result = run_process(KILL, tmp_path, "never", 0)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "from step 6" in result.stdout
    assert read_curves(tmp_path) == whole[1]
    assert_equal(train(tmp_path), whole[0])


def test_a_record_that_was_cut_off_is_dropped(whole, tmp_path, read_curves):
    train(tmp_path)
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    events.write_bytes(events.read_bytes()[:-5])
    for path in tmp_path.rglob("ckpt-10.*"):
        path.unlink()
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]


@pytest.mark.parametrize("step", [4, STEPS])
def test_sigterm_saves_and_leaves(whole, tmp_path, read_curves, capfd, monkeypatch, step):
    original = loop._Training.look
    before = signal.getsignal(signal.SIGTERM)

    def look(self, number, findings, is_asked_to_stop):
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, number, findings, is_asked_to_stop)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "look", look)
        with pytest.raises(SystemExit) as stopped:
            train(tmp_path)
    assert stopped.value.code == preemption.EXIT_PREEMPTED == 75
    assert f"after step {step} of {STEPS} of toy" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
    assert_equal(train(tmp_path), whole[0])
    assert f"Going on from step {step}" in capfd.readouterr().out
    assert read_curves(tmp_path) == whole[1]


def test_the_graph_is_traced_once_and_calls_no_python(tmp_path, graphs):
    train(tmp_path)
    (graph,) = graphs
    assert graph.experimental_get_tracing_count() == 1
    (concrete,) = graph._list_all_concrete_functions()
    operations = {op.type for op in concrete.graph.get_operations()}
    for function in concrete.graph.as_graph_def().library.function:
        operations |= {node.op for node in function.node_def}
    assert not {name for name in operations if "PyFunc" in name}


def bad_at(*steps):
    def make(step, part):
        is_bad = tf.reduce_any(tf.equal(step, tf.constant(steps, tf.int64)))
        batch = make_batch(step)["prior"]
        wrong = tf.where(tf.range(6)[:, None, None] == 4, np.nan, batch)
        return {"prior": tf.where(is_bad, wrong, batch)}

    return make


def test_a_step_that_went_wrong_changes_nothing(tmp_path, caplog, read_curves):
    with caplog.at_level(logging.WARNING, "absl"):
        state = train(tmp_path / "some", bad_at(2, 3, 7))
    messages = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert [m.split(",")[0] for m in messages] == [f"toy: skipped step {k}" for k in (3, 4, 8)]
    assert all("negative_elbo is not finite on row 4 of the batch" in m for m in messages)
    assert all(np.isfinite(value).all() for value in state)
    # The optimizer counts the steps that it made.
    assert STEPS - 3 in [int(v) for v in state if v.dtype == np.int64 and v.shape == ()] + [
        int(v) for v in state if v.dtype == np.int32 and v.shape == ()
    ]
    curve = read_curves(tmp_path / "some")["negative_elbo"]
    assert np.isfinite([value for _, value in curve]).all()


def test_too_many_in_a_row_stop(tmp_path, whole):
    with pytest.raises(ValueError, match=r"toy went wrong.*at most 2 .*3 and 3 at step 8.*row 4"):
        train(tmp_path, bad_at(5, 6, 7))
    # Good data from the checkpoint of step 6 on; it counts the one step that was skipped by then.
    state = train(tmp_path)
    assert all(np.isfinite(value).all() for value in state)


def test_too_many_in_all_stop_also_after_an_interruption(tmp_path, monkeypatch):
    make = bad_at(0, 1, 3, 4, 6)
    original = loop._Training.look

    def look(self, number, *arguments):
        if number == 5:
            raise Killed
        return original(self, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "look", look)
        with pytest.raises(Killed):
            train(tmp_path, make)
    with pytest.raises(ValueError, match=r"4 in all, found 1 and 5 at step 7"):
        train(tmp_path, make)


class Averaged(prior_trainer.PriorTrainer):
    """The same training, whose network ends with the averages of its weights."""

    def __init__(self, prior):
        super().__init__(prior, STEPS, seed=4)
        self.network = prior
        optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.8)
        self.compile(optimizer=optimizer)
        self.optimizer.build(prior.trainable_variables)


def test_ends_with_averaged_weights(tmp_path, monkeypatch):
    seen, original = [], loop._Training.look

    def look(self, number, *arguments):
        seen.append([v.numpy() for v in self._model.network.trainable_variables])
        return original(self, number, *arguments)

    monkeypatch.setattr(loop._Training, "look", look)
    model = make_model()
    averaged = Averaged(model.prior)
    loop.fit(averaged, make_batch, STEPS, tmp_path, "toy", EVERY)
    # Averages begin with the first step.
    average, *later = seen
    for weights in later:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
    for found, expected in zip(model.prior.trainable_variables, average, strict=True):
        # float32 sums in another order.
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    # What is taken up from the last checkpoint ends in the same place.
    again = Averaged(make_model().prior)
    loop.fit(again, make_batch, STEPS, tmp_path, "toy", EVERY)
    assert_equal([v.numpy() for v in again.network.trainable_variables],
                 [v.numpy() for v in model.prior.trainable_variables])  # fmt: skip


def test_a_training_that_skipped_goes_on_to_the_same_weights(tmp_path, read_curves, monkeypatch):
    make = bad_at(1, 4)
    expected = train(tmp_path / "whole", make)
    original = loop._Training.look

    def look(self, number, *arguments):
        if number == 8:
            raise Killed
        return original(self, number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "look", look)
        with pytest.raises(Killed):
            train(tmp_path / "killed", make)
    assert_equal(train(tmp_path / "killed", make), expected)
    assert read_curves(tmp_path / "killed") == read_curves(tmp_path / "whole")


def test_draws_follow_the_number_of_the_step_and_not_what_the_optimizer_made(
    tmp_path, monkeypatch, caplog
):
    """A draw that goes wrong comes once: the step after a skipped one has draws of its own."""
    original = pose_prior.PosePrior.denoising_loss
    luck = [float(stateless_rng.for_step(4, "latents", k).uniform([1])[0]) for k in range(STEPS)]
    worst = sorted(luck)[2]

    def denoising_loss(self, spheres_mm, rng):
        is_bad = rng.uniform([1]) <= worst
        return tf.where(is_bad, np.nan, original(self, spheres_mm, rng))

    monkeypatch.setattr(pose_prior.PosePrior, "denoising_loss", denoising_loss)
    with caplog.at_level(logging.WARNING, "absl"):
        train(tmp_path)
    messages = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    unlucky = [k + 1 for k in range(STEPS) if luck[k] <= worst]
    assert [m.split(",")[0] for m in messages] == [f"toy: skipped step {k}" for k in unlucky]


def test_a_full_disk_is_one_error_and_no_end(tmp_path, whole, read_curves):
    with pytest.raises(OSError, match="File too large") as refused, bad_luck.full_disk():
        train(tmp_path)
    assert str(tmp_path) in refused.value.filename
    assert_equal(train(tmp_path), whole[0])
    assert read_curves(tmp_path) == whole[1]
