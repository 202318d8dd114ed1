"""Renders a split of the embedded recording as a pipeline, every batch of a sequence by itself."""

import functools
import threading
from collections.abc import Sequence

import apache_beam as beam
import tensorflow as tf

from data_prep.beam import shards
from data_prep.records.dataset_info import SplitInfo
from data_prep.records.shards import encode_frame
from data_prep.records.split_plan import SplitPlan
from data_prep.synthetic.sequences import HandSequence, SequenceRenderer

__all__ = ["render_split"]


def render_split(
    plan: SplitPlan, planned: Sequence[HandSequence], arguments: Sequence[str]
) -> SplitInfo:
    """Renders the sequences of a split by the workers of a cluster; as `shards.write_split`."""
    render = shards.FlatMapWithState(functools.partial(_BatchRenderer, plan))

    def encode(pipeline):
        encoded = (
            pipeline
            | "Sequences" >> beam.Create(planned)
            | "Batches" >> beam.FlatMap(_batches_of_sequence)
            | "Spread" >> beam.Reshuffle()
            | "Render" >> beam.ParDo(render)
        )
        skipped = encoded | "Skipped" >> beam.FlatMap(_skipped_frame)
        assign = beam.Map(_assign_shard, plan.num_shards, beam.pvalue.AsList(skipped))
        return encoded | "AssignShards" >> assign

    return shards.write_split(plan, encode, arguments)


def _batches_of_sequence(sequence):
    return ((sequence, start) for start in sequence.batch_starts)


def _skipped_frame(encoded):
    return [] if encoded.serialized else [encoded.frame]


def _assign_shard(encoded, num_shards, skipped):
    """Distributes samples as `records.ShardWriter` does: those that are written, in turn."""
    index = encoded.frame - sum(frame < encoded.frame for frame in skipped)
    return index % num_shards, encoded


class _BatchRenderer:
    """Renders and encodes (sequence, start of a batch) on a worker."""

    def __init__(self, plan: SplitPlan):
        self._plan = plan
        self._noise = tf.random.Generator.from_seed(0)
        self._renderers = {}
        self._lock = threading.Lock()

    def __call__(self, element):
        sequence, start = element
        spec, num_views = self._plan.spec, self._plan.num_views
        # The generator is for one thread at a time.
        with self._lock:
            if sequence.name not in self._renderers:
                renderer = SequenceRenderer(sequence, spec, self._noise)
                self._renderers[sequence.name] = renderer
            samples = self._renderers[sequence.name].render(start)
        return [encode_frame([sample], spec, num_views) for sample in samples]
