"""Records: what is written comes back, and nothing half-written is taken."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_prep import records
from data_prep.records import storage
from tests.data_prep.record_samples import SPEC, VIEWS, load, make_sample, write
from tfhand.geometry.crop import CropSpec

REPOSITORY = Path(__file__).parents[2]


# Codes are 0.1 mm apart, so rounding moves a depth by half of that; float32 adds 2e-5.
DEPTH_TOLERANCE_MM = 0.05 + 1e-4


def visible_files(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_round_trip_is_lossless_to_a_tenth_of_a_millimeter(tmp_path):
    samples = [make_sample(frame) for frame in range(7)]
    write(tmp_path, samples=samples)
    loaded = load(tmp_path)
    assert len(loaded) == len(samples)
    for index, (sample, result) in enumerate(zip(samples, loaded, strict=True)):
        np.testing.assert_allclose(result["depth_mm"], sample["depth_mm"], atol=DEPTH_TOLERANCE_MM)
        background = sample["depth_mm"] == SPEC.far_mm
        np.testing.assert_array_equal(result["depth_mm"] == SPEC.far_mm, background)
        assert (result["depth_mm"][~background] < SPEC.far_mm - 0.05).all()
        for name in ("center_mm", "intrinsics", "ref_from_view"):
            np.testing.assert_array_equal(result[name], sample[name].astype(np.float32))
        np.testing.assert_array_equal(result["joint_mask"], sample["joint_mask"])
        known = sample["joint_mask"]
        np.testing.assert_allclose(result["joints_mm"][known], sample["joints_mm"][known], 1e-6)
        np.testing.assert_array_equal(result["joints_mm"][~known], 0)
        np.testing.assert_allclose(
            result["foreground_fraction"], 1 - background.mean(axis=(1, 2)), atol=1e-6
        )
        assert (result["subject"], result["frame"]) == (sample["subject"].encode(), sample["frame"])
        assert result["index"] == index


def test_a_second_round_trip_changes_nothing(tmp_path):
    write(tmp_path / "a")
    first = load(tmp_path / "a")
    again = [
        {key: value for key, value in sample.items() if key not in ("index", "foreground_fraction")}
        | {"subject": sample["subject"].decode()}
        for sample in first
    ]
    write(tmp_path / "b", samples=again)
    for a, b in zip(first, load(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(a["depth_mm"], b["depth_mm"])


@pytest.mark.parametrize("cube_mm", [250.0, 299.97, 6500.0])
def test_any_cube_keeps_its_background(tmp_path, cube_mm):
    spec = CropSpec(8, cube_mm)
    samples = [make_sample(0, spec=spec)]
    write(tmp_path, samples=samples, spec=spec)
    (result,) = load(tmp_path)
    np.testing.assert_allclose(result["depth_mm"], samples[0]["depth_mm"], atol=2 * 0.05 + 1e-3)
    far = np.float32(spec.far_mm)
    np.testing.assert_array_equal(result["depth_mm"] == far, samples[0]["depth_mm"] == far)


def test_a_cube_too_large_for_16_bits_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at most 6553\.5 mm, received cube_mm=7000\.0"):
        write(tmp_path, spec=CropSpec(8, 7000.0))


def test_static_shapes_and_cardinality(tmp_path):
    write(tmp_path, samples=[make_sample(0), make_sample(1)])
    dataset = records.load_dataset(tmp_path, "train")
    assert int(dataset.cardinality()) == 2
    shapes = {name: spec.shape.as_list() for name, spec in dataset.element_spec.items()}
    assert shapes == {
        "depth_mm": [3, 16, 16],
        "center_mm": [3, 3],
        "own_depth_mm": [3, 16, 16],
        "own_center_mm": [3, 3],
        "intrinsics": [3, 4],
        "ref_from_view": [3, 4, 4],
        "foreground_fraction": [3],
        "subject": [],
        "frame": [],
        "joints_mm": [3, 36, 3],
        "joint_mask": [3, 36],
        "index": [],
    }


def test_unlabelled_samples_have_no_joints(tmp_path):
    writer = write(tmp_path, samples=[make_sample(0, labelled=False), make_sample(1)])
    first, second = load(tmp_path)
    np.testing.assert_array_equal(first["joints_mm"], np.zeros((3, 36, 3)))
    np.testing.assert_array_equal(first["joint_mask"], np.zeros((3, 36)))
    assert second["joint_mask"].any()
    assert writer.info.num_labelled == 1


def test_parser_reads_exactly_the_features_of_the_table(tmp_path):
    write(tmp_path, samples=[make_sample(0)], num_shards=1)
    (serialized,) = tf.data.TFRecordDataset(records.list_shards(tmp_path, "train"))
    example = tf.train.Example.FromString(serialized.numpy())
    assert set(example.features.feature) == {field.name for field in records.FIELDS}
    for field in records.FIELDS:
        kind = example.features.feature[field.name].WhichOneof("kind")
        expected = {tf.float32: "float_list", tf.int64: "int64_list", tf.string: "bytes_list"}
        assert kind == expected[field.dtype], field.name
        assert field.meaning


def test_one_view_and_several_splits(tmp_path):
    write(tmp_path, "train", views=1)
    write(tmp_path, "test", [make_sample(9, views=1)], views=1, num_shards=1)
    info = records.verify(tmp_path)
    assert {name: split.num_samples for name, split in info.splits.items()} == {
        "train": 7,
        "test": 1,
    }
    assert info.splits["train"].subjects == {"s0": 4, "s1": 3}
    assert [shard.num_samples for shard in info.splits["train"].shards] == [3, 2, 2]
    for split in info.splits.values():
        for shard in split.shards:
            records_found = sum(1 for _ in tf.data.TFRecordDataset(str(tmp_path / shard.name)))
            assert records_found == shard.num_samples
    assert len(load(tmp_path, "test")) == 1


def test_unusable_samples_are_counted_not_written(tmp_path):
    samples = [make_sample(frame) for frame in range(5)]
    samples[1]["depth_mm"][0, 3, 3] = np.nan
    samples[2]["depth_mm"][1] = SPEC.far_mm
    samples[3]["center_mm"][2, 1] = np.inf
    samples[4]["depth_mm"][0, 0, 0] = -151.0
    writer = write(tmp_path, samples=samples, extra={"residual_mm": 1.5})
    info = records.read_info(tmp_path).splits["train"]
    assert info == writer.info
    assert info.num_samples == 1 and info.num_skipped == 4
    assert {reason: skips.first_frames for reason, skips in info.skipped.items()} == {
        "non-finite depth_mm": [1001],
        "a view shows background only": [1002],
        "non-finite center_mm": [1003],
        "depth_mm in front of the cube": [1004],
    }
    assert info.extra == {"residual_mm": 1.5}
    assert [sample["frame"] for sample in load(tmp_path)] == [1000]


def test_unknown_joints_may_hold_anything(tmp_path):
    sample = make_sample(0)
    sample["joints_mm"][~sample["joint_mask"]] = np.nan
    assert write(tmp_path, samples=[sample]).num_samples == 1


def test_encoding_alone_refuses_bad_values():
    sample = make_sample(0)
    sample["depth_mm"][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="Frame 1000 of 's0': non-finite depth_mm"):
        records.encode_example(sample, SPEC, VIEWS)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"depth_mm": np.zeros((3, 8, 8))}, r"depth_mm must have shape \[3, 16, 16\], received"),
        ({"center_mm": np.zeros((2, 3))}, r"center_mm must have shape \[3, 3\], received \[2, 3\]"),
        ({"joints_mm": np.zeros((3, 14, 3))}, r"joints_mm must have shape \[3, 36, 3\]"),
        ({"centre_mm": np.zeros((3, 3))}, r"unknown \['centre_mm'\]"),
    ],
)
def test_wrong_shapes_and_keys_are_errors(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, samples=[make_sample(0) | change])
    assert visible_files(tmp_path) == []


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="camera unplugged"):
        with records.ShardWriter(
            records.SplitPlan(tmp_path, "train", 2, "test", SPEC, VIEWS)
        ) as writer:
            writer.write(make_sample(0))
            raise RuntimeError("camera unplugged")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_readable_and_the_next_run_succeeds(tmp_path):
    script = f"""
