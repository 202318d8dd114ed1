"""Replicas of a training on the devices of one machine or of several: who does what.

With `MultiWorkerMirroredStrategy` every machine runs the same command. Each takes its rows of every
batch, all make the same step, and the first, the chief, alone writes. The working directory is one
that all of them see.
"""

import contextlib

import tensorflow as tf

from tfhand.training import guard

__all__ = [
    "barrier",
    "check_agreement",
    "compiled",
    "deal",
    "is_chief",
    "num_workers",
    "one_by_one",
]


def is_chief(strategy):
    """Whether this process writes."""
    resolver = strategy.cluster_resolver
    return num_workers(strategy) == 1 or resolver.task_id == 0


def deal(strategy, make_batch, first, last, prefetched):
    """Deals batches to the replicas.

    Args:
        strategy: `tf.distribute.Strategy`.
        make_batch: Function from a step's number to the whole batch, tensors [B, ...].
        first: Number of the first step.
        last: Number after the last step.
        prefetched: Batches that are made ahead.

    Returns:
        Iterable of what `strategy.run` takes: every replica gets its rows of the batch.
    """
    replicas = strategy.num_replicas_in_sync

    # Without autograph, which would convert the NumPy code behind the skin as well.
    @tf.autograph.experimental.do_not_convert
    def whole(step):
        return make_batch(step)

    def part_of(batch, index):
        def rows(tensor):
            size = tensor.shape[0] // replicas
            part = tensor[index * size : (index + 1) * size]
            return tf.ensure_shape(part, [size, *tensor.shape[1:]])

        return tf.nest.map_structure(rows, batch)

    def of_worker(context):
        dataset = tf.data.Dataset.range(first, last).map(whole)
        if replicas > 1:
            here = replicas // context.num_input_pipelines
            start = here * context.input_pipeline_id
            parts = tf.data.Dataset.range(start, start + here)
            dataset = dataset.flat_map(lambda batch: parts.map(lambda i: part_of(batch, i)))
        return dataset.prefetch(prefetched)

    if replicas == 1:
        return of_worker(None)
    return strategy.distribute_datasets_from_function(of_worker)


def compiled(model):
    """Returns a graph of a model's step on all replicas.

    Args:
        model: With `distribute_strategy` and `step(batch, stop)`, which returns `guard.Finding`.

    Returns:
        Function from (batch, stop) to a list of `guard.Finding`, one for each local replica.
    """
    strategy = model.distribute_strategy

    @tf.function(autograph=False)
    def on_replicas(batch, stop):
        def fields(batch, stop):
            finding = model.step(batch, stop)
            return finding.is_good, finding.stop, finding.term, finding.row

        return strategy.run(fields, (batch, stop))

    def take_step(batch, stop):
        columns = map(strategy.experimental_local_results, on_replicas(batch, stop))
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
    steps = strategy.run(lambda: tf.constant(float(step)))
    mean = strategy.reduce("MEAN", steps, axis=None).numpy()
    if mean != step:
        raise ValueError(
            f"Expected one working directory that all workers see, found checkpoints of step "
            f"{step} here and of others elsewhere."
        )


def barrier(strategy):
    """Waits until all processes are here."""
    if num_workers(strategy) > 1:
        strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None).numpy()


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
