"""The hand's center on rendered hands, on a real frame, and where there is no hand."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfhand.geometry import camera, crop, hand_center, nearest_surface, rigid, views
from tfhand.hand import pose_sampling, skeleton, spheres, surface
from tfhand.models import frame_model, package_weights
from tfhand.synthesis import depth, sensor

NYU = Path(os.environ.get("TFHAND_NYU_RESULTS", Path(__file__).parents[3] / "shared" / "nyu"))
HALF_CUBE_MM = 150.0
SIZE = 240
INTRINSICS = np.array([440.0, 440.0, 120.0, 120.0], np.float32)


@functools.lru_cache(maxsize=1)
def load_network():
    return package_weights.load_pose_network()


def judge_of(image, intrinsics):
    with tf.init_scope():
        network = load_network()
    return frame_model.judge_of(network, image, intrinsics, crop.CropSpec())


def find(image, intrinsics):
    """Returns center and has_hand, as the package's network judges."""
    hand = hand_center.find_hand(image, intrinsics, judge_of(image, intrinsics))
    return hand["middle_mm"], hand["has_hand"]


def find_in_views(image, intrinsics, ref_from_view):
    judge = judge_of(views.fold_views(image), views.fold_views(intrinsics))
    return hand_center.find_hand_in_views(image, intrinsics, ref_from_view, judge)


def judge_nothing(center_mm):
    """A judge for whom every candidate is as good."""
    return {"middle_mm": center_mm, "doubt": 0.0 * center_mm[:, 0]}


@pytest.fixture(scope="module")
def scenes():
    """Forty-eight hands before a wall with a sensor's faults: depth [B, H, W], joints [B, 36, 3].

    Fingers point up, give or take 30 degrees, seen from all around; the arm leaves the picture.
    """
    count, rng = 48, tf.random.Generator.from_seed(8)
    angles = pose_sampling.sample_angles(rng, count)
    shape = pose_sampling.sample_shape(rng, count)
    turn = pose_sampling.sample_rotation(rng, count, upright_share=1.0, tilt_deg=30.0)
    # Seen from the side, not along the arm: that view shows either no arm or no hand.
    side = np.flatnonzero(np.abs(turn[:, 2, 1]) < 0.75)
    angles, shape, turn = (tf.gather(v, side) for v in (angles, shape, turn))
    position = rng.uniform([len(side), 3], [-50.0, -40.0, 650.0], [50.0, 40.0, 900.0])
    skin = surface.sample_skin(60000)
    points = surface.pose_points(tf.constant(surface.skinning_features(skin)), angles, shape, turn)
    centers, _ = spheres.pose_spheres(angles, shape)
    joints = tf.matmul(spheres.joints_from_spheres(centers), turn, transpose_b=True)
    shift = position - tf.reduce_mean(joints, axis=1)
    intrinsics = np.tile(INTRINSICS, (len(side), 1))
    image = depth.splat_perspective(points + shift[..., None], intrinsics, SIZE, SIZE, closing=3)
    image = sensor.add_background(image, tf.fill(tf.shape(image), 1500.0))
    image = sensor.edge_jitter(image, rng)
    image = sensor.missing_blobs(image, rng, share=0.015)
    image = sensor.disparity_noise(image, rng)
    return image.numpy(), intrinsics, (joints + shift[:, None]).numpy()


def test_all_joints_lie_in_the_cube_of_nearly_all_rendered_hands(scenes):
    image, intrinsics, joints = scenes
    center, found = find(image, intrinsics)
    assert len(image) > 25 and found.numpy().all()
    inside = (np.abs(joints - center[:, None]) < HALF_CUBE_MM).all(axis=(1, 2))
    to_palm = np.linalg.norm(center - joints[:, skeleton.joint_index("PALM_3")], axis=-1)
    print("distance to the palm's center, mm:", np.percentile(to_palm, [10, 50, 90, 100]).round(1))
    assert inside.mean() >= 0.95
    # The middle of a hand's surface lies some 30 mm from the palm's center, towards the fingers.
    assert np.median(to_palm) < 50.0


