"""Replicas of a training on the devices of one machine or of several: who does what.

With `MultiWorkerMirroredStrategy` every machine runs the same command. Each makes its rows of every
batch, all take the same step, and the first, the chief, alone writes. The working directory is one
that all of them see.
"""

import contextlib
import faulthandler
import functools
import json
import os
import sys

import tensorflow as tf

from tfhand.training import guard, preemption, rendezvous

__all__ = [
    "barrier",
    "check_agreement",
    "compiled",
    "deal",
    "is_chief",
    "leave_when_one_is_lost",
    "multi_worker_strategy",
    "num_workers",
    "one_by_one",
]


# What a collective operation ends with when a process it waits for is gone or silent.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def multi_worker_strategy(timeout_seconds):
    """Returns the strategy for the machines of the environment variable TF_CONFIG.

    It has to be made before any TensorFlow operation runs, and waits for the other machines. If
    they do not come, the process ends with status 1.

    Args:
        timeout_seconds: Longest wait for another machine, now and in every operation with it.

    Raises:
        ValueError: If TF_CONFIG does not name this machine among workers.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        addresses, task = config["cluster"]["worker"], config["task"]
        is_there = task["type"] == "worker" and 0 <= int(task["index"]) < len(addresses)
    except (ValueError, KeyError, TypeError):
        is_there = False
    if not is_there:
        raise ValueError(
            "Expected in the environment variable TF_CONFIG addresses of workers and the index of "
            f'this one, {{"cluster": {{"worker": ["host:port", ...]}}, "task": {{"type": "worker", '
            f'"index": 0}}}}, found {text!r}.'
        )
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout_seconds)
    print(f"Waiting for all of {addresses}, at most {timeout_seconds} s.", flush=True)
    rendezvous.wait_for_all(addresses, int(task["index"]), timeout_seconds)
    # TensorFlow waits for an hour and lets no Python run meanwhile, so this watch is not in Python.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(timeout_seconds, exit=True, file=nowhere)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        faulthandler.cancel_dump_traceback_later()
    preemption.take_back()
    return strategy


@contextlib.contextmanager
def leave_when_one_is_lost():
    """Context in which the loss of another process ends this one with `EXIT_PREEMPTED`.

    At once, without the usual end of a process, which would wait for those that are lost. For
    trainings of several processes only: alone, the same errors mean something else.
    """
    try:
        yield
    except _LOST as error:
        print(
            "train: lost another worker; the same command on all machines goes on from the last "
            f"checkpoint. TensorFlow says: {_cause(error)}",
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        os._exit(preemption.EXIT_PREEMPTED)


def _cause(error):
    """Returns the first line of a message that says what happened, not where it was defined."""
    where = ("Graph execution error", "Detected at", "File", " ")
    lines = [line for line in error.message.splitlines() if line and not line.startswith(where)]
    return (lines or [type(error).__name__])[0][:200]


def is_chief(strategy):
    """Whether this process writes."""
    resolver = strategy.cluster_resolver
    return num_workers(strategy) == 1 or resolver.task_id == 0


def deal(strategy, make_batch, first, last, prefetched):
    """Makes for every replica its part of every batch.

    Args:
        strategy: `tf.distribute.Strategy`.
        make_batch: Function from (step's number, (index, count)) to the index-th of count equal
            parts of the batch, tensors [B / count, ...].
        first: Number of the first step.
        last: Number after the last step.
        prefetched: Batches that are made ahead.

    Returns:
        Iterable of what `strategy.run` takes.
    """
    replicas = strategy.num_replicas_in_sync

    # Without autograph, which would convert the NumPy code behind the skin as well.
    @tf.autograph.experimental.do_not_convert
    def make(step, index):
        return make_batch(step, (index, replicas))

    steps = tf.data.Dataset.range(first, last)
    if replicas == 1:
        return steps.map(lambda step: make(step, 0)).prefetch(prefetched)

    def of_worker(context):
        here = replicas // context.num_input_pipelines
        start = here * context.input_pipeline_id
        parts = tf.data.Dataset.range(start, start + here)
        dataset = steps.flat_map(lambda step: parts.map(lambda index: make(step, index)))
        return dataset.prefetch(prefetched)

    return strategy.distribute_datasets_from_function(of_worker)


def compiled(model):
    """Returns a graph of a model's step on all replicas.

    Args:
        model: With `distribute_strategy` and `step(batch, step, stop)`, which returns
            `guard.Finding`.

    Returns:
        Function from (batch, number of the step from 0, stop) to a list of `guard.Finding`, one for
        each local replica.
    """
    strategy = model.distribute_strategy

    @tf.function(autograph=False)
    def on_replicas(batch, step, stop):
        def fields(batch, step, stop):
            finding = model.step(batch, step, stop)
            return finding.is_good, finding.stop, finding.term, finding.row

        return strategy.run(fields, (batch, step, stop))

    def take_step(batch, step, stop):
        step = tf.constant(step, tf.int64)
        columns = map(strategy.experimental_local_results, on_replicas(batch, step, stop))
        return [guard.Finding(*row) for row in zip(*columns, strict=True)]

    take_step.graph = on_replicas
    return take_step


def check_agreement(strategy, step):
    """Checks that all processes go on from the same step.

    Raises:
        ValueError: If they do not: they see different working directories.
    """
    if num_workers(strategy) == 1:
        return
    mean = _sum_over_workers(strategy, step) / strategy.num_replicas_in_sync
    # All of them learn of it, also one that happens to be at the mean of the others.
    if _sum_over_workers(strategy, abs(step - mean)) > 0.0:
        raise ValueError(
            f"Expected one working directory that all workers see, found checkpoints of step "
            f"{step} here and of others elsewhere."
        )


def barrier(strategy):
    """Waits until all processes are here."""
    if num_workers(strategy) > 1:
        _sum_over_workers(strategy, 0)


def _sum_over_workers(strategy, value):
    return float(_summing(strategy)(tf.constant(float(value))))


@functools.cache
def _summing(strategy):
    @tf.function(autograph=False)
    def total(value):
        return strategy.reduce("SUM", strategy.run(tf.identity, (value,)), axis=None)

    return total


@contextlib.contextmanager
def one_by_one(strategy):
    """Context that the chief goes through first, and then, when it has left, the others.

    What the chief makes in it is there for the others to read.
    """
    if not is_chief(strategy):
        barrier(strategy)
    yield
    if is_chief(strategy):
        barrier(strategy)


def num_workers(strategy):
    """Returns the number of processes that train together."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return 1
    return len(resolver.cluster_spec().as_dict().get("worker", [])) or 1
