"""Records that are missing, damaged or foreign are refused."""

import hashlib
import json
import os

import pytest
import tensorflow as tf

from data_prep import records
from data_prep.records import reader
from tests.data_prep.record_samples import SPEC, VIEWS, load, make_sample, write
from tfhand.geometry.crop import CropSpec


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No folder .*absent"):
        records.load_dataset(tmp_path / "absent", "train")
    with pytest.raises(FileNotFoundError, match=r"is empty: expected dataset_info.json"):
        records.load_dataset(tmp_path, "train")


def test_misspelt_split_names_the_ones_there(tmp_path):
    write(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"No split 'trian' in .*: expected one of \['train"
    ):
        records.load_dataset(tmp_path, "trian")


def test_missing_truncated_and_changed_shards_are_named(tmp_path):
    write(tmp_path)
    shard = tmp_path / "train-00001-of-00003.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    message = f"train-00001-of-00003.tfrecord is damaged: expected {len(content)} bytes, found"
    with pytest.raises(ValueError, match=message):
        records.load_dataset(tmp_path, "train")
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    shard.write_bytes(changed)
    with pytest.raises(ValueError, match=r"train-00001-of-00003.tfrecord is damaged: its SHA-256"):
        records.verify(tmp_path)
    with pytest.raises(ValueError, match=r"train-00001-of-00003.tfrecord is damaged: its SHA-256"):
        records.load_dataset(tmp_path, "train")
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"Shard .*train-00001-of-00003.tfrecord is miss"):
        records.load_dataset(tmp_path, "train")


def test_another_image_size_is_refused_when_opened_and_when_parsed(tmp_path):
    write(tmp_path, num_shards=1)
    with pytest.raises(ValueError, match=r"image_size=16.*expected image_size=64"):
        records.load_dataset(tmp_path, "train", spec=CropSpec())
    with pytest.raises(ValueError, match=r"num_views=3; expected.*num_views=1"):
        records.load_dataset(tmp_path, "train", num_views=1)
    (serialized, *_) = tf.data.TFRecordDataset(records.list_shards(tmp_path, "train"))
    for spec, views, name in [
        (CropSpec(64), 3, "image_size"),
        (CropSpec(16, 250.0), 3, "cube_mm"),
        (SPEC, 2, "num_views"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"Record with {name}"):
            records.parse_example(serialized, spec, views)
        dataset = tf.data.Dataset.from_tensors(serialized).map(
            lambda text, spec=spec, views=views: records.parse_example(text, spec, views)
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"Record with {name}"):
            next(iter(dataset))


def test_parser_refuses_wrong_lengths_and_values():
    serialized = records.encode_example(make_sample(0), SPEC, VIEWS)
    parse = tf.function(lambda text: records.parse_example(text, SPEC, VIEWS), autograph=False)
    parse(tf.constant(serialized))
    example = tf.train.Example.FromString(serialized)
    example.features.feature["center_mm"].float_list.value[4] = float("nan")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Non-finite value in center_mm"):
        parse(tf.constant(example.SerializeToString()))
    del example.features.feature["center_mm"].float_list.value[4]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[8\](.|\n)*node center_mm"):
        parse(tf.constant(example.SerializeToString()))


def test_a_damaged_or_foreign_description_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "dataset_info.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(ValueError, match=r"dataset_info.json.*version 99, expected 2"):
        records.read_info(tmp_path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"Cannot use .*dataset_info.json"):
        records.read_info(tmp_path)


def change_info(folder, change):
    path = folder / "dataset_info.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def first_shard(values):
    return values["splits"]["train"]["shards"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(image_size=16.0), "whole number"),
        (lambda v: v.update(num_views="3"), "whole number"),
        (lambda v: v.update(num_views=True), "whole number"),
        (lambda v: v.update(cube_mm=float("nan")), "cube_mm"),
        (lambda v: v.update(cube_mm=1e308), "cube_mm"),
        (lambda v: v.update(splits=[]), "AttributeError"),
        (lambda v: first_shard(v).update(name="../train.tfrecord"), "name and SHA-256"),
        (lambda v: first_shard(v).update(sha256=""), "name and SHA-256"),
        (lambda v: first_shard(v).update(num_samples=-1), "whole number"),
        (lambda v: first_shard(v).update(num_samples=1000), r"expected \d+ samples"),
        (lambda v: first_shard(v).update(num_bytes=2.5), "whole number"),
        (lambda v: v["splits"]["train"]["shards"].append(first_shard(v)), "different names"),
        (lambda v: v["splits"]["train"].update(shards=[]), "different names"),
        (lambda v: v["splits"]["train"].update(extra=1), "extra"),
    ],
)
def test_a_description_that_makes_no_sense(tmp_path, change, message):
    write(tmp_path)
    change_info(tmp_path, change)
    with pytest.raises(ValueError, match=rf"Cannot use .*dataset_info\.json.*{message}"):
        records.read_info(tmp_path)


@pytest.mark.parametrize("content", ["[" * 200000, "[]", "9" * 20000, "null"])
def test_a_description_that_is_another_file(tmp_path, content):
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(ValueError, match=r"dataset_info\.json"):
        records.read_info(tmp_path)


def test_a_shard_is_compared_again_when_it_has_changed(tmp_path):
    write(tmp_path)
    records.load_dataset(tmp_path, "train")
    shard = tmp_path / "train-00002-of-00003.tfrecord"
    content = bytearray(shard.read_bytes())
    content[-3] ^= 4
    shard.write_bytes(content)
    os.utime(shard, ns=(1, 1))
    with pytest.raises(ValueError, match=r"train-00002-of-00003.tfrecord is damaged: its SHA-256"):
        records.load_dataset(tmp_path, "train")


def test_a_shard_is_read_once_for_its_checksum(tmp_path, monkeypatch):
    write(tmp_path)
    read = []
    whole = records.compute_sha256
    monkeypatch.setattr(reader, "compute_sha256", lambda path: read.append(path) or whole(path))
    for _ in range(2):
        load(tmp_path)
    assert len(read) == len(set(read)) == 3


def seal(folder, content):
    """Puts other bytes in place of a shard, with checksums in dataset_info.json that fit."""
    shard = folder / "train-00000-of-00001.tfrecord"
    shard.write_bytes(content)
    change_info(
        folder,
        lambda v: first_shard(v).update(
            sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content)
        ),
    )


def test_records_have_checksums_of_their_own(tmp_path):
    write(tmp_path, num_shards=1)
    content = bytearray((tmp_path / "train-00000-of-00001.tfrecord").read_bytes())
    content[len(content) // 2] ^= 1
    seal(tmp_path, content)
    with pytest.raises(ValueError, match=r"train-00000-of-00001.tfrecord is damaged: a record"):
        records.load_dataset(tmp_path, "train")


def test_records_that_are_missing_from_a_shard(tmp_path):
    write(tmp_path, num_shards=1)
    (serialized, *others) = tf.data.TFRecordDataset(records.list_shards(tmp_path, "train"))
    with tf.io.TFRecordWriter(str(tmp_path / "other")) as writer:
        writer.write(serialized.numpy())
    seal(tmp_path, (tmp_path / "other").read_bytes())
    expected = len(others) + 1
    with pytest.raises(ValueError, match=rf"holds 1 records: expected {expected} as in"):
        records.load_dataset(tmp_path, "train")


def test_records_of_another_layout_than_described(tmp_path):
    write(tmp_path, num_shards=1)
    change_info(tmp_path, lambda v: v.update(image_size=32))
    with pytest.raises(ValueError, match=r"are not as dataset_info\.json says: .*image_size"):
        records.load_dataset(tmp_path, "train")