import sys, os, signal
sys.path[:0] = [{str(REPOSITORY)!r}]
import numpy as np
from data_prep import records
from tfhand.geometry.crop import CropSpec
plan = records.SplitPlan({str(tmp_path)!r}, "train", 2, "killed", CropSpec(16), num_views=3)
with records.ShardWriter(plan) as writer:
    sample = dict(depth_mm=np.zeros((3, 16, 16)), center_mm=np.ones((3, 3)),
                  intrinsics=np.ones((3, 4)), ref_from_view=np.ones((3, 4, 4)), subject="s",
                  frame=0)
    for _ in range(20):
        writer.write(sample)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert any(tmp_path.iterdir()) and visible_files(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="holds no complete data set"):
        records.load_dataset(tmp_path, "train")
    write(tmp_path, num_shards=1)
    assert len(load(tmp_path)) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset_info.json",
        "train-00000-of-00001.tfrecord",
    ]


def test_killed_while_publishing_an_overwrite_leaves_the_other_split(tmp_path, monkeypatch):
    write(tmp_path, "test", [make_sample(0)])
    write(tmp_path, "train")
    move = storage.move

    def die_at_second_shard(source, target):
        if str(target).endswith("train-00001-of-00002.tfrecord"):
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(storage, "move", die_at_second_shard)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "train", num_shards=2, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match=r"No split 'train'.*one of \['test'\]"):
        records.load_dataset(tmp_path, "train")
    assert len(load(tmp_path, "test")) == 1
    write(tmp_path, "train", num_shards=1)
    assert len(load(tmp_path, "train")) == 7


