"""Two processes on this machine train as one, and survive the loss of one of them."""

import os
import signal
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import loss_weights, small_networks, two_workers
from tfhand.data import augmentation, stateless_rng
from tfhand.geometry import crop
from tfhand.runs import preemption
from tfhand.training import objectives, optimization, options, replicas, trainer

SPEC = crop.CropSpec(image_size=16, cube_mm=300.0)
STEPS, BATCH, VIEWS = 6, 4, 2
# The halves of a batch are summed in another order: float32 round-off of gradients of order one,
# times a learning rate of 0.05, over six steps.
TOLERANCE = 2e-5


def make_model(strategy):
    keras.utils.set_random_seed(3)
    weights = loss_weights.only(multi_view_consistency=0.01, bone_length=0.1)
    objective = objectives.RecordedObjective(
        weights=weights,
        target_weight=1.0,
        negative_elbo=None,
        spec=SPEC,
        augment=augmentation.AugmentationConfig(),
    )
    with strategy.scope():
        network = small_networks.build(16)
        model = trainer.PoseTrainer(network, recorded=objective, seed=7)
        # Averaged weights are state of the optimizer, which a restart has to find as well.
        model.compile(
            optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5), jit_compile=False
        )
        model.optimizer.build(network.trainable_variables)
    return model


def make_batch(step, shard):
    rng = stateless_rng.for_step(5, "batch", step, shard)
    size = BATCH // shard[1]
    sample = {
        "depth_mm": rng.uniform([size, VIEWS, 16, 16], -100.0, 150.0),
        "ref_from_crop": tf.eye(4, batch_shape=[size, VIEWS]),
        "target_mm": 40.0 * rng.normal([size, VIEWS, 41, 3]),
        "target_mask": tf.ones([size, VIEWS, 41]),
    }
    return {"recorded": sample}


def fit(strategy, folder):
    model = make_model(strategy)
    run = optimization.TrainingRun(folder, "toy", options.RunOptions(checkpoint_steps=2))
    optimization.fit(model, make_batch, STEPS, run)
    return model.network.get_weights()


# A process of two. The chief makes something that the other finds. The second sends itself a signal
# after a step, or never.
WORKER = """
    import importlib.util, os, pathlib, sys
    import numpy as np
    from tfhand.training import callbacks, replicas
    path, folder, index, last, number = sys.argv[1:]
    with replicas.exit_at_once("multi_worker"):
        strategy = replicas.make_strategy("multi_worker", 0)
        spec = importlib.util.spec_from_file_location("toy", path)
        toy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(toy)
        with replicas.chief_first(strategy):
            made = pathlib.Path(folder + "-made")
            if index == "0":
                made.touch()
            assert made.exists()

        class Killing(callbacks.LastStep):
            def on_train_batch_end(self, batch, logs=None):
                super().on_train_batch_end(batch, logs)
                if index == "1" and toy.STEPS - self._remaining == int(last):
                    os.kill(os.getpid(), int(number))

        callbacks.LastStep = Killing
        weights = toy.fit(strategy, pathlib.Path(folder))
    np.savez(f"{folder}-{index}.npz", *weights)
"""


def run_two(folder, last=0, number=0):
    """Runs both processes; returns [(status, what it printed)]."""
    code = textwrap.dedent(WORKER)
    return two_workers.run(lambda index: ("-c", code, __file__, folder, index, last, int(number)))


def test_two_processes_lose_one_go_on_and_end_as_one(tmp_path, read_curves):
    alone = fit(tf.distribute.get_strategy(), tmp_path / "alone")
    (chief, chief_text), (other, other_text) = run_two(tmp_path / "two", 3, signal.SIGKILL)
    assert other == -signal.SIGKILL, other_text[-3000:]
    assert chief != 0, chief_text[-3000:]

    results = run_two(tmp_path / "two")
    assert [status for status, _ in results] == [0, 0], results
    assert all("Going on from step 2" in text for _, text in results)
    for index in range(2):
        with np.load(tmp_path / f"two-{index}.npz") as saved:
            weights = [saved[name] for name in saved.files]
        for a, b in zip(weights, alone, strict=True):
            np.testing.assert_allclose(a, b, atol=TOLERANCE)
    start = make_model(tf.distribute.get_strategy()).network.get_weights()
    moved = max(np.abs(a - b).max() for a, b in zip(start, alone, strict=True))
    assert moved > 100 * TOLERANCE
    # Only the chief writes, the means over both halves.
    two, one = read_curves(tmp_path / "two" / "logs"), read_curves(tmp_path / "alone" / "logs")
    assert set(two) == set(one)
    for name, points in one.items():
        np.testing.assert_allclose(two[name], points, rtol=1e-3, err_msg=name)


def test_without_other_workers_everything_is_the_chiefs():
    strategy = tf.distribute.get_strategy()
    assert replicas.is_chief(strategy)
    with replicas.chief_first(strategy):
        pass


@pytest.mark.parametrize(
    "config",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_without_this_machine_is_one_error(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"Expected in TF_CONFIG .*host:port"):
        replicas.make_strategy("multi_worker", 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (tf.errors.UnavailableError(None, None, "Socket closed"), preemption.EXIT_PREEMPTED),
        (tf.errors.ResourceExhaustedError(None, None, "out of memory"), 1),
        (ValueError("Expected a finite number"), 1),
    ],
)
def test_an_error_ends_one_of_several_machines_at_once(monkeypatch, capsys, error, status):
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as stopped, replicas.exit_at_once("multi_worker"):
        raise error
    assert stopped.value.code == status
    line = capsys.readouterr().err
    assert ("another machine is lost" in line) == (status == preemption.EXIT_PREEMPTED)
    assert getattr(error, "message", str(error)) in line
    with pytest.raises(type(error)), replicas.exit_at_once("mirrored"):
        raise error
