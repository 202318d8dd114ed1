"""Converts a split item by item, in parallel, so that a killed run goes on where it was.

Finished shards wait in a hidden folder, `.SPLIT.partial`, each beside a JSON file that is written
last. When all are there, they are moved in place and named in `dataset_info.json`, as
`shard_writer.ShardWriter` does. A run with other settings starts anew.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from absl import logging
from tqdm import tqdm

from data_prep.dataset_info import (
    INFO_NAME,
    DatasetInfo,
    ShardInfo,
    Skips,
    SplitInfo,
    compute_sha256,
    read_info,
)
from data_prep.examples import encode_example
from data_prep.schema import check_sample, find_problem
from data_prep.shard_writer import publish_split, read_other_splits
from data_prep.split_plan import SplitPlan, checksum_of
from tfhand import files

__all__ = ["Converted", "convert_split", "find_published"]

_FRAMES_KEPT = 20
_FINGERPRINT = "settings_sha256"


@dataclasses.dataclass(frozen=True)
class Converted:
    """What became of one item.

    Attributes:
      samples: what it gives, for `schema.check_sample`; none if it cannot be used.
      problem: why it cannot be used, in the same words for every item with that problem.
      notes: what is to be known of a sample that is kept, in the same words for every sample; they
        are counted in `SplitInfo.extra`, with the first items.
      values: values of which the split's median is kept, by name, likewise.
    """

    samples: Sequence[Mapping] = ()
    problem: str | None = None
    notes: Sequence[str] = ()
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


def convert_split(
    plan: SplitPlan, convert: Callable[[int], Converted], workers: int | None = None
) -> SplitInfo:
    """Converts and publishes a split.

    Args:
      plan: `SplitPlan`.
      convert: makes `Converted` from an item; called from several threads.
      workers: threads; None: one a processor.

    Returns:
      `SplitInfo` of the split.

    Raises:
      FileExistsError: if the folder has the split and `plan.overwrite` is False, or another process
        is converting into the folder.
      ValueError: if no item gives a sample, or another split there has another layout.
      OSError: if a shard cannot be written.
    """
    output_dir = Path(plan.output_dir)
    with _alone_in(output_dir):
        return _convert_split(plan, convert, workers or os.cpu_count() or 1)


def _convert_split(plan, convert, workers):
    output_dir = Path(plan.output_dir)
    read_other_splits(output_dir, plan.split, plan.spec, plan.num_views, overwrite=plan.overwrite)
    _prepare(plan)
    finished = {index: _read_finished(plan, index) for index in range(plan.num_shards)}
    # All missing shards are one stream, so that no thread waits at the end of a shard.
    items = (
        item for index, part in finished.items() if part is None for item in plan.shard_items(index)
    )
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        contextlib.closing(
            _in_order(pool, lambda item: _encode(plan, convert(item)), items, 4 * workers)
        ) as results,
        tqdm(total=len(plan.items), desc=plan.split, unit="frame") as progress,
    ):
        for index, part in finished.items():
            if part is None:
                finished[index] = _write_shard(plan, index, results, progress)
            else:
                # Not counted in the speed, from which the time left is estimated.
                count = len(plan.shard_items(index))
                progress.initial += count
                progress.n = progress.last_print_n = progress.n + count
                progress.refresh()
    parts = list(finished.values())
    info = _describe(plan, parts)
    files = {name: plan.folder / name for name in map(plan.shard_name, range(plan.num_shards))}
    folder_info = DatasetInfo(plan.spec, plan.num_views, {plan.split: info})
    publish_split(output_dir, plan.split, files, folder_info, overwrite=plan.overwrite)
    shutil.rmtree(plan.folder)
    return info


def find_published(plan: SplitPlan) -> SplitInfo | None:
    """Returns the split if an earlier run has finished it with the same settings.

    Args:
      plan: `SplitPlan`.

    Returns:
      `SplitInfo`, or None if the split is to be made: it is not there, or is to be replaced.

    Raises:
      As `shard_writer.read_other_splits`: also if it is there with other settings.
    """
    output_dir = Path(plan.output_dir)
    if not (output_dir / INFO_NAME).exists():
        return None
    info = read_info(output_dir)
    found = info.splits.get(plan.split)
    if found is not None and found.extra.get(_FINGERPRINT) == plan.fingerprint:
        return found
    if plan.overwrite:
        return None
    # Whether the other splits have the same number of views is seen once that is known.
    read_other_splits(output_dir, plan.split, plan.spec, info.num_views, overwrite=False)
    return None


def _prepare(plan):
    """Makes the hidden folder, or keeps that of an earlier run with the same settings."""
    path = plan.folder / _FINGERPRINT
    if path.is_file() and path.read_bytes() == plan.partial_fingerprint.encode():
        return
    if plan.folder.exists():
        logging.warning("Starting %s anew: settings or pictures have changed.", plan.split)
        shutil.rmtree(plan.folder)
    plan.folder.mkdir(parents=True)
    files.write_text(path, plan.partial_fingerprint)


def _read_finished(plan, index):
    """Returns what is kept beside a finished shard, or None if it has to be made."""
    name = plan.shard_name(index)
    try:
        part = files.read_json(plan.folder / f"{name}.json")
        whole = compute_sha256(plan.folder / name) == part["sha256"]
        # What is written last is compared with what it says of itself.
        return part if whole and part.pop("checksum") == checksum_of(part) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def _alone_in(output_dir):
    """Keeps other conversions out of a folder; the lock goes with the process."""
    output_dir.mkdir(parents=True, exist_ok=True)
    folder = os.open(output_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"Another process is writing records to {output_dir}.") from None
        yield
    finally:
        os.close(folder)


def _encode(plan, converted):
    """Returns (`Converted`, serialized samples): without the samples that cannot be used."""
    serialized = []
    for sample in converted.samples:
        sample = check_sample(sample, plan.spec, plan.num_views)
        problem = find_problem(sample, plan.spec)
        if problem:
            return Converted(problem=problem), []
        serialized.append(encode_example(sample, plan.spec, plan.num_views))
    return converted, serialized


def _write_shard(plan, index, results, progress):
    """Writes the next results as a shard; returns what is to be known of it."""
    subjects, values = collections.Counter(), collections.defaultdict(list)
    skipped, notes = {}, {}
    num_labelled = 0
    path = plan.folder / plan.shard_name(index)
    with files.replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for item in plan.shard_items(index):
            converted, serialized = next(results)
            progress.update()
            if not serialized:
                _count(skipped, converted.problem, item)
                continue
            for data in serialized:
                writer.write(data)
            for sample in converted.samples:
                subjects[sample["subject"]] += 1
                mask = sample.get("joint_mask")
                num_labelled += bool(mask is not None and mask.any())
            for note in converted.notes:
                _count(notes, note, item)
            for name, value in converted.values.items():
                values[name].append(round(float(value), 2))
    part = {
        "num_samples": subjects.total(),
        "num_labelled": num_labelled,
        "subjects": subjects,
        "skipped": skipped,
        "notes": notes,
        "values": values,
        "num_bytes": path.stat().st_size,
        "sha256": compute_sha256(path),
    }
    files.write_json(plan.folder / f"{path.name}.json", part | {"checksum": checksum_of(part)})
    return part


def _count(found, reason, item):
    skips = found.setdefault(reason, {"count": 0, "first_frames": []})
    skips["count"] += 1
    if len(skips["first_frames"]) < _FRAMES_KEPT:
        skips["first_frames"].append(int(item))


def _merge(parts, kind):
    """Adds up what the shards have counted; the first frames of all."""
    merged = {}
    for part in parts:
        for reason, found in part[kind].items():
            skips = merged.setdefault(reason, Skips())
            skips.count += found["count"]
            skips.first_frames = sorted(skips.first_frames + found["first_frames"])[:_FRAMES_KEPT]
    return merged


def _in_order(pool, function, items, ahead):
    """Yields results in the order of the items, a bounded number of them ahead."""
    items = iter(items)
    waiting = collections.deque(
        pool.submit(function, item) for item in itertools.islice(items, ahead)
    )
    try:
        while waiting:
            result = waiting.popleft().result()
            for item in itertools.islice(items, 1):
                waiting.append(pool.submit(function, item))
            yield result
    finally:
        for future in waiting:
            future.cancel()


def _describe(plan, parts):
    subjects, values = collections.Counter(), collections.defaultdict(list)
    for part in parts:
        subjects.update(part["subjects"])
        for name, found in part["values"].items():
            values[name] += found
    skipped, notes = _merge(parts, "skipped"), _merge(parts, "notes")
    num_samples = sum(part["num_samples"] for part in parts)
    if not num_samples:
        # Nothing of it is worth keeping for another run.
        shutil.rmtree(plan.folder)
        reasons = {reason: skips.count for reason, skips in skipped.items()}
        raise ValueError(
            f"No sample for split {plan.split!r} of {plan.output_dir}; skipped: {reasons}."
        )
    for kind, found in (("skipped", skipped), ("kept", notes)):
        for reason, skips in found.items():
            logging.warning(
                "%s: %s %d: %s, first frames %s", plan.split, kind, skips.count, reason,
                skips.first_frames[:5],
            )  # fmt: skip
    medians = {name: sorted(found)[len(found) // 2] for name, found in values.items()}
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
        extra={
            **plan.extra,
            **{f"median_{name}": value for name, value in medians.items()},
            "notes": {note: dataclasses.asdict(skips) for note, skips in notes.items()},
            _FINGERPRINT: plan.fingerprint,
        },
    )
