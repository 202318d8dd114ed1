"""What the viewer shows: points, estimates, labels, colors and shapes."""

import dataclasses

import numpy as np
import pytest

from tfhand.geometry import depth_image
from tfhand.hand import skeleton
from tfhand.viewer import pictures, scene, scene_app, shapes, sources

pytestmark = pytest.mark.usefixtures("loaded_once")

CUBE_MM = 300.0
# float32 sums of coordinates of some hundred mm.
TOLERANCE_MM = 1e-3


def make_scene(sample, spheres_mm):
    """The `HandScene` of a sample with the true spheres as estimates."""
    place = (sample["center_mm"], sample["ref_from_view"])
    return scene.HandScene(
        title="test",
        clouds_mm=scene.clouds_of_crops(sample["depth_mm"], *place, CUBE_MM),
        ref_from_view=sample["ref_from_view"],
        intrinsics=sample["intrinsics"],
        crops_mm=sample["depth_mm"],
        center_mm=sample["center_mm"],
        cube_mm=CUBE_MM,
        estimates_mm=scene.estimates_of_views(spheres_mm, *place),
        labels_mm=scene.labels_of_views(
            sample["joints_mm"], sample["joint_mask"], sample["ref_from_view"]
        ),
    )


def test_a_pixel_becomes_its_point_of_the_common_frame():
    depth_mm = np.full((2, 4, 4), 150.0, np.float32)
    depth_mm[1, 0, 3] = -20.0
    center_mm = np.array([[0, 0, 0], [1, 2, 700]], np.float32)
    ref_from_view = np.stack([np.eye(4, dtype=np.float32)] * 2)
    # A quarter turn about y: x goes to -z, z to x.
    ref_from_view[1, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    ref_from_view[1, :3, 3] = [5, 6, 7]
    empty, cloud = scene.clouds_of_crops(depth_mm, center_mm, ref_from_view, CUBE_MM)
    assert empty.shape == (0, 3)
    # Pixel (0, 3): x = 3.5 * 75 - 150 = 112.5, y = -112.5 in the crop.
    camera_mm = np.array([112.5 + 1, -112.5 + 2, -20.0 + 700])
    np.testing.assert_allclose(
        cloud, [[camera_mm[2] + 5, camera_mm[1] + 6, -camera_mm[0] + 7]], atol=TOLERANCE_MM
    )


def test_the_cameras_see_the_same_hand(sample):
    shown = make_scene(*sample)
    front, side = shown.clouds_mm
    assert len(front) > 100 and len(side) > 100
    # Turned by 50 degrees they share much of the surface: most points of one have a neighbor in
    # the other within a pixel (9.4 mm).
    distance = np.linalg.norm(front[:, None] - side[None], axis=-1).min(axis=1)
    assert np.quantile(distance, 0.5) < 9.4


def test_points_of_a_frame_lie_near_the_hand():
    depth_mm = np.zeros((3, 4), np.float32)
    depth_mm[1, 2], depth_mm[0, 0], depth_mm[2, 3] = 500.0, 2000.0, 520.0
    intrinsics = np.array([100.0, 50.0, 1.0, 1.0], np.float32)
    points = scene.points_of_frame(depth_mm, intrinsics, np.array([5.0, 0.0, 505.0]), 20.0)
    # (2 - 1) 500 / 100 = 5; the other reading near in depth lies 10.4 mm to the right and below.
    np.testing.assert_allclose(points, [[5.0, 0.0, 500.0], [10.4, 10.4, 520.0]], atol=1e-4)
    assert not len(scene.points_of_frame(0 * depth_mm, intrinsics, np.zeros(3), 20.0))


def test_true_spheres_agree_in_the_common_frame(sample):
    given, spheres_mm = sample
    estimates = scene.estimates_of_views(spheres_mm, given["center_mm"], given["ref_from_view"])
    assert list(estimates) == ["median of the cameras", "camera 1", "camera 2"]
    for estimate in estimates.values():
        np.testing.assert_allclose(estimate, spheres_mm[0] + given["center_mm"][0], atol=0.01)


def test_the_median_is_that_of_the_views():
    spheres_mm = np.zeros((3, 41, 3), np.float32)
    spheres_mm[:, 7, 1] = [1.0, 50.0, 4.0]
    estimates = scene.estimates_of_views(
        spheres_mm, np.zeros((3, 3), np.float32), np.stack([np.eye(4, dtype=np.float32)] * 3)
    )
    assert estimates["median of the cameras"][7, 1] == 4.0
    alone = scene.estimates_of_views(
        spheres_mm[:1], np.zeros((1, 3), np.float32), np.eye(4, dtype=np.float32)[None]
    )
    assert list(alone) == ["camera 1"]


def test_labels_are_the_mean_over_views_that_know_them(sample):
    given, spheres_mm = sample
    mask = np.array(given["joint_mask"])
    wrong_mm = np.array(given["joints_mm"])
    # Joint 3 is known to the second view alone, joint 4 to none, joint 5 differs by 2 mm.
    mask[0, 3], mask[:, 4] = 0, 0
    wrong_mm[0, 3], wrong_mm[:, 4] = np.nan, np.nan
    wrong_mm[0, 5, 0] += 2.0
    labels = scene.labels_of_views(wrong_mm, mask, given["ref_from_view"])
    truth = spheres_mm[0] + given["center_mm"][0]
    spheres_of = skeleton.SPHERE_FROM_JOINT
    np.testing.assert_allclose(labels[spheres_of[3]], truth[spheres_of[3]], atol=0.01)
    assert np.isnan(labels[spheres_of[4]]).all()
    np.testing.assert_allclose(
        labels[spheres_of[5]], truth[spheres_of[5]] + [1.0, 0.0, 0.0], atol=0.01
    )
    # The palm has five spheres that are no joints.
    assert np.isnan(labels).all(axis=-1).sum() == 41 - 36 + 1
    assert scene.labels_of_views(wrong_mm, 0 * mask, given["ref_from_view"]) is None


def test_errors_are_those_of_the_14_joints():
    labels = np.zeros((41, 3), np.float32)
    estimate = np.full((41, 3), 100.0, np.float32)
    estimate[skeleton.EVALUATION_SPHERES] = [3.0, 4.0, 0.0]
    assert scene.mean_error_mm(estimate, labels) == pytest.approx(5.0)
    labels[skeleton.EVALUATION_SPHERES[1:]] = np.nan
    estimate[skeleton.EVALUATION_SPHERES[0]] = [0.0, 0.0, 7.0]
    assert scene.mean_error_mm(estimate, labels) == pytest.approx(7.0)
    assert np.isnan(scene.mean_error_mm(estimate, np.full((41, 3), np.nan)))


def test_joints_lie_in_the_pictures(sample):
    given, spheres_mm = sample
    shares = scene.joints_in_crops(
        spheres_mm[0] + given["center_mm"][0], given["ref_from_view"], given["center_mm"], CUBE_MM
    )
    np.testing.assert_allclose(shares, spheres_mm[..., :2] / CUBE_MM + 0.5, atol=1e-4)


def test_the_focus_is_the_middle_of_what_there_is(sample):
    shown = make_scene(*sample)
    np.testing.assert_allclose(scene.focus_mm(shown), shown.center_mm[0], atol=0.01)
    bare = dataclasses.replace(shown, estimates_mm={}, labels_mm=None)
    np.testing.assert_allclose(scene.focus_mm(bare), shown.center_mm[0], atol=0.01)
    labeled = dataclasses.replace(bare, labels_mm=np.full((41, 3), np.nan, np.float32))
    labeled.labels_mm[:2] = [[0, 0, 0], [2, 4, 6]]
    np.testing.assert_allclose(scene.focus_mm(labeled), [1, 2, 3])


def test_points_are_the_lighter_the_nearer(sample):
    shown = make_scene(*sample)
    points_mm = np.array([[0, 0, -1000.0], [0, 0, 0], [0, 0, 1000.0]], np.float32)
    shown = dataclasses.replace(shown, clouds_mm=[points_mm + shown.center_mm[0], points_mm])
    near, middle, far = scene.cloud_colors(shown, 0).astype(int)
    np.testing.assert_array_equal(middle, shapes.VIEW_COLORS[0])
    assert (near >= middle).all() and (far <= middle).all() and near.sum() > far.sum() + 200


def test_bones_join_neighbors_and_leave_out_unknown_ends():
    points = np.arange(41)[:, None] * np.ones(3, np.float32)
    segments, colors = shapes.bones(points, shapes.SPHERE_COLORS)
    assert segments.shape == colors.shape == (len(shapes.BONES), 2, 3)
    np.testing.assert_array_equal(segments[..., 0], shapes.BONES)
    # A tree over the wrist, the palm's center and the fingers, and the line across the wrist.
    assert len(shapes.BONES) == (5 * 6) + 2 + 1
    tip = skeleton.sphere_index("RING_KNU3_A")
    assert (shapes.BONES == tip).sum() == 1
    points[tip] = np.nan
    segments, colors = shapes.bones(points, shapes.SPHERE_COLORS)
    assert len(segments) == len(colors) == len(shapes.BONES) - 1
    assert np.isfinite(segments).all()


def test_names_stand_at_the_tips():
    points = np.arange(41)[:, None] * np.ones(3)
    tips = shapes.fingertips(points)
    assert set(tips) == set(skeleton.FINGERS)
    assert tips["THUMB"][0] == skeleton.sphere_index("THUMB_KNU3_A")


def test_cameras_look_where_they_look():
    # A quarter turn about z.
    w, x, y, z = shapes.quaternion(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]))
    np.testing.assert_allclose(np.array([w, x, y, z]) * np.sign(w), [0.5**0.5, 0, 0, 0.5**0.5])
    angle, aspect = shapes.field_of_view([240.0, 240.0, 320.0, 240.0])
    assert angle == pytest.approx(np.pi / 2) and aspect == pytest.approx(4 / 3)


