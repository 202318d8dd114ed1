"""Actions of the hands in the embedded recording."""

import numpy as np
import pytest

from data_prep.synthetic import actions
from tfhand.hand import template


def test_fingers_that_wrap_around_a_circle_touch_it():
    """A chain of bones with these bends: every joint lies at one distance from the center."""
    radius = 30.0
    flexions = np.radians(actions.wrapping_deg([radius])[0, 1])
    lengths = [45.0] + [
        template.BONES[template.BONE_INDEX[f"MIDDLE_{i}"]].length_mm for i in (1, 2, 3)
    ]
    reach = radius + 12.0
    point, direction, joints = np.zeros(2), 0.0, [np.zeros(2)]
    for length, bend in zip(lengths, [0.0, *flexions], strict=True):
        direction += bend
        point = point + length * np.array([np.cos(direction), np.sin(direction)])
        joints.append(point)
    # The first bone is a chord, with the center to its left.
    center = np.array([lengths[0] / 2, np.sqrt(reach**2 - (lengths[0] / 2) ** 2)])
    np.testing.assert_allclose(np.linalg.norm(joints - center, axis=1), reach, rtol=1e-5)


@pytest.mark.parametrize("name", actions.ACTIONS)
def test_actions_are_smooth_and_move(name):
    for seed in range(5):
        degrees = actions.ACTIONS[name](np.random.default_rng(seed), np.linspace(0.0, 1.0, 16))
        assert degrees.shape == (16, 21) and np.isfinite(degrees).all()
        assert 1.0 < np.abs(np.diff(degrees, axis=0)).max() < 30.0


def test_people_have_habits():
    rng = np.random.default_rng(1)
    low, high = template.ANGLE_RANGES_RAD.T
    means = []
    for _ in range(2):
        habits = actions.draw_habits(rng)
        angles = np.concatenate([actions.draw_action(rng, habits, 16) for _ in range(60)])
        assert angles.dtype == np.float32 and angles.shape == (960, 23)
        assert (angles >= low).all() and (angles <= high).all()
        means.append(angles.mean(axis=0))
    assert np.abs(means[0] - means[1])[:20].max() > np.radians(5.0)
