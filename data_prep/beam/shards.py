"""Writes encoded frames as a published split, in a pipeline.

    encoded frames ── group by shard ── sort ── write to a hidden folder ──> shards.json
                                                                               │
    when the pipeline is done, the command itself: move in place, dataset_info.json

A worker may die, or do twice what another has done: each attempt at a shard is a file of its own,
and `shards.json` names those that count. Only the command publishes, so a pipeline that fails
leaves nothing that a reader would take.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Sequence

import apache_beam as beam
import tensorflow as tf
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState
from apache_beam.utils import shared

from data_prep.records import storage
from data_prep.records.dataset_info import SplitInfo
from data_prep.records.shards import write_shard
from data_prep.records.split_plan import SplitPlan
from tfhand import files

__all__ = ["FlatMapWithState", "write_split"]

_SHARD_LIST = "shards.json"


class FlatMapWithState(beam.DoFn):
    """Applies a function that is costly to make: each worker process makes it once.

    Args:
        make: Makes the function, from an element to an iterable; threads share it.
    """

    def __init__(self, make: Callable[[], Callable]):
        self._make = make
        self._shared = shared.Shared()

    def setup(self):
        """Makes the function, or takes that of another thread."""
        self._function = self._shared.acquire(self._make)

    def process(self, element):
        """Yields what the function returns for an element."""
        yield from self._function(element)


class _WriteShard(beam.DoFn):
    """Writes a shard: (index, encoded frames) to (index, JSON values of the shard)."""

    def __init__(self, folder, names):
        self._folder = folder
        self._names = names

    def process(self, element):
        index, groups = element
        name = f"{self._names[index]}-{uuid.uuid4().hex}"
        frames = sorted(groups["encoded"], key=lambda encoded: encoded.frame)
        shard = write_shard(os.path.join(self._folder, name), frames)
        yield index, {**shard, "file": name}


def _write_shard_list(shards, folder):
    in_order = [shard for _, shard in sorted(shards, key=lambda pair: pair[0])]
    storage.write_text(os.path.join(folder, _SHARD_LIST), json.dumps(in_order))


def write_split(
    plan: SplitPlan,
    encode: Callable[[beam.Pipeline], beam.PCollection],
    arguments: Sequence[str],
) -> SplitInfo:
    """Runs the pipeline of a split, waits for it, and publishes the split.

    Args:
        plan: `SplitPlan`; its folder is one that all workers write to.
        encode: Adds to a pipeline the steps that give (index of the shard, `EncodedFrame`).
        arguments: Options of Beam.

    Returns:
        `SplitInfo` of the split.

    Raises:
        FileExistsError: If the folder has the split and `plan.overwrite` is False, or another
            process is converting into it (seen in local folders only).
        ValueError: If no frame gives a sample, or another split there has another layout.
        OSError: If the pipeline fails.
    """
    output_dir = os.fspath(plan.output_dir)
    is_remote = storage.is_remote(output_dir)
    lock = files.lock_folder(output_dir, "writing records to")
    with contextlib.nullcontext() if is_remote else lock:
        plan.read_other_splits()
        folder = os.path.join(output_dir, f".{plan.split}.{uuid.uuid4().hex}.partial")
        tf.io.gfile.makedirs(folder)
        try:
            shards = _run(plan, folder, encode, arguments)
            return plan.publish(shards, [os.path.join(folder, shard["file"]) for shard in shards])
        finally:
            tf.io.gfile.rmtree(folder)


def _run(plan, folder, encode, arguments):
    """Runs the pipeline; returns the JSON values of the shards, in order."""
    pipeline = beam.Pipeline(options=PipelineOptions(list(arguments)))
    # Also a shard without items is written.
    shards = pipeline | "Shards" >> beam.Create([(i, None) for i in range(plan.num_shards)])
    _ = (
        {"encoded": encode(pipeline), "shards": shards}
        | "GroupByShard" >> beam.CoGroupByKey()
        | "WriteShards" >> beam.ParDo(_WriteShard(folder, plan.shard_names))
        | "Shards written" >> beam.combiners.ToList()
        | "WriteShardList" >> beam.Map(_write_shard_list, folder)
    )
    try:
        state = pipeline.run().wait_until_finish()
    except Exception as error:  # Runners raise errors of many kinds.
        logging.debug("The pipeline failed:", exc_info=True)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"The pipeline of split {plan.split!r} failed: {reason[-1]}") from error
    if state != PipelineState.DONE:
        raise OSError(f"The pipeline of split {plan.split!r} ended as {state}.")
    try:
        return json.loads(storage.read_bytes(os.path.join(folder, _SHARD_LIST)))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected {plan.output_dir} to be a folder that the workers share with this machine; "
            "what they wrote is not there."
        ) from None
