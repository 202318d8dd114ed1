"""Hands and errors of `experiments/terms.py`."""

import numpy as np
import pytest

from experiments import terms
from tfhand.data import batches, recordings
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres
from tfhand.losses import terms as losses
from tfhand.training import fine_tuning
from tfhand.training import options as train_options


@pytest.fixture
def recording(rng):
    joints = rng.normal(size=[2, 3, 36, 3]).astype(np.float32) * 40.0
    return recordings.RecordedSamples(
        depth_mm=np.full([2, 3, 16, 16], 150.0, np.float32),
        ref_from_crop=np.tile(np.eye(4, dtype=np.float32), [2, 3, 1, 1]),
        joints_mm=joints,
        joint_mask=np.ones([2, 3, 36], np.float32),
        group=np.zeros(2, int),
        frame=np.arange(2),
        is_multi_view=np.ones(2, bool),
    )


def test_the_wrist_is_measured_along_the_arm(recording):
    labels, _ = batches.label_targets(recording)
    wrist = labels[:, :, skeleton.WRIST_SPHERES].mean(axis=2)
    arm = wrist - labels[:, :, skeleton.PALM_CENTER_SPHERE]
    arm /= np.linalg.norm(arm, axis=-1, keepdims=True)
    moved = labels.copy()
    moved[:, :, skeleton.WRIST_SPHERES] += 5.0 * arm[:, :, None]
    errors_mm = terms.wrist_errors_mm(recording, moved)
    assert errors_mm == pytest.approx({"wrist": 5.0, "toward elbow": 5.0}, abs=1e-4)
    assert terms.error_mm(recording, labels) == 0.0


def test_labels_are_completed_by_the_fit_moved_to_the_palm(recording):
    labels, mask = batches.label_targets(recording)
    truth = labels.copy()
    unlabeled = np.flatnonzero(mask[0, 0] == 0.0)
    truth[:, :, unlabeled] = 7.0
    # A fit that is right but for its place.
    completed = terms.complete_labels(recording, truth + np.float32([3.0, -2.0, 1.0]))
    np.testing.assert_allclose(completed, truth, atol=1e-2)


def test_terms_are_those_of_given_hands(recording):
    spec = crop.CropSpec(image_size=16, cube_mm=300.0)
    options = train_options.FineTuneOptions(method="gradient", augment=False)
    objective = fine_tuning.make_objective(losses.LossWeights(), options, spec, prior=None)
    rest_mm = np.tile(spheres.load().centers_mm.astype(np.float32), (2, 3, 1, 1))
    values = terms.mean_terms(objective, recording, rest_mm, is_multi_view=True)
    assert set(values) == set(losses.TERMS) - {"pose_prior"}
    # One hand in all views, that of the hand model.
    assert values["multi_view_consistency"] < 1e-3
    assert values["collision"] < 1e-3
    moved_mm = rest_mm + np.float32([30.0, 0.0, 0.0]) * np.arange(3)[:, None, None]
    moved = terms.mean_terms(objective, recording, moved_mm, is_multi_view=True)
    assert moved["multi_view_consistency"] > 100.0
