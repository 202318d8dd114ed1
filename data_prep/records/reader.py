"""Reads folders of records."""

import functools
import os

import numpy as np
import tensorflow as tf

from data_prep.records import storage
from data_prep.records.dataset_info import INFO_NAME, DatasetInfo, compute_sha256, read_info
from data_prep.records.examples import parse_example
from tfhand.geometry.crop import CropSpec

__all__ = ["at_own_centers", "list_shards", "load_dataset", "verify"]


def list_shards(data_dir, split: str) -> list[str]:
    """Returns the paths of a split's shards in order, after checking that each is there in full.

    Raises:
        FileNotFoundError: If the folder, its description, the split or a shard is not there.
        ValueError: If a shard has not the size it was written with.
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
    """Checks every byte of a folder of records against its checksums; returns its description.

    Raises:
        FileNotFoundError: As `list_shards`.
        ValueError: If a shard differs from what was written.
    """
    info = read_info(data_dir)
    for name, split in info.splits.items():
        _verify_split(list_shards(data_dir, name), split)
    return info


def load_dataset(
    data_dir, split: str, *, spec: CropSpec | None = None, num_views: int | None = None
) -> tf.data.Dataset:
    """Opens a split as a dataset of samples, in the order they were written.

    Every byte is compared with the checksums of `dataset_info.json` first, once a process.
    A conversion that skipped samples keeps that order roughly: a sample may come a few places
    earlier. `frame` is the place in the source.

    Args:
        data_dir: Path of a folder of records.
        split: Name of the split.
        spec: Expected size of the crops; None takes the folder's.
        num_views: Expected number of views; None takes the folder's.

    Returns:
        Dataset of known cardinality. Elements are dicts as `parse_example` returns them, with
        static shapes, plus `index` int64, the position within the split.

    Raises:
        FileNotFoundError: If the folder, the split or a shard is not there.
        ValueError: If a shard is damaged, or crops or views are not the expected ones, or not those
            of the records.
    """
    paths = list_shards(data_dir, split)
    info = read_info(data_dir)
    spec = info.spec if spec is None else spec
    num_views = info.num_views if num_views is None else num_views
    info.check_same_layout(spec, num_views, data_dir)
    _verify_split(paths, info.splits[split])

    def parse(index, serialized):
        return {**parse_example(serialized, spec, num_views), "index": index}

    _check_first(paths, parse, data_dir)
    # The writer gives samples to the shards in turn; taking them in turn restores their order.
    dataset = tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=len(paths), block_length=1
    )
    dataset = dataset.enumerate().map(
        parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    num_samples = info.splits[split].num_samples
    return dataset.apply(tf.data.experimental.assert_cardinality(num_samples))


def _verify_split(paths, split):
    for path, (_, modified_ns), shard in zip(
        paths, storage.stat_all(paths), split.shards, strict=True
    ):
        _verify_shard(path, modified_ns, shard)


@functools.cache
def _verify_shard(path, modified_ns, shard):
    """Compares a shard with its checksum and its number of records, once for each change of it."""
    if compute_sha256(path) != shard.sha256:
        raise ValueError(f"Shard {path} is damaged: its SHA-256 is not the one in {INFO_NAME}.")
    try:
        count = int(tf.data.TFRecordDataset(path).reduce(np.int64(0), lambda count, _: count + 1))
    except tf.errors.OpError as error:
        raise ValueError(f"Shard {path} is damaged: a record is not whole.") from error
    if count != shard.num_samples:
        raise ValueError(
            f"Shard {path} holds {count} records: expected {shard.num_samples} as in {INFO_NAME}."
        )


def _check_first(paths, parse, data_dir):
    """Parses one record: all were written with the same size of crops and number of views."""
    for serialized in tf.data.TFRecordDataset(paths).take(1):
        try:
            parse(tf.constant(0, tf.int64), serialized)
        except (tf.errors.OpError, ValueError) as error:
            # TensorFlow's text ends with the bytes of the record.
            reason = str(error).splitlines()[0][:200]
            raise ValueError(
                f"Records of {data_dir} are not as {INFO_NAME} says: {reason}"
            ) from error


def at_own_centers(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the samples of `load_dataset` with every view cropped where it finds the hand alone.

    Where it finds none, `center_mm` is zero and `depth_mm` background. Samples that were never
    searched for, as synthetic ones, stay.
    """
    if "own_depth_mm" not in dataset.element_spec:
        return dataset
    names = ("depth_mm", "center_mm")
    return dataset.map(lambda row: {**row, **{name: row[f"own_{name}"] for name in names}})
