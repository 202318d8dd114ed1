"""Converts a split frame by frame, in parallel, so that a killed run goes on where it was.

Finished shards wait in a hidden folder, `.SPLIT.partial`, each beside a JSON file that is written
last. When all are there, they are published. A run with other settings starts anew.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable

import tensorflow as tf
from absl import logging
from tqdm import tqdm

from data_prep.nyu.conversion_plan import ConversionPlan, checksum_of
from data_prep.records.dataset_info import INFO_NAME, SplitInfo, compute_sha256, read_info
from data_prep.records.shards import EncodedFrame, write_shard
from tfhand import files

__all__ = ["convert_split", "find_published"]


def convert_split(
    plan: ConversionPlan, convert: Callable[[int], EncodedFrame], workers: int | None = None
) -> SplitInfo:
    """Converts and publishes a split.

    Args:
        plan: `ConversionPlan` into a local folder.
        convert: Converts a frame; called from several threads.
        workers: Threads; None: one a processor.

    Returns:
        `SplitInfo` of the split.

    Raises:
        FileExistsError: If the folder has the split and `plan.overwrite` is False, or another
            process is converting into the folder.
        ValueError: If no frame gives a sample, or another split there has another layout.
        OSError: If a shard cannot be written.
    """
    workers = workers or os.cpu_count() or 1
    with files.lock_folder(plan.output_dir, "writing records to"):
        plan.read_other_splits()
        _prepare_folder(plan)
        shards = [_read_finished(plan, index) for index in range(plan.num_shards)]
        _write_missing(plan, convert, workers, shards)
        try:
            info = plan.publish(shards, [plan.folder / name for name in plan.shard_names])
        except ValueError:
            # Without a sample, nothing of it is worth keeping for another run.
            shutil.rmtree(plan.folder)
            raise
        shutil.rmtree(plan.folder)
        return info


def find_published(plan: ConversionPlan) -> SplitInfo | None:
    """Returns the split if an earlier run has finished it with the same settings, or None.

    Raises:
        FileExistsError: If it is there with other settings and `plan.overwrite` is False.
    """
    if not tf.io.gfile.exists(os.path.join(plan.output_dir, INFO_NAME)):
        return None
    info = read_info(plan.output_dir)
    published = info.splits.get(plan.split)
    if published and published.extra.get(plan.FINGERPRINT) == plan.fingerprint:
        return published
    if not plan.overwrite:
        # Whether other splits have as many views is checked once their number is known.
        dataclasses.replace(plan, num_views=info.num_views).read_other_splits()
    return None


def _prepare_folder(plan):
    """Makes the hidden folder, or keeps that of an earlier run with the same settings."""
    path = plan.folder / plan.FINGERPRINT
    if path.is_file() and path.read_bytes() == plan.partial_fingerprint.encode():
        return
    if plan.folder.exists():
        logging.warning("Starting %s anew: settings or pictures have changed.", plan.split)
        shutil.rmtree(plan.folder)
    plan.folder.mkdir(parents=True)
    files.write_text(path, plan.partial_fingerprint)


def _read_finished(plan, index):
    """Returns what `seal` gave for a waiting shard, or None if it has to be made."""
    path = plan.folder / plan.shard_names[index]
    try:
        shard = files.read_json(f"{path}.json")
        is_whole = shard.pop("checksum") == checksum_of(shard)
        return shard if is_whole and compute_sha256(path) == shard["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_missing(plan, convert, workers, shards):
    """Puts what `seal` gives in place of every None in `shards`."""
    missing = [index for index, shard in enumerate(shards) if shard is None]
    # All missing shards are one stream, so that no thread waits at the end of a shard.
    frames = [frame for index in missing for frame in plan.shard_frames(index)]
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        contextlib.closing(_map_in_order(pool, convert, frames, 4 * workers)) as converted,
        # Frames of finished shards are not counted in the speed, which gives the time left.
        tqdm(
            converted, plan.split, len(plan.frames),
            initial=len(plan.frames) - len(frames), unit="frame",
        ) as progress,
    ):  # fmt: skip
        encoded = iter(progress)
        for index in missing:
            path = plan.folder / plan.shard_names[index]
            count = len(plan.shard_frames(index))
            shards[index] = write_shard(path, itertools.islice(encoded, count))
            checksum = checksum_of(shards[index])
            files.write_json(f"{path}.json", shards[index] | {"checksum": checksum})


def _map_in_order(pool, function, items, ahead):
    """Yields results in the order of the items, a bounded number of them ahead."""
    items = iter(items)
    waiting = collections.deque(
        pool.submit(function, item) for item in itertools.islice(items, ahead)
    )
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
