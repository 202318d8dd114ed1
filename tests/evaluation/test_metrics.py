"""Scores against closed forms and a loop in plain Python."""

import math

import numpy as np
import pytest

from tfhand.evaluation import metrics
from tfhand.hand import skeleton

NAMES = skeleton.EVALUATION_JOINT_NAMES
# Sums in another order than the loop's, float64.
EXACT = 1e-9


def shifted(errors_mm):
    """Predictions that are off by `errors_mm` [n, J] along z, and their labels."""
    errors_mm = np.asarray(errors_mm, np.float64)
    truth_mm = np.random.default_rng(1).normal(size=(*errors_mm.shape, 3)) * 100
    predicted_mm = truth_mm.copy()
    predicted_mm[..., 2] += errors_mm
    return predicted_mm, truth_mm


def random_case(rng, frames=40):
    truth_mm = rng.normal(size=(frames, len(NAMES), 3)) * 50
    predicted_mm = truth_mm + rng.normal(size=truth_mm.shape) * rng.uniform(3, 30, (frames, 1, 1))
    return predicted_mm, truth_mm, rng.random((frames, len(NAMES))) < 0.7


def score_by_loop(predicted_mm, truth_mm, mask):
    """All scores, one joint at a time."""
    all_errors, worst, tips, twelve = [], [], [], []
    per_joint = {name: [] for name in NAMES}
    for frame in range(len(truth_mm)):
        errors = []
        for joint, name in enumerate(NAMES):
            if not mask[frame, joint]:
                continue
            error = math.dist(predicted_mm[frame, joint], truth_mm[frame, joint])
            errors.append(error)
            per_joint[name].append(error)
            if name.endswith("KNU3_A"):
                tips.append(error)
            if name not in ("PALM_1", "PALM_2"):
                twelve.append(error)
        all_errors += errors
        if errors:
            worst.append(max(errors))
    return all_errors, worst, tips, twelve, per_joint


def test_scores_match_a_loop(rng):
    predicted_mm, truth_mm, mask = random_case(rng)
    mask[3] = False
    mask[:, 5] = False
    scores = metrics.score(predicted_mm, truth_mm, mask)
    all_errors, worst, tips, twelve, per_joint = score_by_loop(predicted_mm, truth_mm, mask)
    assert scores.num_frames == len(worst) == 39
    assert scores.mean_joint_error_mm == pytest.approx(np.mean(all_errors), abs=EXACT)
    assert scores.median_joint_error_mm == pytest.approx(np.median(all_errors), abs=EXACT)
    assert scores.fingertip_error_mm == pytest.approx(np.mean(tips), abs=EXACT)
    assert scores.mean_joint_error_12_mm == pytest.approx(np.mean(twelve), abs=EXACT)
    for joint, name in enumerate(NAMES):
        if joint == 5:
            assert math.isnan(scores.per_joint_error_mm[name])
        else:
            expected = np.mean(per_joint[name])
            assert scores.per_joint_error_mm[name] == pytest.approx(expected, abs=EXACT)
    for threshold, rate in scores.success_rate.items():
        assert rate == np.mean([w <= threshold for w in worst])


