"""Records: shards, `dataset_info.json`, and the record of one sample."""

import json

import numpy as np
import tensorflow as tf

from data_prep import records
from data_prep.records import dataset_info
from tests.fuzz.case import Format
from tfhand.geometry.crop import CropSpec

__all__ = ["FORMATS"]

_SPEC, _VIEWS = CropSpec(image_size=16), 2
_SHARD = "train-00000-of-00002.tfrecord"


def _sample(frame):
    rng = np.random.default_rng(frame)
    depth = rng.uniform(-100.0, 100.0, (_VIEWS, 16, 16)).astype(np.float32)
    return {
        "depth_mm": np.where(rng.random(depth.shape) < 0.5, _SPEC.far_mm, depth),
        "center_mm": rng.normal(0.0, 50.0, (_VIEWS, 3)) + [0.0, 0.0, 700.0],
        "intrinsics": np.tile([588.0, 588.0, 320.0, 240.0], (_VIEWS, 1)),
        "ref_from_view": np.tile(np.eye(4), (_VIEWS, 1, 1)),
        "subject": f"s{frame % 2}",
        "frame": frame,
        "joints_mm": rng.normal(0.0, 50.0, (_VIEWS, 36, 3)) + [0.0, 0.0, 700.0],
    }


def _make(file_name):
    def make(folder):
        plan = records.SplitPlan(folder / "data", "train", 2, "test", _SPEC, _VIEWS)
        with records.ShardWriter(plan) as writer:
            for frame in range(5):
                writer.write(_sample(frame))
        return (folder / "data" / file_name).read_bytes()

    return make


def _read(file_name):
    def read(data, folder):
        (folder / "data" / file_name).write_bytes(data)
        return list(records.load_dataset(folder / "data", "train").as_numpy_iterator())

    return read


def _check_same(samples, reference):
    """Whatever is accepted is what was written, in the order in which it was."""
    assert len(samples) == len(reference), len(samples)
    for found, expected in zip(samples, reference, strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def _with(**changes):
    return lambda data: json.dumps(json.loads(data) | changes).encode()


def _with_shard(**changes):
    def bomb(data):
        values = json.loads(data)
        values["splits"]["train"]["shards"][0] |= changes
        return json.dumps(values).encode()

    return bomb


_INFO_BOMBS = {
    "nested": lambda _: b"[" * 200000,
    "a list": lambda _: b"[1, 2]",
    "long number": lambda _: b"9" * 20000,
    "another image size": _with(image_size=32),
    "huge image size": _with(image_size=10**9),
    "huge cube": _with(cube_mm=1e308),
    "not a number": _with(cube_mm=float("nan")),
    "three views": _with(num_views=3),
    "a million views": _with(num_views=10**6),
    "views as text": _with(num_views="2"),
    "no splits": _with(splits={}),
    "another folder": _with_shard(name=f"../data/{_SHARD}"),
    "fewer samples": _with_shard(num_samples=1),
    "a negative count": _with_shard(num_samples=-1),
    "half a count": _with_shard(num_samples=2.5),
    "no checksum": _with_shard(sha256=""),
}


def _make_record(folder):
    """A folder of one record, whose checksums are made to fit whatever the record is."""
    plan = records.SplitPlan(folder / "data", "train", 1, "test", _SPEC, _VIEWS)
    with records.ShardWriter(plan) as writer:
        writer.write(_sample(0))
    return records.encode_example(_sample(0), _SPEC, _VIEWS)


def _read_record(data, folder):
    shard = folder / "data" / "train-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(data)
    path = folder / "data" / "dataset_info.json"
    fitting = {"sha256": dataset_info.compute_sha256(shard), "num_bytes": shard.stat().st_size}
    path.write_bytes(_with_shard(**fitting)(path.read_bytes()))
    return list(records.load_dataset(folder / "data", "train").as_numpy_iterator())


def _check_record(samples, references):
    (sample,), (reference,) = samples, references
    for name, value in reference.items():
        found = sample[name]
        if isinstance(value, np.ndarray):
            assert (found.shape, found.dtype) == (value.shape, value.dtype), name
            assert np.isfinite(found).all(), name


FORMATS = {
    "shard": Format(700, _make(_SHARD), _read(_SHARD), _check_same, _SHARD),
    "dataset_info": Format(
        700, _make("dataset_info.json"), _read("dataset_info.json"), _check_same, "data",
        bombs=_INFO_BOMBS,
    ),
    "record": Format(700, _make_record, _read_record, _check_record, "data"),
}  # fmt: skip
