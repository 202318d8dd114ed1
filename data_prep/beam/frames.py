"""A split of a recording in NYU's layout as a pipeline: every frame by itself."""

import dataclasses
import functools
from collections.abc import Sequence

import apache_beam as beam

from data_prep.beam import shards
from data_prep.nyu.frame_converter import FrameConverter
from data_prep.records import shards as shard_parts
from data_prep.records.dataset_info import SplitInfo
from data_prep.records.split_plan import SplitPlan

__all__ = ["convert_split"]


def convert_split(plan: SplitPlan, convert: FrameConverter, arguments: Sequence[str]) -> SplitInfo:
    """As `split_conversion.convert_split`, by the workers of a cluster.

    Args:
        plan: `SplitPlan`.
        convert: Where cameras stand is known to it: that is found once, before.
        arguments: Options of Beam.

    Returns:
        `SplitInfo` of the split.

    Raises:
        As `shards.convert_split`.
    """
    make = _opener(convert, plan.num_views)

    def encode(pipeline):
        return (
            pipeline
            | "Indices" >> beam.Create(range(plan.num_shards))
            | "Frames" >> beam.FlatMap(_frames_of_shard, plan.items, plan.num_shards)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.ParDo(shards.FlatMapWithState(make))
        )

    return shards.convert_split(plan, encode, shard_parts.describe_conversion, arguments)


def _frames_of_shard(index, items, num_shards):
    return ((index, item) for item in items[index::num_shards])


def _opener(convert, num_views):
    """Returns what workers make their converter with, small enough for a pipeline's description.

    The annotation of a large recording is not: workers read it again.
    """
    is_annotated = convert.split.joints_mm is not None
    light = dataclasses.replace(convert, split=dataclasses.replace(convert.split, joints_mm=None))
    return functools.partial(_open, light, is_annotated, num_views)


def _open(convert, is_annotated, num_views):
    """Returns what a worker does with (index of the shard, frame)."""
    if is_annotated:
        joints_mm = convert.split.read_joints()
        split = dataclasses.replace(convert.split, joints_mm=joints_mm)
        convert = dataclasses.replace(convert, split=split)
    return functools.partial(_encode, convert, num_views)


def _encode(convert, num_views, element):
    index, frame = element
    return [(index, shard_parts.encode(frame, convert(frame), convert.spec, num_views))]
