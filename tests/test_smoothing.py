"""The 1 euro filter: closed forms of one step, rest, motion, and what is refused."""

import numpy as np
import pytest

from tfhand.smoothing import OneEuroFilter


def test_one_step_in_closed_form():
    smooth = OneEuroFilter(frame_rate=20.0, min_cutoff_hz=1.5, beta=0.01)
    first = smooth([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(first, np.float32([[1.0, 2.0, 3.0]]))
    # 4 mm along x in 1/20 s: 80 mm/s, of which the filter at 1 Hz takes r / (r + 1).
    ratio = 2 * np.pi * 1.0 / 20.0
    speed = 80.0 * ratio / (ratio + 1.0)
    ratio = 2 * np.pi * (1.5 + 0.01 * speed) / 20.0
    expected = 1.0 + 4.0 * ratio / (ratio + 1.0)
    np.testing.assert_allclose(smooth([[5.0, 2.0, 3.0]]), [[expected, 2.0, 3.0]], rtol=1e-6)


def test_jitter_shrinks_and_motion_is_followed(rng):
    smooth = OneEuroFilter(30.0)
    noisy = rng.normal([0.0, 0.0, 700.0], 2.0, (300, 41, 3))
    rested = np.stack([smooth(points) for points in noisy])[30:]
    assert rested.std(axis=0).mean() < 0.65 * noisy.std(axis=0).mean()
    smooth = OneEuroFilter(30.0)
    # 600 mm/s: behind by less than a frame and a half.
    path = np.zeros([60, 1, 3])
    path[:, 0, 0] = 20.0 * np.arange(60)
    followed = np.stack([smooth(points) for points in path])
    assert (path - followed)[30:, 0, 0].max() < 30.0


def test_reset_forgets():
    smooth = OneEuroFilter()
    smooth(np.zeros([2, 3]))
    smooth.reset()
    np.testing.assert_array_equal(smooth(np.ones([2, 3])), np.ones([2, 3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_rate": 0.0}, "positive frame_rate"),
        ({"min_cutoff_hz": float("nan")}, "positive min_cutoff_hz"),
        ({"beta": -1.0}, "beta of at least 0"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneEuroFilter(**arguments)