def test_skeletons_are_drawn_over_the_crops(sample):
    shown = make_scene(*sample)
    bare = dataclasses.replace(shown, labels_mm=None)
    without = pictures.draw_scene(bare)
    # Two views side by side, 320 px each and a gap.
    assert without.shape == (320, 646, 3)
    drawn = pictures.draw_scene(bare, shown.estimates_mm["camera 1"])
    labeled = pictures.draw_scene(shown)
    for picture in (drawn, labeled):
        changed = (picture != without).any(axis=-1)
        assert changed[:, :320].any() and changed[:, 326:].any()
    tip = scene.joints_in_crops(
        shown.labels_mm, shown.ref_from_view, shown.center_mm, shown.cube_mm
    )[0, skeleton.sphere_index("MIDDLE_KNU3_A")]
    column, row = np.floor(tip * 320).astype(int)
    np.testing.assert_array_equal(labeled[row, column], pictures.LABEL_COLOR)
    np.testing.assert_array_equal(pictures.draw_scene(shown, show_labels=False), without)


def test_a_recording_gives_scenes(recording_dir, model_path):
    recording = sources.Recording(recording_dir, "test", model_path)
    assert len(recording) == 3 and recording.has_labels
    shown = recording.scene(1)
    text = scene_app.describe(shown)
    assert "**test, subject anna, frame 81**" in text
    assert "median of the cameras: mean error" in text and "camera 2: mean error" in text
    assert [len(cloud) > 100 for cloud in shown.clouds_mm] == [True, True]
    assert len(sources.Recording(recording_dir, "test", max_samples=2)) == 2
    assert not sources.Recording(recording_dir, "test").scene(0).estimates_mm