def test_success_counts_the_worst_joint_and_includes_the_threshold():
    errors_mm = np.zeros((4, 14))
    errors_mm[:, 3] = [12.0, 20.0, 30.0, 55.0]
    rates = metrics.success_rate(errors_mm, [11.9, 12, 20, 54.9, 80])
    np.testing.assert_array_equal(rates, [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize(("worst", "auc"), [(0.0, 1.0), (20.0, 0.75), (80.0, 0.0), (500.0, 0.0)])
def test_area_of_one_frame_is_closed_form(worst, auc):
    errors_mm = np.full((1, 14), worst)
    assert metrics.area_under_curve(errors_mm) == pytest.approx(auc, abs=EXACT)


def test_area_is_the_integral_of_the_curve(rng):
    predicted_mm, truth_mm, mask = random_case(rng)
    errors_mm = metrics.joint_errors_mm(predicted_mm, truth_mm, mask)
    thresholds_mm = np.linspace(0, 80, 80001)
    sampled = np.trapezoid(metrics.success_rate(errors_mm, thresholds_mm), thresholds_mm) / 80
    # Each of the 40 steps of the curve is off by at most one of 80,000 samples.
    assert metrics.area_under_curve(errors_mm) == pytest.approx(sampled, abs=1e-4)


def test_scores_do_not_depend_on_frame_order_or_repetition(rng):
    predicted_mm, truth_mm, mask = random_case(rng)
    scores = metrics.score(predicted_mm, truth_mm, mask)
    order = rng.permutation(len(truth_mm))
    shuffled = metrics.score(predicted_mm[order], truth_mm[order], mask[order])
    twice = metrics.score(*(np.concatenate([x, x]) for x in (predicted_mm, truth_mm, mask)))
    for other in (shuffled, twice):
        assert other.mean_joint_error_mm == pytest.approx(scores.mean_joint_error_mm, abs=EXACT)
        assert other.auc == pytest.approx(scores.auc, abs=EXACT)
        assert other.success_rate == pytest.approx(scores.success_rate, abs=EXACT)


@pytest.mark.parametrize("joint", range(14))
def test_every_joint_changes_the_score(joint):
    errors_mm = np.full((3, 14), 5.0)
    before = metrics.score(*shifted(errors_mm))
    errors_mm[1, joint] = 19.0
    after = metrics.score(*shifted(errors_mm))
    assert after.mean_joint_error_mm == pytest.approx(5 + 14 / 42, abs=1e-6)
    assert after.per_joint_error_mm[NAMES[joint]] > before.per_joint_error_mm[NAMES[joint]]
    assert after.success_rate[10] == pytest.approx(2 / 3)
    wrist = NAMES[joint] in ("PALM_1", "PALM_2")
    assert (after.mean_joint_error_12_mm > before.mean_joint_error_12_mm + 1e-6) != wrist


def test_unlabeled_joints_may_hold_anything():
    predicted_mm, truth_mm = shifted(np.full((2, 14), 7.0))
    mask = np.ones((2, 14), bool)
    mask[0, 4] = False
    truth_mm[0, 4] = np.nan
    predicted_mm[0, 4] = np.inf
    scores = metrics.score(predicted_mm, truth_mm, mask)
    assert scores.mean_joint_error_mm == pytest.approx(7, abs=1e-6)


def test_frame_errors_are_means_of_labeled_joints():
    errors_mm = np.array([[1.0, 3.0], [np.nan, 4.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(metrics.frame_errors_mm(errors_mm), [2.0, 4.0, np.nan])


def test_best_and_worst_leave_out_unlabeled_frames_and_never_overlap():
    best, worst = metrics.best_and_worst([5.0, np.nan, 1.0, 9.0, 3.0, 7.0], 2)
    assert list(best) == [2, 4]
    assert list(worst) == [3, 5]
    best, worst = metrics.best_and_worst([5.0, np.nan, 1.0, 9.0], 4)
    assert list(best) == [2, 0]
    assert list(worst) == [3]


def test_scores_survive_json_form():
    predicted_mm, truth_mm = shifted(np.full((2, 14), 7.0))
    mask = np.ones((2, 14), bool)
    mask[:, 0] = False
    scores = metrics.score(predicted_mm, truth_mm, mask)
    content = scores.to_dict()
    assert content["per_joint_error_mm"][NAMES[0]] is None
    assert content["success_rate"]["20"] == 1.0
    assert metrics.Scores.from_dict(content).to_dict() == content


def test_missing_entries_are_named():
    with pytest.raises(ValueError, match="auc"):
        metrics.Scores.from_dict({"num_frames": 3})


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((2, 14, 3)), np.zeros((3, 14, 3)), r"\(2, 14, 3\) and \(3, 14, 3\)"),
        (np.zeros((2, 14, 2)), np.zeros((2, 14, 2)), r"\[frames, joints, 3\]"),
        (np.zeros((0, 14, 3)), np.zeros((0, 14, 3)), "at least one frame"),
        (np.zeros((2, 13, 3)), np.zeros((2, 13, 3)), "14 joints, received 13"),
        (np.full((2, 14, 3), np.nan), np.zeros((2, 14, 3)), "finite predictions"),
        (np.zeros((2, 14, 3)), np.full((2, 14, 3), np.inf), "finite labels"),
    ],
)
def test_wrong_arrays_are_refused(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(predicted, truth)


def test_nothing_labeled_is_refused():
    zeros = np.zeros((2, 14, 3))
    with pytest.raises(ValueError, match="labeled joints, found none in 2 frames"):
        metrics.score(zeros, zeros, np.zeros((2, 14)))
    with pytest.raises(ValueError, match="mask of shape"):
        metrics.score(zeros, zeros, np.zeros((2, 13)))


def test_missed_frames_count_in_every_score():
    zeros = np.zeros((3, 14, 3))
    labeled = np.ones((3, 14), bool)
    labeled[:, 5] = False
    scores = metrics.score(zeros, zeros, labeled, num_missed=1)
    assert (scores.num_frames, scores.num_missed) == (4, 1)
    assert scores.mean_joint_error_mm == scores.fingertip_error_mm == metrics.MISSED_MM / 4
    assert scores.success_rate[0] == scores.success_rate[80] == scores.auc == 0.75
    unlabeled = np.isnan(list(scores.per_joint_error_mm.values()))
    assert np.flatnonzero(unlabeled).tolist() == [5]
    assert metrics.Scores.from_dict(scores.to_dict()).num_missed == 1
