"""The tables of names against the numbers that the data set's readme and DESIGN print."""

import numpy as np
import pytest

from tfhand.hand import skeleton

# NYU joint of each sphere, as published: the palm's first six, then root to tip of each finger
# as (KNU1_A, KNU1_B, KNU2_A, KNU2_B, KNU3_A, KNU3_B).
NYU_JOINT_OF_SPHERE = {
    **dict(enumerate([30, 31, 32, 33, 34, 35])),
    **dict(enumerate([22, 23, 20, 21, 18, 19], start=11)),
    **dict(enumerate([16, 17, 14, 15, 12, 13], start=17)),
    **dict(enumerate([10, 11, 8, 9, 6, 7], start=23)),
    **dict(enumerate([4, 5, 2, 3, 0, 1], start=29)),
    **dict(enumerate([28, 29, 26, 27, 24, 25], start=35)),
}


def test_there_are_41_spheres_36_joints_and_14_evaluation_joints():
    assert len(set(skeleton.SPHERE_NAMES)) == 41
    assert len(set(skeleton.JOINT_NAMES)) == 36
    assert len(set(skeleton.EVALUATION_JOINT_NAMES)) == 14


def test_every_joint_sits_on_the_published_sphere():
    expected = np.zeros(36, int)
    for sphere, joint in NYU_JOINT_OF_SPHERE.items():
        expected[joint] = sphere
    np.testing.assert_array_equal(skeleton.SPHERE_FROM_JOINT, expected)


def test_five_palm_spheres_have_no_joint():
    assert set(range(41)) - set(skeleton.SPHERE_FROM_JOINT.tolist()) == {6, 7, 8, 9, 10}


def test_evaluation_joints_are_those_of_the_field():
    expected = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
    np.testing.assert_array_equal(skeleton.EVALUATION_JOINTS, expected)
    np.testing.assert_array_equal(skeleton.EVALUATION_SPHERES, skeleton.SPHERE_FROM_JOINT[expected])


def test_fingers_read_from_root_to_tip():
    assert skeleton.FINGER_SPHERES["INDEX"].tolist() == [12, 11, 14, 13, 16, 15]
    assert skeleton.FINGER_SPHERES["THUMB"].tolist() == [36, 35, 38, 37, 40, 39]
    every = np.concatenate([skeleton.PALM_SPHERES, *skeleton.FINGER_SPHERES.values()])
    assert sorted(every.tolist()) == list(range(41))


def test_named_spheres():
    assert skeleton.WRIST_SPHERES.tolist() == [0, 1]
    assert skeleton.PALM_CENTER_SPHERE == 2
    assert skeleton.sphere_index("PINKY_KNU3_A") == 33
    assert skeleton.joint_index("F1_KNU3_A") == 0


@pytest.mark.parametrize("find", [skeleton.sphere_index, skeleton.joint_index])
def test_unknown_names_are_named_in_the_error(find):
    with pytest.raises(ValueError, match="FOOT_1"):
        find("FOOT_1")


@pytest.mark.parametrize("pairs", [skeleton.LENGTH_PAIRS, skeleton.COLLISION_PAIRS])
def test_pairs_are_unique_and_of_different_spheres(pairs):
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert pairs.min() >= 0 and pairs.max() <= 40


def test_length_pairs_keep_every_finger_on_the_palm():
    # Flood the graph of the pairs from one sphere: everything must be reached.
    reached = {0}
    for _ in range(41):
        reached |= {int(b) for a, b in skeleton.LENGTH_PAIRS if a in reached}
        reached |= {int(a) for a, b in skeleton.LENGTH_PAIRS if b in reached}
    assert reached == set(range(41))


def test_collision_pairs_never_join_spheres_of_one_finger_or_of_the_palm():
    part = {int(s): "PALM" for s in skeleton.PALM_SPHERES}
    for finger, chain in skeleton.FINGER_SPHERES.items():
        part |= {int(s): finger for s in chain}
    assert all(part[int(a)] != part[int(b)] for a, b in skeleton.COLLISION_PAIRS)
