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
OPTIONS = embedded.RecordingOptions(16, SPEC, test_share=0.25, num_shards=2, seed=3)


def record(path):
    with pytest.MonkeyPatch.context() as patch:
        # Sequences of this recording have three frames at most.
        patch.setattr(sequences, "BATCH", 3)
        return embedded.write(path, OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording")
    return path, record(path)


@pytest.fixture(scope="module")
def samples(folder):
    """Samples of the recording by split."""
    return {split: read(folder[0], split) for split in ("train", "test")}


def read(path, split):
    return list(records.load_dataset(path, split, spec=SPEC).as_numpy_iterator())


def test_splits_have_the_wished_sizes(folder, samples):
    assert folder[1] == {"train": 12, "test": 4}
    assert {split: len(of_split) for split, of_split in samples.items()} == folder[1]


def test_nobody_is_in_both_splits(samples):
    subjects = {s: {x["subject"] for x in of_split} for s, of_split in samples.items()}
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


def test_joints_are_labelled_in_every_view_and_agree_between_views(samples):
    for sample in samples["train"]:
        assert (sample["joint_mask"] == 1).all()
        in_ref = rigid.apply(sample["ref_from_view"], sample["joints_mm"]).numpy()
        # Transforms and joints of up to 1.5 m are stored in float32.
        np.testing.assert_allclose(in_ref, np.broadcast_to(in_ref[:1], in_ref.shape), atol=0.01)


def test_all_views_are_cropped_around_one_point(samples):
    for sample in samples["test"]:
        in_ref = rigid.apply(sample["ref_from_view"], sample["center_mm"][:, None]).numpy()
        np.testing.assert_allclose(in_ref, np.broadcast_to(in_ref[:1], in_ref.shape), atol=0.01)


def test_joints_lie_in_the_cube_and_behind_what_is_seen(samples):
    samples = samples["train"] + samples["test"]
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


def test_cameras_stand_still(samples):
    for of_split in samples.values():
        transforms = np.stack([s["ref_from_view"] for s in of_split])
        np.testing.assert_array_equal(transforms, np.broadcast_to(transforms[:1], transforms.shape))
        np.testing.assert_allclose(transforms[0, 0], np.eye(4), atol=1e-6)


def test_recording_follows_the_seed(folder, tmp_path):
    record(tmp_path)
    for path in folder[0].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_batch_is_the_same_without_those_before(monkeypatch):
    monkeypatch.setattr(sequences, "BATCH", 2)
    sequence = sequences.plan_sequences(30, 0.2, 3)["train"][1]
    noise = tf.random.Generator.from_seed(1)
    states, render_crops = [], rendering.render_crops

    def note(points, joints, view_from_ref, rng, spec):
        before = rng.state.numpy()
        batch = render_crops(points, joints, view_from_ref, rng, spec)
        states.append((before, rng.state.numpy()))
        return batch

    monkeypatch.setattr(rendering, "render_crops", note)
    in_order = sequences.SequenceRenderer(sequence, SPEC, noise)
    expected = {start: in_order.render(start) for start in sequence.batch_starts}
    # In order, each batch draws where the one before has stopped.
    for (start, after), (next_start, _) in itertools.pairwise(states):
        assert (start != after).any()
        np.testing.assert_array_equal(after, next_start)
    assert sum(map(len, expected.values())) == sequence.num_frames and len(expected) > 2
    alone = sequences.SequenceRenderer(sequence, SPEC, noise)
    for start in (4, 0, 2):
        for a, b in zip(alone.render(start), expected[start], strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_another_seed_is_another_recording():
    first, second = (np.random.default_rng(s) for s in (1, 2))
    assert (motion.place_cameras(first)[1] != motion.place_cameras(second)[1]).any()
    (a, _), (b, _) = (rendering.sample_subject(r) for r in (first, second))
    assert (a != b).any()


def test_what_is_there_is_not_overwritten_unasked(folder):
    with pytest.raises(FileExistsError):
        embedded.write(folder[0], OPTIONS)


@pytest.mark.parametrize("seed", range(5))
def test_subjects_are_new_to_the_synthetic_stage_but_no_giants(seed):
    shape, skin = rendering.sample_subject(np.random.default_rng(seed))
    deviations = np.abs(shape / template.SHAPE_STDDEV)
    # Training draws end at two deviations a parameter.
    assert 1 <= (deviations > 2.0).sum() <= 2
    assert deviations.max() <= 2.5 + 1e-5
    plain = surface.sample_skin(55000)
    bump = np.linalg.norm(skin.points_mm - plain.points_mm, axis=-1)
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
    motion.place_cameras(rng)
    moves = motion.sample_motion(rng, 40)
    low, high = template.ANGLE_RANGES_RAD.T
    assert (moves.angles >= low - 1e-5).all() and (moves.angles <= high + 1e-5).all()
    # Slowest at the keys, a joint moves by at most 1.5 times an even share of its range a frame.
    even_share = (high - low) / motion._FRAMES_PER_GESTURE
    assert (np.abs(np.diff(moves.angles, axis=0)) < 1.5 * even_share).all()
    assert np.linalg.norm(np.diff(moves.position_mm, axis=0), axis=1).max() < 60.0
    rotation = moves.camera_from_hand
    eye = np.broadcast_to(np.eye(3), rotation.shape)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), eye, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-5)


def test_rendered_views_show_the_hand_where_its_joints_are():
    rng = np.random.default_rng(5)
    cameras = motion.place_cameras(rng)
    shape, skin = rendering.sample_subject(rng)
    moves = motion.sample_motion(rng, 2)
    features = tf.constant(surface.skinning_features(skin))
    points, joints = rendering.pose_hand(
        features,
        moves.angles,
        np.tile(shape, (2, 1)),
        moves.camera_from_hand,
        moves.position_mm,
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
        embedded.write(tmp_path, embedded.RecordingOptions(1, SPEC))
