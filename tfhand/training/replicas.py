"""Replicas of a training on the devices of one machine, or of several machines.

Of several machines each runs the same command (docs/distributed.md). TensorFlow connects them and
sums their gradients. The first, the chief, alone writes; the others find it in the working folder.
"""

import contextlib
import os
import signal
import sys

import tensorflow as tf
from absl import logging

from tfhand.runs import preemption

__all__ = ["chief_first", "distribute_batches", "exit_at_once", "is_chief", "make_strategy", "mean"]

_PREFETCHED = 4
# What an operation ends with that waits for a machine that is gone or silent.
_LOST = (
    tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.InternalError, tf.errors.UnavailableError,
)  # fmt: skip


def make_strategy(distribution, num_devices):
    """Makes the `tf.distribute.Strategy` of a training.

    Args:
        distribution: "mirrored": the devices of this machine; "multi_worker": those of all machines
            of the environment variable TF_CONFIG, which it waits for.
        num_devices: Devices of this machine; 0: all GPUs, or the CPU.

    Raises:
        ValueError: If there are fewer, or TF_CONFIG does not name this machine.
    """
    if distribution == "multi_worker":
        return _connect_workers()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = num_devices or (len(devices) if devices[0].device_type == "GPU" else 1)
    if count > len(devices):
        raise ValueError(f"Expected at most {len(devices)} devices, found --num_devices={count}.")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


def _connect_workers():
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    try:
        jobs = resolver.cluster_spec().as_dict()
        is_member = resolver.task_id < len(jobs[resolver.task_type])
        is_member &= set(jobs) <= {"chief", "worker"}
    except (AttributeError, KeyError, TypeError, ValueError):
        is_member = False
    if not is_member:
        raise ValueError(
            'Expected in TF_CONFIG {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
            f'"worker", "index": 0}}}}, found {os.environ.get("TF_CONFIG", "none")[:200]!r}.'
        )
    print(f"Waiting for all of {jobs}.", flush=True)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    # TensorFlow has taken SIGTERM: it goes back to the handler that Python had.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return strategy


def is_chief(strategy):
    """Returns whether this process writes."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (resolver.task_id == 0 and not has_chief)


@contextlib.contextmanager
def chief_first(strategy):
    """Context that the chief leaves before the others enter it; they find what it made.

    They wait in an operation of TensorFlow, which fails if the chief is lost. Nothing in the
    context may make variables in the strategy's scope, or read sums over replicas.
    """
    if not is_chief(strategy):
        mean(strategy, 0.0)
    yield
    if is_chief(strategy):
        mean(strategy, 0.0)


def mean(strategy, value):
    """Returns the mean of a number over all replicas; every process has to call it."""

    @tf.function(autograph=False)
    def reduce():
        return strategy.reduce("MEAN", strategy.run(lambda: tf.constant(value)), axis=None)

    return float(reduce())


@contextlib.contextmanager
def exit_at_once(distribution):
    """Context whose errors end the process at once where there are several machines.

    The usual end of a process would wait for the others, which wait for this one. Status 75:
    another machine was lost; 1: any other error.
    """
    try:
        yield
    except Exception as error:
        if distribution != "multi_worker":
            raise
        logging.debug("Stopped by:", exc_info=True)
        is_lost = isinstance(error, _LOST)
        message = "another machine is lost, start all of them again: " if is_lost else ""
        print(f"train: {message}{error}", file=sys.stderr, flush=True)
        os._exit(preemption.EXIT_PREEMPTED if is_lost else 1)


def distribute_batches(strategy, make_batch, first):
    """Makes for every replica its shard of every batch, for Keras' `fit`.

    Args:
        strategy: `tf.distribute.Strategy`.
        make_batch: Function from (step's number, (index, count)) to a dict of the index-th of count
            equal shards of the batch, tensors [B / count, ...].
        first: Number of the first step.

    Returns:
        Endless dataset of these dicts, each with `step` added.
    """
    replicas = strategy.num_replicas_in_sync
    steps = tf.data.Dataset.counter(first)

    # Without autograph, which would convert the NumPy code behind the skin as well.
    @tf.autograph.experimental.do_not_convert
    def make(step, index):
        return {**make_batch(step, (index, replicas)), "step": step}

    if replicas == 1:
        # A shard that is known to be the whole batch is drawn in fewer operations.
        return steps.map(lambda step: make(step, 0)).prefetch(_PREFETCHED)

    def make_worker_dataset(context):
        count = replicas // context.num_input_pipelines
        shards = tf.data.Dataset.range(count).map(lambda i: i + count * context.input_pipeline_id)
        dataset = steps.flat_map(lambda step: shards.map(lambda index: make(step, index)))
        return dataset.prefetch(_PREFETCHED)

    return strategy.distribute_datasets_from_function(make_worker_dataset)
