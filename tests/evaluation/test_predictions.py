"""A network's predictions on a data set: folding of views, frames, order, scores, pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import rotations
from tfhand.evaluation import predictions, qualitative
from tfhand.geometry import rigid
from tfhand.hand import skeleton

SIZE, CUBE_MM, SAMPLES, VIEWS = 16, 300.0, 7, 3
# float32 sums of numbers around 500 mm.
FLOAT_MM = 1e-3


@pytest.fixture
def samples(rng):
    """Labeled samples whose first pixel tells sample and view apart."""
    transforms = rigid.from_rotation_translation(
        rotations.random_rotation(SAMPLES * VIEWS, seed=(3, 3)),
        tf.constant(rng.normal(size=(SAMPLES * VIEWS, 3)) * 100, tf.float32),
    )
    depth_mm = np.full((SAMPLES, VIEWS, SIZE, SIZE), CUBE_MM / 2, np.float32)
    depth_mm[..., 0, 0] = np.arange(SAMPLES * VIEWS).reshape(SAMPLES, VIEWS)
    return {
        "depth_mm": depth_mm,
        "center_mm": rng.normal([0, 0, 700], 50, (SAMPLES, VIEWS, 3)).astype(np.float32),
        "ref_from_view": transforms.numpy().reshape(SAMPLES, VIEWS, 4, 4),
        "joints_mm": rng.normal([0, 0, 700], 60, (SAMPLES, VIEWS, 36, 3)).astype(np.float32),
        "joint_mask": np.ones((SAMPLES, VIEWS, 36), np.float32),
        "intrinsics": np.tile(np.float32([580.0, 582.0, 320.0, 240.0]), (SAMPLES, VIEWS, 1)),
        "frame": 100 + np.arange(SAMPLES),
    }


def dataset_of(samples):
    return tf.data.Dataset.from_tensor_slices(samples)


def first_pixel_model(depth, training=False):
    """Every coordinate of every sphere is the depth of the first pixel, in mm."""
    value = depth[:, :1, :1, :1] * CUBE_MM / 2
    return {
        "spheres_mm": tf.tile(value[:, 0], [1, 41, 3]),
        "spread_mm": tf.tile(value[:, 0, 0], [1, 41]),
    }


def predict_labels(samples, truth=None):
    """Predictions of a network that answers with the labels, scored against `truth`'s."""
    joints_mm = samples["joints_mm"] - samples["center_mm"][:, :, np.newaxis]
    spheres_mm = np.zeros((SAMPLES * VIEWS, 41, 3), np.float32)
    spheres_mm[:, skeleton.SPHERE_FROM_JOINT] = joints_mm.reshape(-1, 36, 3)

    def model(depth, training=False):
        index = tf.cast(tf.round(depth[:, 0, 0, 0] * CUBE_MM / 2), tf.int32)
        answers_mm = tf.gather(spheres_mm, index)
        return {"spheres_mm": answers_mm, "spread_mm": tf.zeros_like(answers_mm[..., 0])}

    dataset = dataset_of(samples if truth is None else truth)
    return predictions.predict_dataset(
        model, dataset, cube_mm=CUBE_MM, batch_size=3, description=""
    )


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_every_view_of_every_sample_keeps_its_place(samples, batch_size):
    predicted = predictions.predict_dataset(
        first_pixel_model,
        dataset_of(samples),
        cube_mm=CUBE_MM,
        batch_size=batch_size,
        description="",
    )
    assert predicted.spheres_mm.shape == (SAMPLES, VIEWS, 41, 3)
    assert predicted.spread_mm.shape == (SAMPLES, VIEWS, 41)
    expected = np.arange(SAMPLES * VIEWS).reshape(SAMPLES, VIEWS)
    np.testing.assert_allclose(predicted.spheres_mm[:, :, 5, 2], expected, atol=FLOAT_MM)
    np.testing.assert_allclose(predicted.spread_mm[:, :, 40], expected, atol=FLOAT_MM)


def test_predicting_the_labels_scores_zero(samples):
    scores = predict_labels(samples).score()
    assert scores.num_frames == SAMPLES * VIEWS
    assert scores.mean_joint_error_mm == pytest.approx(0, abs=FLOAT_MM)
    assert scores.success_rate[1] == 1


@pytest.mark.parametrize("view", range(VIEWS))
def test_only_the_views_asked_for_are_scored(samples, view):
    shifted = dict(samples, joints_mm=samples["joints_mm"].copy())
    shifted["joints_mm"][:, view, :, 0] += 9.0
    predicted = predict_labels(samples, truth=shifted)
    for other in range(VIEWS):
        expected = 9.0 if other == view else 0.0
        scores = predicted.score([other])
        assert scores.num_frames == SAMPLES
        assert scores.mean_joint_error_mm == pytest.approx(expected, abs=FLOAT_MM)
        np.testing.assert_allclose(predicted.errors_mm(other), expected, atol=FLOAT_MM)
    assert predicted.score().mean_joint_error_mm == pytest.approx(3.0, abs=FLOAT_MM)