def test_center_moves_with_the_hand(scenes):
    image, intrinsics, _ = (v[:6] for v in scenes)
    center, _ = find(image, intrinsics)
    moved = intrinsics + np.array([0, 0, 0, 40.0], np.float32)
    higher, _ = find(image, moved)
    # The same picture whose principal point is 40 px lower: 40 z / f higher.
    expected = center - np.stack([np.zeros(6), 40 / 440 * center[:, 2], np.zeros(6)], axis=1)
    np.testing.assert_allclose(higher, expected, atol=12.0)


def test_a_body_behind_the_hand_stays_out(scenes):
    image, intrinsics, joints = (v[:8] for v in scenes)
    before, _ = find(image, intrinsics)
    # A chest 450 mm wide that starts 160 mm behind the farthest joint.
    chest = np.full_like(image, 0.0)
    chest[:, :, 60:200] = joints[..., 2].max(axis=1)[:, None, None] + 160.0
    with_body = sensor.add_background(image, chest)
    after, found = find(with_body, intrinsics)
    assert found.numpy().all()
    assert (np.linalg.norm(after - before, axis=-1) < 40.0).mean() >= 0.75


def test_samples_do_not_see_each_other(scenes):
    image, intrinsics, _ = (v[:4] for v in scenes)
    before, _ = find(image, intrinsics)
    other = image.copy()
    other[0] = 0.0
    after, found = find(other, intrinsics)
    # The pixels that are summed are those that any sample needs: in another order.
    np.testing.assert_allclose(before[1:], after[1:], atol=1e-3)
    assert found.numpy().tolist() == [False, True, True, True]


def test_graph_with_unknown_sizes_equals_eager(scenes):
    image, intrinsics, _ = (v[:3] for v in scenes)
    graph = tf.function(
        find,
        input_signature=[tf.TensorSpec([None, None, None]), tf.TensorSpec([None, 4])],
        autograph=False,
    )
    for a, b in zip(graph(image, intrinsics), find(image, intrinsics), strict=True):
        # Sums of some thousand coordinates in another order.
        np.testing.assert_allclose(a, b, atol=0.1)


def frames_without_a_hand():
    rng = np.random.default_rng(0)
    noise = np.zeros((SIZE, SIZE), np.float32)
    noise.flat[rng.choice(SIZE * SIZE, 200, replace=False)] = rng.uniform(400, 900, 200)
    speck = np.zeros((SIZE, SIZE), np.float32)
    speck[100:112, 100:112] = 700.0
    return {
        "empty": np.zeros((SIZE, SIZE), np.float32),
        "not a number": np.full((SIZE, SIZE), np.nan, np.float32),
        "infinite": np.full((SIZE, SIZE), np.inf, np.float32),
        "negative": np.full((SIZE, SIZE), -800.0, np.float32),
        "too far": np.full((SIZE, SIZE), 2600.0, np.float32),
        "wall": np.full((SIZE, SIZE), 1200.0, np.float32),
        "single readings": noise,
        "speck": speck,
    }


@pytest.mark.parametrize("name", frames_without_a_hand())
def test_frames_without_a_hand_are_not_found(name):
    image = frames_without_a_hand()[name][None]
    center, found = find(image, INTRINSICS[None])
    assert not found.numpy().any()
    np.testing.assert_array_equal(center, np.zeros((1, 3)))


def nyu_frame():
    file, labels = NYU / "depth_1_0000001.png", NYU / "nyu_test_groundtruth_label.txt"
    if not (file.exists() and labels.exists()):
        pytest.skip(f"no {file}: set TFHAND_NYU_RESULTS to the folder with the NYU frame")
    codes = np.asarray(Image.open(file)).astype(np.float32)
    depth_mm = codes[..., 1] * 256 + codes[..., 2]
    uvd = np.loadtxt(labels, max_rows=1, dtype=np.float32).reshape(1, 14, 3)
    intrinsics = np.array([camera.NYU_INTRINSICS], np.float32)
    return depth_mm[None], intrinsics, camera.unproject(uvd, intrinsics).numpy()


