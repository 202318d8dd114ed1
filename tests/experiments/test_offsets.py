"""Errors without the offsets of joints."""

import numpy as np

from experiments import offsets
from tests.rotations import random_rotation
from tfhand.hand import skeleton


def test_an_offset_that_turns_with_the_hand_is_no_error(rng):
    rotation = random_rotation(40, seed=[1, 2]).numpy()
    hand_mm = rng.normal(0.0, 40.0, [40, 41, 3])
    of_joints_mm = rng.normal(0.0, 8.0, [14, 3])
    labels_mm = hand_mm[:, skeleton.EVALUATION_SPHERES] + of_joints_mm
    spheres_mm = np.einsum("nrc,njc->njr", rotation, hand_mm)
    labels_mm = np.einsum("nrc,njc->njr", rotation, labels_mm)
    error_mm = offsets.error_without_offsets_mm(spheres_mm, labels_mm, rotation)
    np.testing.assert_allclose(error_mm, 0.0, atol=1e-3)
    # One hand that is off by 5 mm more stays so.
    labels_mm[0] += [3.0, 0.0, 4.0]
    error_mm = offsets.error_without_offsets_mm(spheres_mm, labels_mm, rotation)
    np.testing.assert_allclose(error_mm[0], 5.0, atol=1e-3)
