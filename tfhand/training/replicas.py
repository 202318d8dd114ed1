"""Replicas of a training on the devices of one machine, or of several machines.

Of several machines each runs the same command (docs/distributed.md). TensorFlow connects them and
sums their gradients. The first, the chief, alone writes; the others find it in the working folder.
"""

import contextlib
import os
import sys

import tensorflow as tf

from tfhand.runs import preemption

__all__ = [
    "check_batches",
    "chief_first",
    "distribute_batches",
    "exit_if_a_worker_is_lost",
    "is_chief",
    "make_strategy",
]

_PREFETCHED = 4


def make_strategy(distribution, num_devices):
    """Makes the `tf.distribute.Strategy` of a training.

    Args:
        distribution: "mirrored": the devices of this machine; "multi_worker": those of all machines
            of the environment variable TF_CONFIG, which it waits for.
        num_devices: Devices of this machine; 0: all GPUs, or the CPU.

    Raises:
        ValueError: If there are fewer devices, or TF_CONFIG does not name this machine.
    """
    if distribution == "multi_worker":
        return _connect_workers()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = num_devices or (len(devices) if devices[0].device_type == "GPU" else 1)
    if count > len(devices):
        raise ValueError(f"Expected at most {len(devices)} devices on this machine, asked {count}.")
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
    # TensorFlow has taken SIGTERM.
    preemption.exit_on_sigterm()
    return strategy


def is_chief(strategy):
    """Whether this process writes."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (resolver.task_id == 0 and not has_chief)


@contextlib.contextmanager
def chief_first(strategy):
    """Context that the chief goes through before the others, who find what it made.

    The others wait in an operation of TensorFlow, which fails if the chief is lost.
    """

    def wait_for_all():
        strategy.reduce("SUM", strategy.run(lambda: tf.ones([])), axis=None)

    if not is_chief(strategy):
        wait_for_all()
    yield
    if is_chief(strategy):
        wait_for_all()


@contextlib.contextmanager
def exit_if_a_worker_is_lost(distribution):
    """Context in which the loss of another machine ends this process with status 75.

    At once: the usual end of a process would wait for those that are lost. With "mirrored" the same
    errors mean something else, and pass.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if distribution != "multi_worker":
            raise
        message = "stopped, another worker may be lost; the same command on all machines goes on"
        print(f"train: {message} from the last checkpoint. TensorFlow says: {error.message}",
              file=sys.stderr, flush=True)  # fmt: skip
        os._exit(preemption.EXIT_PREEMPTED)


def check_batches(num_replicas, **batches):
    """Raises a ValueError unless all replicas get equal shares of the batches, sizes by flag."""
    for name, size in batches.items():
        if size % num_replicas:
            raise ValueError(
                f"Expected --{name} to be a multiple of the {num_replicas} devices, found {size}."
            )


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

    def of_worker(context):
        count = replicas // context.num_input_pipelines
        shards = tf.data.Dataset.range(count).map(lambda i: i + count * context.input_pipeline_id)
        dataset = steps.flat_map(lambda step: shards.map(lambda index: make(step, index)))
        return dataset.prefetch(_PREFETCHED)

    return strategy.distribute_datasets_from_function(of_worker)
