"""A split of the embedded recording as a pipeline: every batch of a take by itself."""

import functools
import threading
from collections.abc import Sequence

import apache_beam as beam
import tensorflow as tf

from data_prep.beam import shards
from data_prep.records import shards as shard_parts
from data_prep.records.dataset_info import SplitInfo
from data_prep.records.split_plan import SplitPlan
from data_prep.synthetic import sequences
from tfhand.geometry.crop import CropSpec

__all__ = ["record_split"]


def record_split(
    plan: SplitPlan, parts: Sequence[sequences.Take], arguments: Sequence[str]
) -> SplitInfo:
    """Makes a split of the recording by the workers of a cluster.

    Args:
        plan: `SplitPlan`.
        parts: The takes of the split.
        arguments: Options of Beam.

    Returns:
        `SplitInfo` of the split.

    Raises:
        As `shards.convert_split`.
    """
    make = functools.partial(_Recorder, plan.spec, plan.num_views)

    def encode(pipeline):
        encoded = (
            pipeline
            | "Takes" >> beam.Create(parts)
            | "Batches" >> beam.FlatMap(_batches_of_take)
            | "Spread" >> beam.Reshuffle()
            | "Record" >> beam.ParDo(shards.FlatMapWithState(make))
        )
        skipped = encoded | "Skipped" >> beam.FlatMap(_skipped_frame)
        return encoded | "Deal" >> beam.Map(_deal, plan.num_shards, beam.pvalue.AsList(skipped))

    return shards.convert_split(plan, encode, shard_parts.describe_split, arguments)


def _batches_of_take(take):
    return ((take, start) for start in take.starts)


def _skipped_frame(encoded):
    return [] if encoded.serialized else [encoded.item]


def _deal(encoded, num_shards, skipped):
    """As `records.ShardWriter`: samples that are kept go to the shards in turn."""
    place = encoded.item - sum(frame < encoded.item for frame in skipped)
    return place % num_shards, encoded


class _Recorder:
    """What a worker does with (take, start of a batch)."""

    def __init__(self, spec: CropSpec, num_views: int):
        self._spec = spec
        self._num_views = num_views
        self._noise = tf.random.Generator.from_seed(0)
        self._renderers = {}
        self._lock = threading.Lock()

    def __call__(self, element):
        take, start = element
        # The generator is for one thread at a time.
        with self._lock:
            if take.name not in self._renderers:
                self._renderers[take.name] = sequences.Renderer(take, self._spec, self._noise)
            samples = self._renderers[take.name].render(start)
        return [self._encode(sample) for sample in samples]

    def _encode(self, sample):
        converted = shard_parts.Converted([sample])
        return shard_parts.encode(sample["frame"], converted, self._spec, self._num_views)
