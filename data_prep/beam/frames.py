"""Converts a split of a recording in NYU's layout as a pipeline, every frame by itself."""

import functools
from collections.abc import Sequence

import apache_beam as beam

from data_prep.beam import shards
from data_prep.nyu.conversion_plan import ConversionPlan
from data_prep.nyu.frame_converter import FrameConverter
from data_prep.records.dataset_info import SplitInfo

__all__ = ["convert_split"]


def convert_split(
    plan: ConversionPlan, convert: FrameConverter, arguments: Sequence[str]
) -> SplitInfo:
    """Converts the frames of a split by the workers of a cluster; as `shards.write_split`."""
    apply_converter = shards.FlatMapWithState(functools.partial(_make_encoder, convert))

    def encode(pipeline):
        return (
            pipeline
            | "Indices" >> beam.Create(range(plan.num_shards))
            | "Frames" >> beam.FlatMap(_frames_of_shard, plan.frames, plan.num_shards)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.ParDo(apply_converter)
        )

    return shards.write_split(plan, encode, arguments)


def _frames_of_shard(index, frames, num_shards):
    return ((index, frame) for frame in frames[index::num_shards])


def _make_encoder(convert):
    """Returns the function that a worker applies to (index of the shard, frame)."""
    return functools.partial(_encode, convert)


def _encode(convert, element):
    index, frame = element
    return [(index, convert(frame))]
