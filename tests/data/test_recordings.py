"""Which samples of a recording are taken, and which keep their views together."""

import dataclasses

import numpy as np
import pytest

from tfhand.data import recordings


@pytest.fixture
def long_recording(recording):
    """Ten samples of two subjects, not in the order of time."""
    rows = np.array([0, 2, 1, 3, 0, 2, 1, 3, 0, 2])
    frame = np.array([9, 0, 8, 1, 7, 2, 6, 3, 5, 4])
    many = recordings.select(recording, rows)
    return dataclasses.replace(many, frame=frame, group=rows // 2)


def test_select_keeps_rows_together(recording):
    chosen = recordings.select(recording, np.array([3, 1]))
    np.testing.assert_array_equal(chosen.frame, recording.frame[[3, 1]])
    np.testing.assert_array_equal(chosen.depth_mm, recording.depth_mm[[3, 1]])


def test_all_views_stay_together_by_default(long_recording):
    mixed = recordings.mix_views(long_recording, 1.0, 0.0)
    assert len(mixed) == 10 and mixed.is_multi_view.all()


def test_halves_are_those_of_every_subject_in_time(long_recording):
    mixed = recordings.mix_views(long_recording, 0.4, 0.4)
    for group in (0, 1):
        frames = np.sort(long_recording.frame[long_recording.group == group])
        mine = mixed.group == group
        np.testing.assert_array_equal(np.sort(mixed.frame[mine & mixed.is_multi_view]), frames[:2])
        np.testing.assert_array_equal(
            np.sort(mixed.frame[mine & ~mixed.is_multi_view]), frames[2:4]
        )


def test_half_is_left_out(long_recording):
    mixed = recordings.mix_views(long_recording, 0.4, 0.0)
    assert len(mixed) == 4 and mixed.is_multi_view.all()


def test_views_of_all_samples_apart(long_recording):
    mixed = recordings.mix_views(long_recording, 0.0, 1.0)
    assert len(mixed) == 10 and not mixed.is_multi_view.any()


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.7, 0.4), (0.01, 0.0)])
def test_shares_that_cannot_be(long_recording, shares):
    with pytest.raises(ValueError, match=f"{shares[0]:g} and {shares[1]:g}"):
        recordings.mix_views(long_recording, *shares)


def test_one_view_each(recording):
    apart = recordings.one_view_each(recording)
    assert (len(apart), apart.num_views) == (12, 1)
    np.testing.assert_array_equal(apart.depth_mm[5, 0], recording.depth_mm[1, 2])
    np.testing.assert_array_equal(apart.ref_from_crop[5, 0], recording.ref_from_crop[1, 2])
    np.testing.assert_array_equal(apart.group, np.repeat(recording.group, 3))
    np.testing.assert_array_equal(apart.frame, np.repeat(recording.frame, 3))
