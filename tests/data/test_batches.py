"""Recorded and synthetic samples on their way into a step."""

import numpy as np
import pytest
import tensorflow as tf

from data_prep import records
from tfhand.data import batches, recordings
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.synthesis import samples

SPEC = crop.CropSpec(image_size=16, cube_mm=300.0)
FLOAT_MM = 1e-3


@pytest.fixture
def dataset(tmp_path):
    """Five samples of two subjects; the last sample has no labels, one joint of the first none."""
    rng = np.random.default_rng(0)
    plan = records.SplitPlan(tmp_path, "train", 2, "test", SPEC, num_views=2)
    with records.ShardWriter(plan) as writer:
        for i in range(5):
            sample = {
                "depth_mm": np.full([2, 16, 16], float(i), np.float32),
                "center_mm": np.array([[1.0, 2.0, 700.0 + i], [0.0, 0.0, 800.0]], np.float32),
                "intrinsics": np.full([2, 4], 100.0, np.float32),
                "ref_from_view": np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)),
                "subject": "bb" if i % 2 else "aa",
                "frame": 10 + i,
            }
            if i < 4:
                mask = np.ones([2, 36], np.int64)
                mask[0, 3] = i > 0
                joints = rng.normal(0.0, 30.0, [2, 36, 3]) + sample["center_mm"][:, None]
                sample |= {"joints_mm": joints.astype(np.float32), "joint_mask": mask}
            writer.write(sample)
    return records.load_dataset(tmp_path, "train")


def test_read_recording(dataset):
    recording = recordings.read_recording(dataset)
    assert (len(recording), recording.num_views) == (5, 2)
    np.testing.assert_array_equal(recording.frame, 10 + np.arange(5))
    np.testing.assert_array_equal(recording.group, [0, 1, 0, 1, 0])
    np.testing.assert_allclose(recording.depth_mm[:, 0, 0, 0], np.arange(5), atol=0.05)
    # The cameras are the reference: a crop's origin is its center.
    np.testing.assert_allclose(recording.ref_from_crop[3, 0, :3, 3], [1.0, 2.0, 703.0])
    assert np.abs(recording.joints_mm).max() < 200.0
    assert not recording.joint_mask[4].any()
    assert not recording.joints_mm[4].any()
    assert recording.joint_mask[0, 0, 3] == 0 and recording.joint_mask[1, 0, 3] == 1


def test_label_targets(dataset):
    recording = recordings.read_recording(dataset)
    target, mask = batches.label_targets(recording)
    assert target.shape == (5, 2, 41, 3) and mask.shape == (5, 2, 41)
    np.testing.assert_array_equal(mask.sum(axis=2), [[35, 36], *[[36, 36]] * 3, [0, 0]])
    for joint, name in enumerate(skeleton.JOINT_NAMES):
        sphere = skeleton.SPHERE_FROM_JOINT[joint]
        np.testing.assert_array_equal(
            target[1:, :, sphere], recording.joints_mm[1:, :, joint], err_msg=name
        )
    assert not target[mask == 0].any()


def test_targets_in_views_agree_in_the_reference_frame(recording, hands_mm):
    from tfhand.geometry import rigid

    target = batches.targets_in_views(hands_mm, recording.ref_from_crop)
    back = rigid.apply(recording.ref_from_crop, target)
    np.testing.assert_allclose(back, np.tile(hands_mm[:, None], (1, 3, 1, 1)), atol=FLOAT_MM)
    np.testing.assert_allclose(
        target[:, :, skeleton.SPHERE_FROM_JOINT], recording.joints_mm, atol=FLOAT_MM
    )


def test_recorded_batches_show_every_sample_once_a_pass(recording, batch):
    arguments = (recording, batch["target_mm"].numpy(), batch["target_mask"].numpy())

    def passes(seed):
        make = batches.recorded_batches(*arguments, batch_size=2, seed=seed)
        marks = [np.round(make(step)["ref_from_crop"][:, 0, 0, 3], 3) for step in range(8)]
        return np.array(marks).reshape(4, 4)

    marks = passes(1)
    for row in marks:
        np.testing.assert_array_equal(np.sort(row), np.sort(marks[0]))
    assert len({tuple(row) for row in marks}) > 1
    np.testing.assert_array_equal(marks, passes(1))
    assert (marks != passes(2)).any()


def test_small_recording_fills_a_batch(recording, batch):
    make = batches.recorded_batches(
        recording, batch["target_mm"], batch["target_mask"], batch_size=10, seed=0
    )
    assert make(0)["depth_mm"].shape == (10, 3, 32, 32)


def test_synthetic_batches(eagerly):
    make = batches.synthetic_batches(SPEC, 4, samples.SyntheticConfig(points=2000), seed=3)
    first, second, again = (make(tf.constant(step, tf.int64)) for step in (0, 1, 0))
    assert first["depth_mm"].shape == (4, 16, 16) and first["spheres_mm"].shape == (4, 41, 3)
    assert np.abs(first["spheres_mm"] - second["spheres_mm"]).max() > 1.0
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    parts = [make(tf.constant(1, tf.int64), (tf.constant(i), 2)) for i in range(2)]
    for name, whole in second.items():
        # A product of matrices may be summed in another order when it has fewer rows.
        np.testing.assert_allclose(tf.concat([p[name] for p in parts], 0), whole, atol=1e-3)


def test_shards_of_a_recorded_batch_are_its_rows(recording, batch):
    make = batches.recorded_batches(
        recording, batch["target_mm"], batch["target_mask"], batch_size=4, seed=5
    )
    parts = [make(3, (i, 2)) for i in range(2)]
    for name, whole in make(3).items():
        np.testing.assert_array_equal(tf.concat([p[name] for p in parts], 0), whole)


def test_empty_recording_is_an_error(dataset):
    with pytest.raises(ValueError, match="at least one"):
        recordings.read_recording(dataset.take(0))