# As it is; and with any jump allowed, so that the person's body is part of the cluster.
@pytest.mark.parametrize("jump_mm", [nearest_surface._JUMP_MM, 1e4])
def test_real_frame_has_all_joints_in_the_cube(monkeypatch, jump_mm):
    monkeypatch.setattr(nearest_surface, "_JUMP_MM", jump_mm)
    image, intrinsics, joints = nyu_frame()
    center, found = find(image, intrinsics)
    assert found.numpy().all()
    assert np.abs(joints - center[:, None]).max() < HALF_CUBE_MM


def transforms(rng, batch):
    rotation = rigid.rotation_from_axis_angle(rng.normal(size=(batch, 3, 3)).astype(np.float32))
    translation = rng.normal(0, 300, (batch, 3, 3)).astype(np.float32)
    return rigid.from_rotation_translation(rotation, translation)


def in_reference(ref_from_view, centers):
    return rigid.apply(ref_from_view, centers[:, :, None])[:, :, 0].numpy()


# Rotations and translations of several hundred mm, there and back in float32.
FUSION_TOLERANCE_MM = 2e-3


def test_fused_center_is_the_median_of_the_views_that_found_it(rng):
    ref_from_view = transforms(rng, 4)
    centers = rng.normal(0, 400, (4, 3, 3)).astype(np.float32)
    found = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)
    fused = hand_center.fuse_centers(centers, found, ref_from_view)
    in_ref = in_reference(ref_from_view, centers)
    fused_ref = in_reference(ref_from_view, fused)
    for b in range(3):
        expected = np.median(in_ref[b, found[b]], axis=0)
        for view in range(3):
            np.testing.assert_allclose(fused_ref[b, view], expected, atol=FUSION_TOLERANCE_MM)
    np.testing.assert_array_equal(fused[3], np.zeros((3, 3)))


def test_one_wrong_view_of_three_does_not_move_the_fused_center_far(rng):
    ref_from_view = transforms(rng, 1)
    truth = rng.normal(0, 200, (1, 1, 3)).astype(np.float32) + np.zeros((1, 3, 1), np.float32)
    view_from_ref = rigid.inverse(ref_from_view)
    centers = rigid.apply(view_from_ref, truth[:, :, None])[:, :, 0].numpy()
    centers[0, 1] += 500.0
    fused = hand_center.fuse_centers(centers, np.ones((1, 3), bool), ref_from_view)
    np.testing.assert_allclose(in_reference(ref_from_view, fused), truth, atol=FUSION_TOLERANCE_MM)


def seen_by_three(scenes, count=6):
    """Three cameras in one place: the same picture three times, [B, 3, ...]."""
    image, intrinsics, joints = (np.repeat(v[:count, None], 3, axis=1) for v in scenes)
    return image, intrinsics, np.tile(np.eye(4, dtype=np.float32), (count, 3, 1, 1)), joints


def test_views_share_a_center_that_a_blind_view_does_not_move(scenes):
    image, intrinsics, transforms, _ = seen_by_three(scenes)
    hand = find_in_views(image, intrinsics, transforms)
    assert hand.has_hand.numpy().all() and hand.agrees.numpy().all()
    np.testing.assert_allclose(hand.center_mm, hand.own_center_mm, atol=FUSION_TOLERANCE_MM)
    blind = image.copy()
    blind[:, 1] = 0.0
    again = find_in_views(blind, intrinsics, transforms)
    for seen in (again.has_hand, again.agrees):
        np.testing.assert_array_equal(seen.numpy(), [[True, False, True]] * 6)
    np.testing.assert_array_equal(again.own_center_mm[:, 1], np.zeros((6, 3)))
    np.testing.assert_allclose(again.center_mm, hand.center_mm, atol=FUSION_TOLERANCE_MM)
    nothing = find_in_views(0.0 * image, intrinsics, transforms)
    assert not nothing.has_hand.numpy().any() and not nothing.agrees.numpy().any()
    np.testing.assert_array_equal(nothing.center_mm, np.zeros((6, 3, 3)))


