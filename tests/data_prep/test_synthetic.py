"""The embedded recording: who is in it, what cameras see, what is written."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from data_prep import records
from data_prep.synthetic import embedded, motion, rendering, sequences
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, surface, template

SPEC = crop.CropSpec(image_size=32)
NUM_SAMPLES = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording")
    written = embedded.write(path, NUM_SAMPLES, SPEC, test_share=0.25, num_shards=2, seed=3)
    return path, written


def read(path, split):
    return list(records.load_dataset(path, split, spec=SPEC).as_numpy_iterator())


def test_splits_have_the_wished_sizes(folder):
    path, written = folder
    assert written == {"train": 12, "test": 4}
    assert len(read(path, "train")) == 12 and len(read(path, "test")) == 4


def test_nobody_is_in_both_splits(folder):
    subjects = {s: {x["subject"] for x in read(folder[0], s)} for s in ("train", "test")}
    assert len(subjects["train"]) == sequences.SUBJECTS["train"]
    assert len(subjects["test"]) == sequences.SUBJECTS["test"]
    assert not subjects["train"] & subjects["test"]


def test_folder_describes_itself(folder):
    path, written = folder
    description = json.loads((path / "dataset_info.json").read_text())
    info = records.verify(path)
    assert info.spec == SPEC and info.num_views == 3
    for split, count in written.items():
        assert info.splits[split].num_samples == count
        assert info.splits[split].num_labelled == count
        assert info.splits[split].num_skipped == 0
        assert "seed 3" in info.splits[split].source
        assert len(info.splits[split].shards) == 2
    assert set(description["splits"]) == {"train", "test"}


def test_joints_are_labelled_in_every_view_and_agree_between_views(folder):
    for sample in read(folder[0], "train"):
        assert (sample["joint_mask"] == 1).all()
        in_ref = rigid.apply(sample["ref_from_view"], sample["joints_mm"]).numpy()
        # Transforms and joints of up to 1.5 m are stored in float32.
        np.testing.assert_allclose(in_ref, np.broadcast_to(in_ref[:1], in_ref.shape), atol=0.01)


def test_all_views_are_cropped_around_one_point(folder):
    for sample in read(folder[0], "test"):
        in_ref = rigid.apply(sample["ref_from_view"], sample["center_mm"][:, None]).numpy()
        np.testing.assert_allclose(in_ref, np.broadcast_to(in_ref[:1], in_ref.shape), atol=0.01)


def test_joints_lie_in_the_cube_and_behind_what_is_seen(folder):
    samples = read(folder[0], "train") + read(folder[0], "test")
    joints = np.stack([s["joints_mm"] - s["center_mm"][:, None] for s in samples])
    inside = (np.abs(joints) < SPEC.far_mm).all(axis=-1)
    assert inside.all(axis=(1, 2)).mean() >= 0.95
    depth_mm = np.stack([s["depth_mm"] for s in samples])
    pixel = np.floor((joints + SPEC.far_mm) / SPEC.pixel_mm).astype(int).clip(0, 31)
    sample, view = np.ogrid[: len(samples), :3]
    seen = depth_mm[sample[..., None], view[..., None], pixel[..., 1], pixel[..., 0]]
    surface_seen = np.asarray(crop.foreground_mask(seen, SPEC.cube_mm))
    assert surface_seen[inside].mean() > 0.8
    # Blurred edges and noise aside, a joint lies under the skin.
    assert (seen < joints[..., 2] + 5.0)[inside & surface_seen].mean() > 0.97


def test_cameras_stand_still(folder):
    for split in ("train", "test"):
        transforms = np.stack([s["ref_from_view"] for s in read(folder[0], split)])
        np.testing.assert_array_equal(transforms, np.broadcast_to(transforms[:1], transforms.shape))
        np.testing.assert_allclose(transforms[0, 0], np.eye(4), atol=1e-6)


def test_recording_follows_the_seed(folder, tmp_path):
    again = tmp_path / "again"
    embedded.write(again, NUM_SAMPLES, SPEC, test_share=0.25, num_shards=2, seed=3)
    for a, b in zip(read(folder[0], "test"), read(again, "test"), strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_batch_is_the_same_without_those_before(monkeypatch):
    monkeypatch.setattr(sequences, "BATCH", 2)
    take = sequences.plan_takes(30, 0.2, 3)["train"][1]
    noise = tf.random.Generator.from_seed(1)
    states, film = [], rendering.film

    def note(points, joints, view_from_ref, rng, spec):
        before = rng.state.numpy()
        batch = film(points, joints, view_from_ref, rng, spec)
        states.append((before, rng.state.numpy()))
        return batch

    monkeypatch.setattr(rendering, "film", note)
    in_order = sequences.Renderer(take, SPEC, noise)
    expected = {start: in_order.render(start) for start in take.starts}
    # In order, each batch draws where the one before has stopped.
    for (start, after), (next_start, _) in itertools.pairwise(states):
        assert (start != after).any()
        np.testing.assert_array_equal(after, next_start)
    assert sum(map(len, expected.values())) == take.num_frames and len(expected) > 2
    alone = sequences.Renderer(take, SPEC, noise)
    for start in (4, 0, 2):
        for a, b in zip(alone.render(start), expected[start], strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_another_seed_is_another_recording():
    first, second = (np.random.default_rng(s) for s in (1, 2))
    assert (motion.place_cameras(first)[1] != motion.place_cameras(second)[1]).any()
    a, b = (rendering.sample_subject(r, "x").shape for r in (first, second))
    assert (a != b).any()


def test_what_is_there_is_not_overwritten_unasked(folder):
    with pytest.raises(FileExistsError):
        embedded.write(folder[0], NUM_SAMPLES, SPEC, num_shards=2, seed=3)


@pytest.mark.parametrize("seed", range(5))
def test_subjects_are_new_to_the_synthetic_stage_but_no_giants(seed):
    subject = rendering.sample_subject(np.random.default_rng(seed), "somebody")
    deviations = np.abs(subject.shape / template.SHAPE_STDDEV)
    # Training draws end at two deviations a parameter.
    assert 1 <= (deviations > 2.0).sum() <= 2
    assert deviations.max() <= 2.5 + 1e-5
    plain = surface.sample_skin(rendering._SKIN_POINTS)
    bump = np.linalg.norm(subject.skin.points_mm - plain.points_mm, axis=-1)
    assert 0.3 < bump.mean() < 2.5 and bump.max() < 5.0


def test_cameras_are_rigid_and_look_at_the_hand():
    for seed in range(4):
        view_from_ref = motion.place_cameras(np.random.default_rng(seed))
        rotation = view_from_ref[:, :3, :3]
        np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-5)
        hand = rigid.apply(view_from_ref, np.full((3, 1, 3), [0.0, 0.0, 780.0], np.float32))
        hand = hand.numpy()
        # Within 5 cm of the axis, between half a meter and a meter away.
        assert (np.abs(hand[..., :2]) < 50.0).all()
        assert ((hand[..., 2] > 500.0) & (hand[..., 2] < 1000.0)).all()


def test_motion_is_smooth_and_within_the_ranges():
    rng = np.random.default_rng(5)
    recording = motion.make_recording(rng, 40, motion.place_cameras(rng))
    low, high = template.ANGLE_RANGES_RAD.T
    assert (recording.angles >= low - 1e-5).all() and (recording.angles <= high + 1e-5).all()
    # A gesture takes eight frames; a joint of 110 degrees moves by at most 1.5 / 8 of it a frame.
    assert np.abs(np.diff(recording.angles, axis=0)).max() < np.radians(25.0)
    assert np.linalg.norm(np.diff(recording.position_mm, axis=0), axis=1).max() < 60.0
    rotation = recording.camera_from_hand
    eye = np.broadcast_to(np.eye(3), rotation.shape)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), eye, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-5)


def test_rendered_views_show_the_hand_where_its_joints_are():
    rng = np.random.default_rng(5)
    cameras = motion.place_cameras(rng)
    subject = rendering.sample_subject(rng, "somebody")
    recording = motion.make_recording(rng, 2, cameras)
    features = tf.constant(surface.skinning_features(subject.skin))
    points, joints = rendering.pose_hand(
        features,
        recording.angles,
        np.tile(subject.shape, (2, 1)),
        recording.camera_from_hand,
        recording.position_mm,
    )
    noise = tf.random.Generator.from_seed(1)
    images, intrinsics, joints = rendering.render_views(points, joints, cameras, noise)
    assert images.shape[0] == intrinsics.shape[0] == 6 and joints.shape == (2, 3, 36, 3)
    palm = joints[:, :, skeleton.joint_index("PALM_3")].numpy().reshape(6, 3)
    focal, principal = np.split(intrinsics.numpy(), 2, axis=1)
    u, v = np.round(focal * palm[:, :2] / palm[:, 2:] + principal).astype(int).T
    for b in range(6):
        near = images[b, v[b] - 4 : v[b] + 5, u[b] - 4 : u[b] + 5].numpy()
        near = near[near > 0]
        assert len(near) and abs(np.median(near) - palm[b, 2]) < 90.0


def test_too_few_samples_are_refused(tmp_path):
    with pytest.raises(ValueError):
        embedded.write(tmp_path, 1, SPEC)
