"""The adult hand's tables, and its lengths against real measurements."""

import os
from pathlib import Path

import numpy as np
import pytest

from tfhand.geometry import camera
from tfhand.hand import skeleton, spheres, template

NYU = Path(os.environ.get("TFHAND_NYU_RESULTS", Path(__file__).parents[3] / "shared" / "nyu"))


def test_ranges_are_intervals_that_hold_the_rest_pose():
    low, high = template.ANGLE_RANGES_RAD.T
    assert (low < high).all()
    assert (low < 0).all() and (high > 0).all()
    # No joint of a finger bends by more than 110 degrees.
    assert np.abs(template.ANGLE_RANGES_RAD).max() < np.radians(110.0)


def test_there_are_29_degrees_of_freedom_with_the_six_of_rigid_motion():
    assert len(template.ANGLE_NAMES) + 6 == 29
    assert len(template.SHAPE_NAMES) == 14
    assert (template.SHAPE_STDDEV > 0).all()


def test_indices_follow_names():
    assert template.ANGLE_NAMES[template.angle_index("THUMB_1_TWIST")] == "THUMB_1_TWIST"
    assert template.SHAPE_NAMES[template.shape_index("PALM_WIDTH")] == "PALM_WIDTH"
    assert template.BONES[template.BONE_INDEX["FOREARM"]].parent == "PALM"


def test_it_is_a_right_hand():
    # Seen from the palm with the fingers up, a right hand's thumb points to the right.
    thumb = template.BONES[template.BONE_INDEX["THUMB_1"]]
    pinky = template.BONES[template.BONE_INDEX["PINKY_1"]]
    assert thumb.origin_mm[0] > 0 > pinky.origin_mm[0]


# Distances that depend little on the pose, and the first frame of the second person.
_LENGTHS = (
    ("TH_KNU3_A", "TH_KNU3_B"),
    ("TH_KNU3_B", "TH_KNU2_B"),
    ("PALM_1", "PALM_2"),
    ("PALM_1", "PALM_3"),
    ("PALM_2", "PALM_3"),
    *((f"F{i}_KNU3_A", f"F{i}_KNU2_B") for i in (1, 2, 3, 4)),
)
_SECOND_PERSON = 2440


@pytest.mark.parametrize("person", [slice(0, _SECOND_PERSON), slice(_SECOND_PERSON, None)])
def test_lengths_are_those_of_real_hands_up_to_size(person):
    labels = NYU / "nyu_test_groundtruth_label.txt"
    if not labels.exists():
        pytest.skip(f"no {labels}: set TFHAND_NYU_RESULTS to the folder with the NYU labels")
    uvd = np.loadtxt(labels, dtype=np.float32).reshape(-1, 14, 3)[person]
    joints = camera.unproject(uvd, np.array(camera.NYU_INTRINSICS, np.float32)).numpy()
    rest = spheres.load().centers_mm[skeleton.EVALUATION_SPHERES]
    index = skeleton.EVALUATION_JOINT_NAMES.index
    i, j = np.array([(index(a), index(b)) for a, b in _LENGTHS]).T
    # The longest of a moving distance is that of straight fingers.
    measured = np.percentile(np.linalg.norm(joints[:, i] - joints[:, j], axis=-1), 95, axis=0)
    ratio = measured / np.linalg.norm(rest[i] - rest[j], axis=-1)
    # The two people differ by 20 %, which SIZE and PALM_LENGTH reach at two deviations each.
    size = np.median(ratio)
    assert 0.9 < size < 1.3
    # The proportions of one person: 5 % deviation a bone, two bones, two deviations.
    np.testing.assert_allclose(ratio / size, 1.0, atol=0.2)
