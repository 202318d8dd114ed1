"""Replicas of a training on the devices of one machine or of several: who does what.

With `MultiWorkerMirroredStrategy` every machine runs the same command. Each makes its rows of every
batch, all take the same step, and the first, the chief, alone writes. The working directory is one
that all of them see.
"""

import contextlib
import functools
import os
import sys
import threading
import traceback

import numpy as np
import tensorflow as tf

from tfhand.training import guard, preemption

__all__ = [
    "barrier",
    "check_agreement",
    "compiled",
    "deal",
    "gather",
    "is_chief",
    "leave_when_one_is_lost",
    "num_workers",
    "one_by_one",
    "side_by_side",
]


# What a collective operation ends with when a process it waits for is gone or silent.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
# An internal error may be any defect; these words of TensorFlow 2.21 are said of other processes:
# by its collective executor, by gRPC, by the coordination service.
_OF_WORKERS = (
    "collective ops is aborted",
    "from remote target",
    "coordination service",
    "coordinationservice",
    "heartbeat timeout",
)
# Where a group of devices was joined by more or fewer than the others have.
_OTHER_DEVICES = ("but that group has size", "but that group doesn't contain that device")
# Texts of other lengths would be other graphs.
_BLOCK = 4096
# How often a process that works while others wait says so; any --worker_timeout is far longer.
_SECONDS_BETWEEN_SIGNS = 2.0
_WORKING, _DONE = "working", "done"
# Of the process: set where a thread was told that another is lost.
_lost = threading.Event()
# What a user can set right, and what the other workers therefore have to hear of.
_BAD_INPUT = (ValueError, OSError)


@contextlib.contextmanager
def leave_when_one_is_lost():
    """Context in which the loss of another process ends this one with `EXIT_PREEMPTED`.

    At once, without the usual end of a process, which would wait for those that are lost. For
    trainings of several processes only: alone, the same errors mean something else.

    Raises:
        ValueError: If the processes have different numbers of devices.
    """
    try:
        yield
    except (*_LOST, tf.errors.InternalError) as error:
        if any(words in error.message for words in _OTHER_DEVICES):
            raise ValueError(
                f"Expected as many devices on every machine, TensorFlow says: {_cause(error)}"
            ) from error
        if not _is_of_workers(error):
            raise
        _say_lost(error)
        _leave_at_once()
    except SystemExit:
        # A loop that saved first.
        if _lost.is_set():
            _leave_at_once()
        raise


def _leave_at_once():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(preemption.EXIT_PREEMPTED)


def _say_lost(error):
    too_long = isinstance(error, tf.errors.DeadlineExceededError)
    what = "waited longer than --worker_timeout for" if too_long else "lost"
    print(
        f"train: {what} another worker; the same command on all machines goes on from the last "
        f"checkpoint. TensorFlow says: {_cause(error)}",
        file=sys.stderr,
        flush=True,
    )


def _is_of_workers(error):
    """Whether an error says that another process is gone or silent."""
    if not isinstance(error, tf.errors.OpError):
        return False
    said = error.message.lower()
    return isinstance(error, _LOST) or any(words in said for words in _OF_WORKERS)


def _cause(error):
    """Returns the first line of a message that says what happened, not where it was defined."""
    where = ("Graph execution error", "Detected at", "File", "<stack traces", " ")
    lines = [line for line in error.message.splitlines() if line and not line.startswith(where)]
    return (lines or [type(error).__name__])[0][:200]


def is_chief(strategy):
    """Whether this process writes."""
    return _index(strategy) == 0


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
    steps = gather(strategy, str(step))
    if len(set(steps)) > 1:
        found = ", ".join(f"{step} of worker {i}" for i, step in enumerate(steps))
        raise ValueError(
            f"Expected one working directory that all workers see, found checkpoints of different "
            f"steps: {found}."
        )


def barrier(strategy):
    """Waits until all processes are here."""
    if num_workers(strategy) > 1:
        _sum_over_workers(strategy, np.zeros([1]))


