"""`tfhand.presence` on the template's hand, and `tfhand.hand_side` on numbers."""

import numpy as np
import pytest

from tfhand import hand_side, presence
from tfhand.hand import spheres

# Spreads of `frame_model`'s confidence, mm: of an ordinary hand, and of none.
SHARP, BLURRED = 25.0 / (25.0 + 38.0), 25.0 / (25.0 + 80.0)


def score(centers_mm, confidence):
    return presence.score_of(centers_mm, np.full([41], confidence))


def test_a_hand_has_sharp_maps_and_a_hands_fingers():
    hand_mm = spheres.load().centers_mm
    assert score(hand_mm, SHARP) > 0.95
    assert score(hand_mm, BLURRED) < 0.5
    # Drawn together, as means of heatmaps that spread are.
    assert score(0.5 * hand_mm, SHARP) < 0.5
    assert score(0.0 * hand_mm, SHARP) < 0.01


def test_badness_is_doubt_and_stretch():
    hand_mm = spheres.load().centers_mm
    # ln 38 + |ln 0.5|
    badness = presence.badness_of(np.stack([hand_mm, 0.5 * hand_mm]), np.full([2, 41], SHARP))
    assert badness == pytest.approx([3.6376, 3.6376 + 0.6931], abs=1e-3)


def test_a_side_stays_until_the_sum_says_as_much_for_the_other():
    side, is_left = hand_side.HandSide(), []
    for difference in [0.2] * 20 + [-0.2] * 8:
        side.add(3.6 + difference, 3.6)
        is_left.append(side.is_left)
    # The sum ends at 1; 0.5 below zero it is the other.
    assert is_left == [False] * 2 + [True] * 25 + [False]
    side.forget()
    side.add(4.0, 3.6)
    assert not side.is_decided and not side.is_left
