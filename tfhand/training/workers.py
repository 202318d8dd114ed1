"""Replicas of a training on the devices of one machine or of several: who does what.

With `MultiWorkerMirroredStrategy` every machine runs the same command. Each makes its rows of every
batch, all take the same step, and the first, the chief, alone writes. The working directory is one
that all of them see.
"""

import functools

import numpy as np
import tensorflow as tf

from tfhand.training import guard

__all__ = [
    "barrier",
    "check_agreement",
    "compiled",
    "deal",
    "gather",
    "is_chief",
    "num_workers",
]


# Texts of other lengths would be other graphs.
_BLOCK = 4096


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
