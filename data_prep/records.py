"""Folders of records: the names that other code uses to write, check and read them.

schema.py         what a record holds, encoder and parser
dataset_info.py   what dataset_info.json holds
shard_writer.py   writes the shards of a split
storage.py        files, also in object stores
records.py        reads them (below), and names all of these
"""

import os

import tensorflow as tf

from data_prep import storage
from data_prep.dataset_info import INFO_NAME, DatasetInfo, SplitInfo, compute_sha256, read_info
from data_prep.examples import encode_example, parse_example
from data_prep.schema import (
    FIELDS,
    SCHEMA_VERSION,
    Field,
    check_sample,
    find_problem,
)
from data_prep.shard_writer import ShardWriter
from tfhand.geometry.crop import CropSpec

__all__ = [
    "DatasetInfo",
    "FIELDS",
    "Field",
    "INFO_NAME",
    "SCHEMA_VERSION",
    "ShardWriter",
    "SplitInfo",
    "check_sample",
    "encode_example",
    "find_problem",
    "list_shards",
    "load_dataset",
    "parse_example",
    "read_info",
    "verify",
]


def list_shards(data_dir, split: str) -> list[str]:
    """Lists the shards of a split, after checking that each is there in full.

    Args:
      data_dir: path of a folder of records.
      split: name of the split.

    Returns:
      Paths, in order.

    Raises:
      FileNotFoundError: if the folder, its description, the split or a shard is not there.
      ValueError: if a shard has not the size it was written with.
    """
    info = read_info(data_dir)
    if split not in info.splits:
        raise FileNotFoundError(
            f"No split {split!r} in {data_dir}: expected one of {sorted(info.splits)}."
        )
    paths = []
    for shard in info.splits[split].shards:
        path = os.path.join(data_dir, shard.name)
        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(f"Shard {path} is missing: {INFO_NAME} names it.")
        ((num_bytes, _),) = storage.stat_all([path])
        if num_bytes != shard.num_bytes:
            raise ValueError(
                f"Shard {path} is damaged: expected {shard.num_bytes} bytes, found {num_bytes}."
            )
        paths.append(path)
    return paths


def verify(data_dir) -> DatasetInfo:
    """Checks every byte of a folder of records against its checksums.

    Args:
      data_dir: path of a folder of records.

    Returns:
      Its description.

    Raises:
      FileNotFoundError: as `list_shards`.
      ValueError: if a shard differs from what was written.
    """
    info = read_info(data_dir)
    for split in info.splits:
        _verify_split(data_dir, info, split)
    return info


def load_dataset(
    data_dir,
    split: str,
    *,
    spec: CropSpec | None = None,
    num_views: int | None = None,
    verify_checksums: bool = False,
) -> tf.data.Dataset:
    """Opens a split as a dataset of samples, in the order they were written.

    A conversion that skipped samples keeps that order roughly: a sample may come a few places
    earlier. `frame` tells the place in the source.

    Args:
      data_dir: path of a folder of records.
      split: name of the split.
      spec: expected size of the crops; None takes the folder's.
      num_views: expected number of views; None takes the folder's.
      verify_checksums: compare checksums too, not only sizes. (Each record also carries a
        checksum of its own, which is compared when it is read.)

    Returns:
      Dataset of known cardinality. Elements are dicts as `parse_example` returns them, with
      static shapes, plus `index` int64, the position within the split.

    Raises:
      FileNotFoundError: if the folder, the split or a shard is not there.
      ValueError: if a shard is damaged, or crops or views are not the expected ones.
    """
    paths = list_shards(data_dir, split)
    info = read_info(data_dir)
    spec = info.spec if spec is None else spec
    num_views = info.num_views if num_views is None else num_views
    info.check_same_layout(spec, num_views, data_dir)
    if verify_checksums:
        _verify_split(data_dir, info, split)

    def parse(index, serialized):
        return {**parse_example(serialized, spec, num_views), "index": index}

    # The writer deals samples to the shards in turn; taking them in turn restores their order.
    dataset = tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=len(paths), block_length=1
    )
    dataset = dataset.enumerate().map(
        parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    num_samples = info.splits[split].num_samples
    return dataset.apply(tf.data.experimental.assert_cardinality(num_samples))


def _verify_split(data_dir, info, split):
    for path, shard in zip(list_shards(data_dir, split), info.splits[split].shards, strict=True):
        if compute_sha256(path) != shard.sha256:
            raise ValueError(f"Shard {path} is damaged: its SHA-256 is not the one in {INFO_NAME}.")