def gather(strategy, text):
    """Returns what every process says, the chief's first; waits until all are here.

    Args:
        strategy: `tf.distribute.Strategy`.
        text: A few thousand characters at most.

    Returns:
        List of str, one a process, the same in all of them.
    """
    count = num_workers(strategy)
    if count == 1:
        return [text]
    # Names of files may hold what is no text.
    data = np.frombuffer(text.encode(errors="backslashreplace"), np.uint8)
    lengths = np.zeros([count])
    lengths[_index(strategy)] = len(data)
    lengths = _sum_over_workers(strategy, lengths)
    table = np.zeros([count, _BLOCK * (1 + int(lengths.max()) // _BLOCK)])
    table[_index(strategy), : len(data)] = data
    table = _sum_over_workers(strategy, table)
    rows = zip(table, lengths, strict=True)
    return [row[:length].astype(np.uint8).tobytes().decode() for row, length in rows]


def _sum_over_workers(strategy, values):
    """Returns the sum of whole numbers below 2^24 / devices, which float32 holds exactly."""
    # Every device of a worker adds the same, and each has as many.
    devices = strategy.num_replicas_in_sync // num_workers(strategy)
    total = _summing(strategy)(tf.constant(values, tf.float32)).numpy()
    return np.rint(total / devices).astype(np.int64)


@functools.cache
def _summing(strategy):
    @tf.function(autograph=False)
    def total(values):
        return strategy.reduce("SUM", strategy.run(tf.identity, (values,)), axis=None)

    return total


@contextlib.contextmanager
def one_by_one(strategy):
    """Context that the chief goes through first, and then, when it has left, the others.

    What the chief makes in it is there for the others to read. No process leaves before all have
    been through, and bad input that one of them meets ends all of them. There may be nothing in it
    that the processes do together.

    Raises:
        ValueError: If another process met bad input.
    """
    if not is_chief(strategy):
        with _signs_of_life(strategy, is_at_work=False):
            pass
        _report(strategy, None)
    problem = None
    with _signs_of_life(strategy):
        try:
            yield
        except _BAD_INPUT as error:
            problem = error
    # Each takes part in both rounds, unless the first has ended all of them.
    if is_chief(strategy):
        _report(strategy, problem)
        problem = None
        with _signs_of_life(strategy, is_at_work=False):
            pass
    _report(strategy, problem)


@contextlib.contextmanager
def side_by_side(strategy):
    """Context that all go through at once; as `one_by_one` for all else.

    Raises:
        ValueError: If another process met bad input.
    """
    problem = None
    with _signs_of_life(strategy):
        try:
            yield
        except _BAD_INPUT as error:
            problem = error
    _report(strategy, problem)


@contextlib.contextmanager
def _signs_of_life(strategy, is_at_work=True):
    """Context that nobody leaves before all are at its end, however long they work in it.

    A thread of each that works tells the others every few seconds that it is there: a wait that
    lasts longer than the strategy's timeout would end them, whatever they wait for. If another
    process is lost meanwhile, this one stops as at SIGTERM.

    Args:
        strategy: `tf.distribute.Strategy`.
        is_at_work: Whether this process does anything in the context.
    """
    if num_workers(strategy) == 1:
        yield
        return
    done, defects = threading.Event(), []

    def tell():
        try:
            while True:
                done.wait(_SECONDS_BETWEEN_SIGNS)
                if _WORKING not in gather(strategy, _DONE if done.is_set() else _WORKING):
                    return
        except Exception as error:  # A thread's own error would be printed, and nothing else.
            if not _is_of_workers(error):
                traceback.print_exc()
                defects.append(error)
                return
            _say_lost(error)
            _lost.set()
            preemption.stop("the loss of another worker")

    if not is_at_work:
        done.set()
        while _WORKING in gather(strategy, _DONE):
            pass
        yield
        return
    thread = threading.Thread(target=tell, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        # Now: whether the others come to the end of their work is not certain.
        traceback.print_exc()
        raise
    finally:
        done.set()
        thread.join()
    if defects:
        raise defects[0]


def _report(strategy, problem):
    """Tells the other processes of bad input; raises what any of them tells."""
    told = gather(strategy, "" if problem is None else str(problem) or type(problem).__name__)
    if problem is not None:
        raise problem
    for index, text in enumerate(told):
        if text:
            raise ValueError(f"Worker {index} stopped: {text}")


def num_workers(strategy):
    """Returns the number of processes that train together."""
    return max(sum(len(addresses) for addresses in _jobs(strategy).values()), 1)


def _index(strategy):
    """Returns the number of this process; 0 is the chief."""
    jobs = _jobs(strategy)
    if not jobs:
        return 0
    resolver = strategy.cluster_resolver
    is_after_chief = resolver.task_type == "worker" and "chief" in jobs
    return resolver.task_id + int(is_after_chief)


def _jobs(strategy):
    """Returns the addresses by type of task; none without other processes."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return {}
    return resolver.cluster_spec().as_dict()