def test_a_split_is_not_overwritten_unless_asked(tmp_path):
    write(tmp_path)
    with pytest.raises(FileExistsError, match="already has a split 'train'"):
        write(tmp_path, samples=[make_sample(3)])
    assert len(load(tmp_path)) == 7
    write(tmp_path, samples=[make_sample(3)], overwrite=True, num_shards=1)
    assert [sample["frame"] for sample in load(tmp_path)] == [1003]
    assert visible_files(tmp_path) == ["dataset_info.json", "train-00000-of-00001.tfrecord"]


def test_splits_of_another_layout_do_not_mix(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"image_size=16.*expected image_size=32"):
        write(tmp_path, "test", spec=CropSpec(32))
    with pytest.raises(ValueError, match=r"num_views=3; expected .*num_views=1"):
        write(tmp_path, "test", views=1)


def test_no_sample_is_an_error_that_says_why(tmp_path):
    sample = make_sample(0)
    sample["depth_mm"][:] = SPEC.far_mm
    with pytest.raises(ValueError, match=r"No sample for split 'train'.*background only': 1"):
        write(tmp_path, samples=[sample])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "split, num_shards, message",
    [("Train-1", 1, "received 'Train-1'"), ("train", 0, "num_shards must be at least 1")],
)
def test_bad_writer_arguments(tmp_path, split, num_shards, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, split, num_shards=num_shards)


def test_more_shards_than_samples(tmp_path):
    write(tmp_path, samples=[make_sample(0), make_sample(1)], num_shards=4)
    assert [sample["frame"] for sample in load(tmp_path)] == [1000, 1001]


def test_views_have_crops_of_their_own(tmp_path):
    samples = [make_sample(frame) for frame in (1, 2)]
    own = make_sample(3)
    samples[0] |= {f"own_{name}": own[name] for name in ("depth_mm", "center_mm")}
    write(tmp_path, samples=samples, num_shards=1)
    dataset = records.load_dataset(tmp_path, "train")
    first, second = records.at_own_centers(dataset).as_numpy_iterator()
    np.testing.assert_allclose(first["depth_mm"], own["depth_mm"], atol=0.051)
    np.testing.assert_allclose(first["center_mm"], own["center_mm"], rtol=1e-6)
    # A sample without has those of all views.
    np.testing.assert_allclose(second["depth_mm"], samples[1]["depth_mm"], atol=0.051)
    with pytest.raises(ValueError, match="needs both"):
        write(tmp_path / "b", samples=[own | {"own_depth_mm": own["depth_mm"]}])
