"""Shards while they are written: frames as bytes, the file, and the counts of what is in it.

How frames get from one to the next is left to others: `ShardWriter` here, threads in `nyu/`, the
workers of a cluster in `beam/`.
"""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from absl import logging

from data_prep.records import storage
from data_prep.records.dataset_info import MAX_FRAMES_LISTED, Skips, compute_sha256
from data_prep.records.examples import serialize_checked
from data_prep.records.schema import check_sample, find_problem
from tfhand.geometry.crop import CropSpec

__all__ = ["EncodedFrame", "Shard", "encode_frame", "merge_counts", "seal", "write_shard"]


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """Samples of one frame, ready to be written.

    Attributes:
        frame: Frame number in the source.
        serialized: The records; none if the frame cannot be used.
        subjects: Subject of each record.
        num_labelled: Number of records with a labelled joint.
        problem: Why the frame cannot be used, in the same words for every frame with that problem.
        notes: Remarks on a frame that is used, in the same words for every frame; they are counted.
        values: Values by name of which the split's median is reported.
    """

    frame: int
    serialized: tuple[bytes, ...] = ()
    subjects: tuple[str, ...] = ()
    num_labelled: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


def encode_frame(
    samples: Sequence[Mapping],
    spec: CropSpec,
    num_views: int,
    notes: Iterable[str] = (),
    values: Mapping[str, float] | None = None,
) -> EncodedFrame:
    """Serializes the samples of a frame; the result has a problem if one cannot be used.

    Args:
        samples: At least one, for `schema.check_sample`, whose errors are passed on.
        spec: Size of the crops.
        num_views: Number of views V.
        notes: As in `EncodedFrame`.
        values: As in `EncodedFrame`; they are rounded.
    """
    checked = [check_sample(sample, spec, num_views) for sample in samples]
    for sample in checked:
        problem = find_problem(sample, spec)
        if problem:
            return EncodedFrame(sample["frame"], problem=problem)
    return EncodedFrame(
        checked[0]["frame"],
        tuple(serialize_checked(sample, spec) for sample in checked),
        tuple(sample["subject"] for sample in checked),
        sum("joint_mask" in sample and bool(sample["joint_mask"].any()) for sample in checked),
        notes=tuple(notes),
        values={name: round(float(value), 2) for name, value in (values or {}).items()},
    )


class Shard:
    """A file of records that is being written.

    Attributes:
        counts: JSON values: number of samples, labels, subjects, skipped frames and notes so far.

    Args:
        path: Path of the file.
    """

    def __init__(self, path):
        self._writer = tf.io.TFRecordWriter(os.fspath(path))
        self.counts = {
            "num_samples": 0,
            "num_labelled": 0,
            "subjects": collections.Counter(),
            "skipped": {},
            "notes": {},
            "values": collections.defaultdict(list),
        }

    def add(self, encoded: EncodedFrame) -> None:
        """Writes the records of a frame, or counts it as skipped."""
        counts = self.counts
        if not encoded.serialized:
            _count(counts["skipped"], encoded.problem, encoded.frame)
            return
        for record in encoded.serialized:
            self._writer.write(record)
        counts["num_samples"] += len(encoded.serialized)
        counts["num_labelled"] += encoded.num_labelled
        counts["subjects"].update(encoded.subjects)
        for note in encoded.notes:
            _count(counts["notes"], note, encoded.frame)
        for name, value in encoded.values.items():
            counts["values"][name].append(value)

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def seal(counts: Mapping, path) -> dict:
    """Returns the counts of a finished shard with size and checksum of its file."""
    ((num_bytes, _),) = storage.stat_all([path])
    return {**counts, "num_bytes": num_bytes, "sha256": compute_sha256(path)}


def write_shard(path, frames: Iterable[EncodedFrame]) -> dict:
    """Writes frames as a shard, whole or not at all (an OSError); returns what `seal` does."""
    with storage.replacing(path) as partial, contextlib.closing(Shard(partial)) as shard:
        for encoded in frames:
            shard.add(encoded)
    return seal(shard.counts, path)


def merge_counts(shards: Sequence[Mapping], kind: str, split: str) -> dict[str, Skips]:
    """Adds up the "skipped" frames or the "notes" of all shards by reason, and logs them."""
    merged = {}
    for shard in shards:
        for reason, counted in shard[kind].items():
            skips = merged.setdefault(reason, Skips())
            skips.count += counted["count"]
            frames = sorted(skips.first_frames + counted["first_frames"])
            skips.first_frames = frames[:MAX_FRAMES_LISTED]
    for reason, skips in merged.items():
        logging.warning(
            "%s: %s %d: %s, first frames %s", split, kind, skips.count, reason,
            skips.first_frames[:5],
        )  # fmt: skip
    return merged


def _count(counts, reason, frame):
    skips = counts.setdefault(reason, {"count": 0, "first_frames": []})
    skips["count"] += 1
    if len(skips["first_frames"]) < MAX_FRAMES_LISTED:
        skips["first_frames"].append(int(frame))
