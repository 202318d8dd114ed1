"""Two processes on this machine train as one, and survive the loss of one of them."""

import os
import signal
import sys
import textwrap
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import two_workers
from tfhand.data import augmentation, stateless_rng
from tfhand.geometry import crop
from tfhand.losses import terms
from tfhand.models import pose_network
from tfhand.runs import preemption
from tfhand.training import loop, lost_workers, objectives, options, trainer, turns, workers

SPEC = crop.CropSpec(image_size=16, cube_mm=300.0)
STEPS, BATCH, VIEWS = 6, 4, 2
# The halves of a batch are summed in another order: float32 round-off of gradients of order one,
# times a learning rate of 0.05, over six steps.
TOLERANCE = 2e-5


def make_model(strategy):
    keras.utils.set_random_seed(3)
    weights = terms.LossWeights(*[0.0] * 2, 0.01, 0.0, 0.1, 0.0, 0.0)
    objective = objectives.RecordedObjective(
        weights=weights,
        target_weight=1.0,
        negative_elbo=None,
        spec=SPEC,
        augment=augmentation.AugmentationConfig(),
    )
    with strategy.scope():
        network = pose_network.build_pose_network(
            pose_network.PoseNetworkConfig(16, 4, features=4, growth=2, depth=1)
        )
        model = trainer.PoseTrainer(network, recorded=objective, seed=7)
        # Averaged weights are state of the optimizer, which a restart has to find as well.
        model.compile(optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))
        model.optimizer.build(network.trainable_variables)
        model.track(model.metric_names())
    return model


def make_batch(step, part):
    rng = stateless_rng.for_step(5, "batch", step, part)
    size = BATCH // part[1]
    sample = {
        "depth_mm": rng.uniform([size, VIEWS, 16, 16], -100.0, 150.0),
        "ref_from_crop": tf.eye(4, batch_shape=[size, VIEWS]),
        "target_mm": 40.0 * rng.normal([size, VIEWS, 41, 3]),
        "target_mask": tf.ones([size, VIEWS, 41]),
    }
    return {"recorded": sample}


def fit(strategy, folder):
    model = make_model(strategy)
    run = options.RunOptions(checkpoint_steps=2)
    loop.fit(model, make_batch, STEPS, folder, "toy", run)
    return model.network.get_weights()


# A process of two. The second sends itself a signal before it looks at a step, or never.
WORKER = """
    import importlib.util, os, pathlib, signal, sys
    import numpy as np
    from tfhand.training import cluster, loop, lost_workers, workers
    path, folder, index, last, number = sys.argv[1:]
    strategy = cluster.make_strategy(60)
    spec = importlib.util.spec_from_file_location("toy", path)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    original = loop._Training.look

    def look(self, step, *arguments):
        if index == "1" and step == int(last):
            os.kill(os.getpid(), int(number))
        return original(self, step, *arguments)

    loop._Training.look = look
    with lost_workers.leave_when_one_is_lost():
        weights = toy.fit(strategy, pathlib.Path(folder))
        workers.barrier(strategy)
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
    assert chief == 75, chief_text[-3000:]
    (line,) = [line for line in chief_text.splitlines() if line.startswith("train: lost")]
    assert "the same command on all machines" in line

    # One is asked to stop: both save and leave after the same step.
    results = run_two(tmp_path / "two", 3, signal.SIGTERM)
    assert [status for status, _ in results] == [preemption.EXIT_PREEMPTED] * 2, results
    assert all("Going on from step 2" in text for _, text in results)
    assert all("SIGTERM after step 4 of 6" in text for _, text in results)

    results = run_two(tmp_path / "two")
    assert [status for status, _ in results] == [0, 0], results
    assert all("Going on from step 4" in text for _, text in results)
    for index in range(2):
        with np.load(tmp_path / f"two-{index}.npz") as saved:
            weights = [saved[name] for name in saved.files]
        for a, b in zip(weights, alone, strict=True):
            np.testing.assert_allclose(a, b, atol=TOLERANCE)
    start = make_model(tf.distribute.get_strategy()).network.get_weights()
    moved = max(np.abs(a - b).max() for a, b in zip(start, alone, strict=True))
    assert moved > 100 * TOLERANCE
    # Only the chief writes: every point once, with the means over both halves.
    two, one = read_curves(tmp_path / "two" / "logs"), read_curves(tmp_path / "alone" / "logs")
    assert set(two) == set(one)
    for name, points in one.items():
        np.testing.assert_allclose(two[name], points, rtol=1e-3, err_msg=name)


# A process of two, of which the chief works alone and the other waits for it inside of TensorFlow.
WAITER = """
    import sys, time
    from tfhand.training import preemption
    preemption.leave_on_sigterm()
    from tfhand.training import cluster, turns, workers
    strategy = cluster.make_strategy(200)
    workers.barrier(strategy)
    print("ready", flush=True)
    with turns.one_by_one(strategy):
        time.sleep(60)
