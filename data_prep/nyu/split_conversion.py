"""Converts a split item by item, in parallel, so that a killed run goes on where it was.

Finished shards wait in a hidden folder, `.SPLIT.partial`, each beside a JSON file that is written
last. When all are there, they are moved in place and named in `dataset_info.json`, as
`shard_writer.ShardWriter` does. A run with other settings starts anew.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from absl import logging
from tqdm import tqdm

from data_prep.records import shards as shard_parts
from data_prep.records.dataset_info import (
    INFO_NAME,
    DatasetInfo,
    SplitInfo,
    compute_sha256,
    read_info,
)
from data_prep.records.shard_writer import publish_split, read_other_splits
from data_prep.records.shards import Converted
from data_prep.records.split_plan import SplitPlan, checksum_of
from tfhand import files

__all__ = ["convert_split", "find_published"]


def convert_split(
    plan: SplitPlan, convert: Callable[[int], Converted], workers: int | None = None
) -> SplitInfo:
    """Converts and publishes a split.

    Args:
        plan: `SplitPlan`.
        convert: Makes `Converted` from an item; called from several threads.
        workers: Threads; None: one a processor.

    Returns:
        `SplitInfo` of the split.

    Raises:
        FileExistsError: If the folder has the split and `plan.overwrite` is False, or another
            process is converting into the folder.
        ValueError: If no item gives a sample, or another split there has another layout.
        OSError: If a shard cannot be written.
    """
    output_dir = Path(plan.output_dir)
    with files.alone_in(output_dir, "writing records to"):
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
            _in_order(pool, lambda item: _encode(plan, item, convert), items, 4 * workers)
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
    try:
        info = shard_parts.describe_conversion(plan, parts)
    except ValueError:
        # Nothing of it is worth keeping for another run.
        shutil.rmtree(plan.folder)
        raise
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
    output_dir = plan.output_dir
    if not tf.io.gfile.exists(os.path.join(output_dir, INFO_NAME)):
        return None
    info = read_info(output_dir)
    found = info.splits.get(plan.split)
    if found is not None and found.extra.get(SplitPlan.FINGERPRINT) == plan.fingerprint:
        return found
    if plan.overwrite:
        return None
    # Whether the other splits have the same number of views is seen once that is known.
    read_other_splits(output_dir, plan.split, plan.spec, info.num_views, overwrite=False)
    return None


def _encode(plan, item, convert):
    return shard_parts.encode(item, convert(item), plan.spec, plan.num_views)


def _prepare(plan):
    """Makes the hidden folder, or keeps that of an earlier run with the same settings."""
    path = plan.folder / SplitPlan.FINGERPRINT
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


def _write_shard(plan, index, results, progress):
    """Writes the next results as a shard; returns what is to be known of it."""

    def items():
        for _ in plan.shard_items(index):
            yield next(results)
            progress.update()

    path = plan.folder / plan.shard_name(index)
    part = shard_parts.write_shard(path, items())
    values = part | {"checksum": checksum_of(part)}
    files.write_json(path.with_name(f"{path.name}.json"), values)
    return part


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
