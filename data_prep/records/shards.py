"""What every conversion of a split is made of: samples as bytes, shards, and what is said of them.

How items get from one to the next is left to others: threads in `split_conversion.py`, the workers
of a cluster in `beam/`.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from absl import logging

from data_prep.records import storage
from data_prep.records.dataset_info import FRAMES_KEPT, ShardInfo, Skips, SplitInfo, compute_sha256
from data_prep.records.examples import encode_example
from data_prep.records.schema import check_sample, find_problem
from data_prep.records.split_plan import SplitPlan
from tfhand.geometry.crop import CropSpec

__all__ = ["Converted", "Encoded", "describe_conversion", "describe_split", "encode", "write_shard"]


@dataclasses.dataclass(frozen=True)
class Converted:
    """What became of one item.

    Attributes:
        samples: What it gives, for `schema.check_sample`; none if it cannot be used.
        problem: Why it cannot be used, in the same words for every item with that problem.
        notes: What is to be known of a sample that is kept, in the same words for every sample;
            they are counted in `SplitInfo.extra`, with the first items.
        values: Values of which the split's median is kept, by name, likewise.
    """

    samples: Sequence[Mapping] = ()
    problem: str | None = None
    notes: Sequence[str] = ()
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One item, ready to be written.

    Attributes:
        item: Its number.
        serialized: Its records; none if it cannot be used.
        subjects: Whose hands they show, one name a record.
        num_labelled: Records with a known joint.
        problem: As in `Converted`.
        notes: As in `Converted`.
        values: As in `Converted`, rounded.
    """

    item: int
    serialized: tuple[bytes, ...] = ()
    subjects: tuple[str, ...] = ()
    num_labelled: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


def encode(item: int, converted: Converted, spec: CropSpec, num_views: int) -> Encoded:
    """Serializes what became of an item.

    Args:
        item: Its number.
        converted: What became of it.
        spec: Size of the crops.
        num_views: V.

    Returns:
        `Encoded`, with a problem if a sample cannot be used.
    """
    serialized, subjects, num_labelled = [], [], 0
    for sample in converted.samples:
        sample = check_sample(sample, spec, num_views)
        problem = find_problem(sample, spec)
        if problem:
            return Encoded(item, problem=problem)
        serialized.append(encode_example(sample, spec, num_views))
        subjects.append(sample["subject"])
        num_labelled += bool("joint_mask" in sample and sample["joint_mask"].any())
    return Encoded(
        item,
        tuple(serialized),
        tuple(subjects),
        num_labelled,
        converted.problem,
        tuple(converted.notes),
        {name: round(float(value), 2) for name, value in converted.values.items()},
    )


def write_shard(path, items: Iterable[Encoded]) -> dict:
    """Writes a shard, whole or not at all.

    Args:
        path: Of the file.
        items: What to write, in order.

    Returns:
        JSON values: what `describe_split` has to know of the shard.

    Raises:
        OSError: If it cannot be written.
    """
    path = os.fspath(path)
    subjects, values = collections.Counter(), collections.defaultdict(list)
    skipped, notes = {}, {}
    num_labelled = 0
    with storage.replacing(path) as place, tf.io.TFRecordWriter(place) as writer:
        for encoded in items:
            if not encoded.serialized:
                _count(skipped, encoded.problem, encoded.item)
                continue
            for data in encoded.serialized:
                writer.write(data)
            subjects.update(encoded.subjects)
            num_labelled += encoded.num_labelled
            for note in encoded.notes:
                _count(notes, note, encoded.item)
            for name, value in encoded.values.items():
                values[name].append(value)
    ((num_bytes, _),) = storage.stat_all([path])
    return {
        "num_samples": subjects.total(),
        "num_labelled": num_labelled,
        "subjects": subjects,
        "skipped": skipped,
        "notes": notes,
        "values": values,
        "num_bytes": num_bytes,
        "sha256": compute_sha256(path),
    }


def describe_split(plan: SplitPlan, parts: Sequence[Mapping]) -> SplitInfo:
    """Puts together what is known of a split's shards.

    Args:
        plan: What was to be made.
        parts: Results of `write_shard`, in the order of the shards.

    Returns:
        `SplitInfo`, with `plan.extra`.

    Raises:
        ValueError: If there is no sample.
    """
    skipped = _merge(parts, "skipped")
    num_samples = sum(part["num_samples"] for part in parts)
    if not num_samples:
        reasons = {reason: skips.count for reason, skips in skipped.items()}
        raise ValueError(
            f"No sample for split {plan.split!r} of {plan.output_dir}; skipped: {reasons}."
        )
    _log(plan.split, "skipped", skipped)
    subjects = sum((collections.Counter(part["subjects"]) for part in parts), collections.Counter())
    return SplitInfo(
        source=plan.source,
        num_samples=num_samples,
        num_labelled=sum(part["num_labelled"] for part in parts),
        subjects=dict(sorted(subjects.items())),
        shards=tuple(
            ShardInfo(plan.shard_name(i), part["num_samples"], part["num_bytes"], part["sha256"])
            for i, part in enumerate(parts)
        ),
        skipped=skipped,
        extra=dict(plan.extra),
    )


def describe_conversion(plan: SplitPlan, parts: Sequence[Mapping]) -> SplitInfo:
    """As `describe_split`, with notes, medians and what the split depends on in `extra`."""
    info = describe_split(plan, parts)
    notes = _merge(parts, "notes")
    _log(plan.split, "kept", notes)
    values = collections.defaultdict(list)
    for part in parts:
        for name, found in part["values"].items():
            values[name] += found
    medians = {f"median_{name}": sorted(found)[len(found) // 2] for name, found in values.items()}
    extra = {
        **info.extra,
        **medians,
        "notes": {note: dataclasses.asdict(skips) for note, skips in notes.items()},
        plan.FINGERPRINT: plan.fingerprint,
    }
    return dataclasses.replace(info, extra=extra)


def _count(found, reason, item):
    skips = found.setdefault(reason, {"count": 0, "first_frames": []})
    skips["count"] += 1
    if len(skips["first_frames"]) < FRAMES_KEPT:
        skips["first_frames"].append(int(item))


def _merge(parts, kind):
    """Adds up what the shards have counted; the first frames of all."""
    merged = {}
    for part in parts:
        for reason, found in part[kind].items():
            skips = merged.setdefault(reason, Skips())
            skips.count += found["count"]
            skips.first_frames = sorted(skips.first_frames + found["first_frames"])[:FRAMES_KEPT]
    return merged


def _log(split, what, found):
    for reason, skips in found.items():
        logging.warning(
            "%s: %s %d: %s, first frames %s", split, what, skips.count, reason,
            skips.first_frames[:5],
        )  # fmt: skip