"""


def test_sigterm_ends_the_wait_for_another_worker():
    code = textwrap.dedent(WAITER)
    with two_workers.started(lambda index: ("-c", code)) as processes:
        for process in processes:
            assert "ready\n" in iter(process.stdout.readline, "")
        # The call follows the line; a moment too early would be no failure, only another place.
        time.sleep(1.0)
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            text, _ = process.communicate(timeout=60)
            assert process.returncode == preemption.EXIT_PREEMPTED, text
            assert "Stopped by SIGTERM" in text


# A process of two. Each works alone, in TensorFlow, for longer than the other may wait; then one
# is lost while the chief works.
LONG_WORK = """
    import os, pathlib, sys, time
    from tfhand.training import cluster, lost_workers, preemption, turns
    import tensorflow as tf
    folder, index = pathlib.Path(sys.argv[1]), sys.argv[2]
    strategy = cluster.make_strategy(10)

    def work(seconds):
        end = time.monotonic() + seconds
        matrix = tf.random.normal([100, 100])
        while time.monotonic() < end:
            matrix = tf.linalg.matmul(matrix, matrix) / 100.0
            time.sleep(0.01)

    with lost_workers.leave_when_one_is_lost():
        with turns.one_by_one(strategy):
            if index == "0":
                work(11)
                (folder / "made").touch()
            assert (folder / "made").exists()
            work(11 if index == "1" else 0)
        with turns.side_by_side(strategy):
            work(0.1)
        print("together again", flush=True)
        if index == "1":
            os._exit(1)
        with turns.one_by_one(strategy), preemption.deferred() as is_asked_to_stop:
            while not is_asked_to_stop():
                work(0.1)
            (folder / "saved").touch()
            preemption.leave("after step 3 of 9 of prior")
"""


def test_processes_may_work_longer_than_others_may_wait(tmp_path):
    code = textwrap.dedent(LONG_WORK)
    (chief, text), (other, other_text) = two_workers.run(lambda i: ("-c", code, tmp_path, i))
    assert "together again" in text and "together again" in other_text, text + other_text
    assert (chief, other) == (preemption.EXIT_PREEMPTED, 1)
    assert "train: lost another worker" in text
    # At once, so that the other, which is started again, finds it gone; but not without saving.
    assert "Stopped by the loss of another worker after step 3 of 9 of prior" in text
    assert (tmp_path / "saved").exists()


def test_what_is_no_text_can_be_told(monkeypatch):
    monkeypatch.setattr(workers, "num_workers", lambda strategy: 2)
    monkeypatch.setattr(workers, "_index", lambda strategy: 0)
    monkeypatch.setattr(
        workers, "_sum_over_workers", lambda strategy, values: values.astype(np.int64)
    )
    assert workers.gather(None, "no \udcff") == ["no \\udcff", ""]


def test_a_defect_of_the_signs_is_not_lost(monkeypatch, capsys):
    monkeypatch.setattr(workers, "num_workers", lambda strategy: 2)

    def gather(strategy, text):
        raise TypeError("a defect")

    monkeypatch.setattr(workers, "gather", gather)
    with pytest.raises(TypeError, match="a defect"):
        with turns._signs_of_life(None):
            pass
    assert "a defect" in capsys.readouterr().err


def test_without_other_workers_everything_is_the_chiefs():
    strategy = tf.distribute.get_strategy()
    assert workers.is_chief(strategy) and workers.num_workers(strategy) == 1
    with turns.one_by_one(strategy):
        workers.barrier(strategy)
        workers.check_agreement(strategy, 5)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnavailableError(None, None, "Socket closed"),
        tf.errors.DeadlineExceededError(None, None, "Collective has timed out"),
        tf.errors.InternalError(
            None, None, "Graph execution error:\n\nCollective ops is aborted by: broken\nRestart."
        ),
        tf.errors.InternalError(
            None, None, "RST_STREAM\nAdditional GRPC error information from remote target /job:..."
        ),
        tf.errors.InternalError(None, None, "CoordinationServiceAgent is in ERROR: Task 1 died."),
    ],
    ids=lambda error: error.message[:12],
)
def test_errors_of_others_leave_with_a_status_of_their_own(error, monkeypatch, capsys):
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as left, lost_workers.leave_when_one_is_lost():
        raise error
    assert left.value.code == preemption.EXIT_PREEMPTED
    said = capsys.readouterr().err
    waited = isinstance(error, tf.errors.DeadlineExceededError)
    begin = "waited longer than --worker_timeout for" if waited else "lost"
    assert said.startswith(f"train: {begin} another worker; ")


def test_a_defect_of_this_process_is_no_lost_worker():
    error = tf.errors.InternalError(
        None,
        None,
        "Graph execution error:\n\nDetected at node 'CollectiveReduceV2' defined at:\n"
        "  File 'collective_all_reduce_strategy.py'\nCUDA launch failed.",
    )
    with pytest.raises(tf.errors.InternalError), lost_workers.leave_when_one_is_lost():
        raise error


def test_other_numbers_of_devices_are_no_lost_worker():
    said = "Collective ops is aborted by: Collective Op x has group_size 6 and group_key 2 but that"
    error = tf.errors.InternalError(None, None, f"{said} group has size 4")
    with pytest.raises(ValueError, match=r"as many devices on every machine.*group_size 6"):
        with lost_workers.leave_when_one_is_lost():
            raise error