def test_unlabeled_joints_do_not_count(samples):
    samples["joint_mask"][2] = 0
    samples["joints_mm"][2] = 0
    scores = predict_labels(samples).score([0])
    assert scores.num_frames == SAMPLES - 1
    assert scores.mean_joint_error_mm == pytest.approx(0, abs=FLOAT_MM)
    samples["joint_mask"][:] = 0
    with pytest.raises(ValueError, match="labeled joints"):
        predict_labels(samples).score()


def test_wrong_views_sizes_and_empty_data_are_refused(samples):
    predicted = predict_labels(samples)
    with pytest.raises(ValueError, match=r"views below 3, received \[3\]"):
        predicted.score([3])
    with pytest.raises(ValueError, match="at least one sample"):
        predictions.predict_dataset(
            first_pixel_model, dataset_of(samples).take(0), cube_mm=CUBE_MM, description=""
        )
    inputs = keras.Input((32, 32, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match=r"32 x 32 .* found records of 16 x 16"):
        predictions.predict_dataset(model, dataset_of(samples), cube_mm=CUBE_MM)


def test_samples_come_in_the_order_asked_for(samples):
    chosen = qualitative.load_samples(dataset_of(samples), [4, 0, 6])
    np.testing.assert_array_equal(chosen.frame, [104, 100, 106])
    np.testing.assert_array_equal(chosen.depth_mm, samples["depth_mm"][[4, 0, 6]])
    np.testing.assert_array_equal(chosen.ref_from_view, samples["ref_from_view"][[4, 0, 6]])


def test_one_hand_in_space_looks_the_same_from_any_views_estimate(samples, rng):
    """Spheres that agree in space: each view's estimate renders to each view's own picture."""
    chosen = qualitative.load_samples(dataset_of(samples), [1, 5])
    to_crops = rigid.inverse(rigid.ref_from_crop(chosen.ref_from_view, chosen.center_mm))
    # Within 60 mm of the first crop's center, which the other crops then see from elsewhere.
    first_mm = rng.uniform(-60, 60, (2, 1, 41, 3)).astype(np.float32)
    to_first = rigid.inverse(to_crops)[:, :1]
    spheres_mm = rigid.apply(to_crops, rigid.apply(to_first, first_mm)).numpy()
    own_mm = qualitative.render_own_views(spheres_mm, image_size=SIZE, cube_mm=CUBE_MM)
    for view in range(VIEWS):
        rendered_mm = qualitative.render_from_view(
            spheres_mm, chosen, source_view=view, cube_mm=CUBE_MM
        )
        # Silhouette pixels may change sides by rounding.
        assert np.mean(np.abs(rendered_mm - own_mm) > 0.1) < 0.005
    assert np.mean(own_mm[:, 0] < CUBE_MM / 2) > 0.1


def test_pictures_of_best_and_worst_are_drawn(samples, tmp_path):
    predicted = predict_labels(samples)
    paths = qualitative.draw_best_and_worst(
        predicted, dataset_of(samples), tmp_path / "report", cube_mm=CUBE_MM, count=2
    )
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "best.png",
        "best_views.png",
        "worst.png",
        "worst_views.png",
    ]
    assert len(paths) == 4


def test_joints_in_the_picture(samples):
    predicted = predict_labels(samples)
    np.testing.assert_array_equal(predicted.frames, samples["frame"])
    joints_mm = samples["joints_mm"][:, 1, skeleton.EVALUATION_JOINTS].astype(np.float64)
    expected = joints_mm.copy()
    expected[..., 0] = 580.0 * joints_mm[..., 0] / joints_mm[..., 2] + 320.0
    expected[..., 1] = 582.0 * joints_mm[..., 1] / joints_mm[..., 2] + 240.0
    np.testing.assert_allclose(predicted.joints_uvd(1), expected, atol=FLOAT_MM)


def test_a_view_without_a_center_is_missed_in_its_frame(samples):
    samples["center_mm"][2, 1] = 0.0
    scores = predict_labels(samples).score([1], num_missed=1)
    assert (scores.num_frames, scores.num_missed) == (SAMPLES + 1, 2)
    assert scores.success_rate[1] == (SAMPLES - 1) / (SAMPLES + 1)
    assert predict_labels(samples).score([0]).num_missed == 0
    assert predict_labels(samples).score(num_missed=1).num_missed == VIEWS + 1