def test_whole_millimeters_give_the_same_center(scenes):
    image, intrinsics, _ = (v[:4] for v in scenes)
    codes = np.round(image).astype(np.uint16)
    for a, b in zip(
        find(codes, intrinsics),
        find(codes.astype(np.float32), intrinsics),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def stick(rows, columns):
    """A forearm's length of a flat surface in the middle of the picture."""
    image = np.zeros((1, SIZE, SIZE), np.float32)
    image[0, rows, columns] = 800.0
    return image


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_judge_decides_between_the_ends_of_a_surface_inside_of_the_picture(axis, sign):
    image = stick(
        *((slice(20, 220), slice(105, 135)) if axis else (slice(105, 135), slice(20, 220)))
    )

    def judge(center_mm):
        return {"middle_mm": center_mm, "doubt": sign * center_mm[:, axis] / 1000.0}

    hand = hand_center.find_hand(image, INTRINSICS[None], judge)
    # The stick is 364 mm long, and the middle of a hand lies 75 mm from its end.
    assert 80.0 < -sign * float(hand["center_mm"][0, axis]) < 130.0


def test_an_end_that_the_border_cuts_is_not_looked_at():
    image, judged = stick(slice(20, 240), slice(105, 135)), []

    def judge(center_mm):
        judged.append(float(center_mm[0, 1]))
        return {"middle_mm": center_mm, "doubt": -center_mm[:, 1] / 1000.0}

    hand = hand_center.find_hand(image, INTRINSICS[None], judge)
    assert len(judged) == 1 and float(hand["center_mm"][0, 1]) < 0.0


def test_views_that_see_where_the_arm_leaves_decide():
    # The arm comes from above; only the first of three views in one place sees it leave.
    within = stick(slice(20, 220), slice(105, 135))
    image = np.stack([stick(slice(0, 220), slice(105, 135)), within, within], axis=1)
    intrinsics, transforms = np.tile(INTRINSICS, (1, 3, 1)), np.tile(np.eye(4), (1, 3, 1, 1))
    alone = hand_center.find_hand(within, INTRINSICS[None], judge_nothing)
    assert float(alone["center_mm"][0, 1]) < -80.0
    hand = hand_center.find_hand_in_views(image, intrinsics, transforms, judge_nothing)
    assert hand.agrees.numpy().all()
    assert float(hand.center_mm[0, 0, 1]) > 80.0
    np.testing.assert_allclose(hand.own_center_mm[0, 1], alone["center_mm"][0], atol=1e-3)


def test_a_thing_before_the_hand_is_not_taken_for_it(scenes):
    image, intrinsics, _ = (v[:6] for v in scenes)
    before, _ = find(image, intrinsics)
    # A ball of 60 mm below the hand that the border cuts.
    row, column = np.indices((SIZE, SIZE))
    is_ball = np.hypot(row - SIZE, column - 20) < 60.0
    after, found = find(np.where(is_ball, np.float32(380.0), image), intrinsics)
    assert found.numpy().all()
    assert (np.linalg.norm(after - before, axis=-1) < 10.0).sum() >= 5


@pytest.mark.parametrize("shape", [(16, 2000), (3000, 40), (1, 1)])
def test_pictures_of_any_shape_are_looked_at(shape):
    _, found = find(np.full([1, *shape], 700.0), INTRINSICS[None])
    assert found.shape == (1,)


@pytest.mark.parametrize("factor", [2, 5])
def test_the_center_does_not_depend_on_the_resolution(scenes, factor):
    image, intrinsics, _ = (v[:6] for v in scenes)
    before, _ = find(image, intrinsics)
    larger = image.repeat(factor, axis=1).repeat(factor, axis=2)
    # Pixel i covers [i - 0.5, i + 0.5): its middle goes to factor * i + (factor - 1) / 2.
    finer = intrinsics * factor
    finer[:, 2:] += 0.5 * (factor - 1)
    after, found = find(larger, finer)
    assert found.numpy().all()
    assert (np.abs(after - before) < 10.0).all()


def test_a_single_view_keeps_its_center(rng):
    ref_from_view = transforms(rng, 2)[:, :1]
    centers = rng.normal(0, 300, (2, 1, 3)).astype(np.float32)
    fused = hand_center.fuse_centers(centers, np.ones((2, 1), bool), ref_from_view)
    np.testing.assert_allclose(fused, centers, atol=FUSION_TOLERANCE_MM)
