"""Length ranges and collision bounds, of sampled hands and of real people."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfhand.evaluation import published
from tfhand.geometry import camera
from tfhand.hand import pose_sampling, skeleton, spheres, statistics, template

NYU = Path(os.environ.get("TFHAND_NYU_RESULTS", Path(__file__).parents[3] / "shared" / "nyu"))
# The first frame of the second of the two people.
SECOND_PERSON = 2440


def distances(points_mm, pairs):
    first, second = np.asarray(pairs).T
    return np.linalg.norm(points_mm[:, first] - points_mm[:, second], axis=-1)


def flagged(hands):
    """Whether the collision term flags hands [n, 41, 3], bool [n]."""
    close = distances(hands, skeleton.COLLISION_PAIRS) < statistics.collision_distances()
    return close.any(axis=1)


@pytest.fixture(scope="module")
def hands():
    return statistics.sample_spheres(tf.random.Generator.from_seed(3), 2000).numpy()


@pytest.fixture(scope="module", params=[slice(0, SECOND_PERSON), slice(SECOND_PERSON, None)])
def person(request):
    """Evaluation joints of one person, as spheres [n, 41, 3]; those without a label are NaN."""
    labels = NYU / "nyu_test_groundtruth_label.txt"
    if not labels.exists():
        pytest.skip(f"no {labels}: set TFHAND_NYU_RESULTS to the folder with the NYU labels")
    uvd = published.read_joints_uvd(labels).astype(np.float32)[request.param]
    result = np.full((len(uvd), len(skeleton.SPHERE_NAMES), 3), np.nan, np.float32)
    intrinsics = np.array(camera.NYU_INTRINSICS, np.float32)
    result[:, skeleton.EVALUATION_SPHERES] = camera.unproject(uvd, intrinsics)
    return result


def test_ranges_hold_the_sampled_people_and_are_no_wider_than_that(hands):
    low, high = statistics.length_ranges()
    lengths = distances(hands, skeleton.LENGTH_PAIRS)
    assert ((lengths < low) | (lengths > high)).mean() < 0.005
    extremes = np.quantile(lengths, [0.005, 0.995], axis=0)
    slack = np.log([extremes[0] / low, high / extremes[1]])
    assert np.median(slack) < 0.08, "ranges are needlessly wide"


def test_real_people_keep_to_the_ranges(person):
    low, high = statistics.length_ranges()
    lengths = distances(person, skeleton.LENGTH_PAIRS)
    assert np.isfinite(lengths).any(axis=0).sum() == 5
    # NaN is never outside.
    outside = (lengths < low) | (lengths > high)
    assert outside.any(axis=1).mean() < 0.03


def test_real_people_are_among_the_sampled(person):
    shape = pose_sampling.sample_shape(tf.random.Generator.from_seed(3), 10000)
    people, _ = spheres.pose_spheres(np.zeros((10000, len(template.ANGLE_NAMES))), shape)
    people = people.numpy()
    fingers = [
        [skeleton.sphere_index(f"{finger}_{end}") for end in ("KNU2_B", "KNU3_A")]
        for finger in skeleton.FINGERS[:4]
    ]
    rigid = np.isfinite(distances(person, skeleton.LENGTH_PAIRS)).all(axis=0)
    # Fingers are as long as they are when straight.
    for pairs, percentile in ((skeleton.LENGTH_PAIRS[rigid], 50), (fingers, 95)):
        length = np.percentile(distances(person, pairs), percentile, axis=0)
        low, high = np.quantile(distances(people, pairs), [0.005, 0.995], axis=0)
        assert (low < length).all() and (length < high).all()


def test_collision_bounds_are_below_the_sum_of_the_radii():
    radii = spheres.load().radii_mm[skeleton.COLLISION_PAIRS]
    bounds = statistics.collision_distances()
    assert bounds.dtype == np.float32 and (bounds > 0).all()
    assert (bounds < radii.sum(axis=1)).all()


def test_valid_poses_do_not_collide(hands):
    assert flagged(hands).mean() < 0.03


def test_poses_of_real_people_do_not_collide(person):
    assert flagged(person).mean() < 0.03


@pytest.mark.parametrize("finger", skeleton.FINGERS)
def test_a_finger_pushed_through_its_neighbor_collides(hands, finger):
    order = ("THUMB", *skeleton.FINGERS[:4])
    neighbor = order[order.index(finger) - 1] if finger != "THUMB" else "INDEX"
    clear = hands[~flagged(hands)][:300].copy()
    # The tip, and with it the two outer bones, moves into the middle of the neighbor.
    outer, target = skeleton.FINGER_SPHERES[finger][2:], skeleton.FINGER_SPHERES[neighbor][3:5]
    clear[:, outer] += (clear[:, target].mean(axis=1) - clear[:, outer[-1]])[:, None]
    assert flagged(clear).mean() > 0.97


def test_pose_deviations_are_independent_and_of_variance_1():
    angles = pose_sampling.sample_angles(tf.random.Generator.from_seed(8), 8000)
    deviations = statistics.pose_deviations(angles).numpy()
    assert deviations.shape == (8000, len(template.ANGLE_NAMES) - 2)
    np.testing.assert_allclose(deviations.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(np.cov(deviations, rowvar=False), np.eye(21), atol=0.1)


def test_the_wrist_is_no_part_of_pose_deviations():
    angles = np.zeros([2, len(template.ANGLE_NAMES)], np.float32)
    angles[1, [name.startswith("WRIST_") for name in template.ANGLE_NAMES]] = 0.7
    first, second = statistics.pose_deviations(angles).numpy()
    np.testing.assert_array_equal(first, second)
