"""From sliders to spheres, skin and depth map."""

import numpy as np
import pytest

from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres, surface, template
from tfhand.synthesis import samples
from tfhand.viewer import posing

SPEC = crop.CropSpec()


def posed(view_deg=(0.0, 0.0, 0.0), shape=None, **degrees):
    state = posing.PoseState.rest()
    for name, value in degrees.items():
        state.angles_rad[template.angle_index(name)] = np.radians(value)
    for name, value in (shape or {}).items():
        state.shape[template.shape_index(name)] = posing.log_factor(value)
    return posing.pose_hand(posing.PoseState(state.angles_rad, state.shape, view_deg), SPEC)


def test_every_angle_and_shape_has_its_slider():
    groups = posing.angle_groups()
    assert [name for names in groups.values() for name in names] == list(template.ANGLE_NAMES)
    assert list(groups) == [*skeleton.FINGERS, "WRIST"]
    low, high = posing.shape_range_percent("SIZE")
    # Three standard deviations in the logarithm.
    reach = 3 * template.SHAPE_STDDEV[template.shape_index("SIZE")]
    assert low == pytest.approx(100 * (np.exp(-reach) - 1), rel=1e-4)
    assert high == pytest.approx(100 * (np.exp(reach) - 1), rel=1e-4)
    assert posing.log_factor(10.0) == pytest.approx(np.log(1.1))


@pytest.mark.parametrize(
    ("view_deg", "axis", "expected"),
    [
        # Seen from the palm, fingers up: the thumb's side is right, the palm's normal comes near.
        ((0, 0, 0), (1, 0, 0), (1, 0, 0)),
        ((0, 0, 0), (0, 1, 0), (0, -1, 0)),
        ((0, 0, 0), (0, 0, 1), (0, 0, -1)),
        # From the thumb's side, that side is near.
        ((90, 0, 0), (1, 0, 0), (0, 0, -1)),
        # From above the tips, the fingers come near.
        ((0, 30, 0), (0, 1, 0), (0, -(0.75**0.5), -0.5)),
        # A quarter turn clockwise: up goes to the right.
        ((0, 0, 90), (0, 1, 0), (1, 0, 0)),
    ],
)
def test_viewpoints(view_deg, axis, expected):
    rotation = posing.camera_from_hand(*view_deg)
    np.testing.assert_allclose(rotation @ np.array(axis), expected, atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)


def test_the_hand_at_rest_is_the_template():
    hand = posed()
    model = spheres.load()
    turned = model.centers_mm * np.array([1.0, -1.0, -1.0])
    np.testing.assert_allclose(hand.spheres_mm, turned - turned.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(hand.radii_mm, model.radii_mm, rtol=1e-5)
    assert hand.skin_mm.shape == posing.coarse_skin().points_mm.shape
    # A vertex of the skin moves with the spheres' own middle.
    skin = posing.coarse_skin().points_mm * np.array([1.0, -1.0, -1.0])
    np.testing.assert_allclose(hand.skin_mm, skin - turned.mean(axis=0), atol=1e-3)


def test_a_slider_moves_its_finger_alone():
    rest, bent = posed(), posed(INDEX_2_FLEX=60.0)
    # Positions relative to the palm: the middle of the spheres moves with a finger.
    palm = skeleton.PALM_CENTER_SPHERE
    moved = np.linalg.norm(
        (bent.spheres_mm - bent.spheres_mm[palm]) - (rest.spheres_mm - rest.spheres_mm[palm]),
        axis=-1,
    )
    outer = skeleton.FINGER_SPHERES["INDEX"][3:]
    assert moved[outer].min() > 1.0
    assert np.delete(moved, skeleton.FINGER_SPHERES["INDEX"]).max() < 1e-3


def test_size_scales_spheres_and_skin():
    small, large = posed(), posed(shape={"SIZE": 20.0})
    np.testing.assert_allclose(large.spheres_mm, 1.2 * small.spheres_mm, atol=0.01)
    np.testing.assert_allclose(large.radii_mm, 1.2 * small.radii_mm, rtol=1e-4)
    np.testing.assert_allclose(large.skin_mm, 1.2 * small.skin_mm, atol=0.05)


def test_the_depth_map_shows_the_spheres():
    hand = posed(view_deg=(30.0, 10.0, 20.0))
    column, row = np.floor((hand.spheres_mm[:, :2] + SPEC.far_mm) / SPEC.pixel_mm).astype(int).T
    # The nearest surface in the pixel of a sphere's center is not behind the center.
    behind_mm = hand.depth_mm[row, column] - hand.spheres_mm[:, 2]
    assert behind_mm.max() < 0.0
    assert (crop.foreground_mask(hand.depth_mm, SPEC.cube_mm)).mean() < 0.5
    assert posing.describe(hand, SPEC).startswith(
        f"{(hand.depth_mm < 149.9).sum()} of 4096 pixels show a surface, {hand.depth_mm.min():.0f}"
    )


def test_the_coarse_skin_is_near_the_skin_and_faces_outward():
    skin, mesh = posing.coarse_skin(), surface.load_mesh()
    assert 3000 < len(skin.points_mm) < len(mesh.points_mm) / 2
    np.testing.assert_allclose(skin.blend_weights.sum(axis=1), 1.0, atol=1e-5)
    assert skin.points_mm[skin.faces][..., 1].min() > -samples.ARM_MM
    first, second, third = skin.points_mm[skin.faces].transpose(1, 0, 2)
    normal = np.cross(second - first, third - first)
    outward = np.einsum("fd,fd->f", normal, skin.normals[skin.faces[:, 0]]) > 0
    # Clustering turns a few slivers over.
    assert outward.mean() > 0.98


def test_random_hands_are_those_of_training():
    angles = posing.random_angles_rad(3)
    low, high = template.ANGLE_RANGES_RAD.T
    assert ((angles >= low) & (angles <= high)).all()
    assert not np.allclose(angles, posing.random_angles_rad(4))
    np.testing.assert_array_equal(angles, posing.random_angles_rad(3))
    # Cut off at two standard deviations.
    assert (np.abs(posing.random_shape(5)) <= 2.0 * template.SHAPE_STDDEV + 1e-6).all()