def test_a_frame_gives_a_scene(model_path, tmp_path):
    rows, columns = np.mgrid[:120, :160].astype(np.float64)
    side = np.hypot(columns - 90, rows - 60) * 700.0 / 588.0
    ball = np.where(side < 45, 700.0 - np.sqrt(np.maximum(45.0**2 - side**2, 0)), 0)
    np.save(tmp_path / "ball.npy", ball / 10.0)
    paths = depth_image.find_images(tmp_path)
    shown = sources.Frames(paths, model_path, (588.0, 588.0, 80.0, 60.0), scale=10.0).scene(0)
    (cloud,) = shown.clouds_mm
    assert len(cloud) == (ball > 0).sum()
    # All of the readings lie on the ball.
    middle = [(90 - 80) * 700.0 / 588.0, 0.0, 700.0]
    assert np.abs(np.linalg.norm(cloud - middle, axis=-1) - 45.0).max() < 4.0
    assert scene_app.describe(shown) == "**ball.npy**  \nno labels"
    np.save(tmp_path / "empty.npy", 0.0 * ball)
    with pytest.raises(ValueError, match=r"Expected a hand in .*empty\.npy, found none"):
        sources.Frames([tmp_path / "empty.npy"], model_path, (588.0, 588.0, 80.0, 60.0)).scene(0)
