"""Fits to single frames of one person: nearer than the estimate, left hands as right ones."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfhand.fitting import frame_fits, kinematic_fit
from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres, template
from tfhand.rendering import spheres as rendering

SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)
INTRINSICS = np.float32([588.04, 587.08, 320.0, 240.0])
CENTER = np.float32([20.0, -10.0, 800.0])


def see(centers_mm, radii_mm):
    """Draws spheres around CENTER as a camera sees them, [480, 640]."""
    dense, radii = spheres.dense_spheres(tf.constant(centers_mm[None]), tf.constant(radii_mm))
    depth = rendering.render_depth(dense, radii, image_size=480, cube_mm=480.0).numpy()[0]
    # One mm a pixel: an orthographic picture, put where the camera sees about that.
    picture = np.zeros([480, 640], np.float32)
    rows, columns = np.nonzero(depth < 239.0)
    x, y, z = (
        columns - 239.5 + CENTER[0],
        rows - 239.5 + CENTER[1],
        depth[rows, columns] + CENTER[2],
    )
    u = np.rint(x / z * INTRINSICS[0] + INTRINSICS[2]).astype(int)
    v = np.rint(y / z * INTRINSICS[1] + INTRINSICS[3]).astype(int)
    picture[v, u] = z
    return picture


@pytest.fixture(scope="module")
def frame():
    """A camera frame of the spheres of a right hand at rest, and their centers."""
    model = spheres.load()
    truth = (model.centers_mm - model.centers_mm.mean(axis=0)).astype(np.float32)
    # Fingers up in the image, the palm toward the camera.
    truth = truth @ np.float32([[1, 0, 0], [0, -1, 0], [0, 0, -1]]).T
    return see(truth, model.radii_mm), truth + CENTER


def error_mm(spheres_mm, truth):
    chosen = skeleton.EVALUATION_SPHERES
    return np.linalg.norm(spheres_mm[:, chosen] - truth[chosen], axis=-1).mean()


@pytest.fixture(scope="module")
def estimates(frame):
    noise = np.random.default_rng(4).normal(0.0, 8.0, (2, 41, 3))
    return (frame[1] + noise).astype(np.float32)


@pytest.fixture(scope="module")
def fits():
    return frame_fits.FrameFits(SPEC)


@pytest.fixture(scope="module")
def fitted(fits, frame, estimates):
    return fits(*arguments(frame[0], estimates))


def arguments(picture, estimates):
    count = len(estimates)
    return (
        np.tile(picture, (count, 1, 1)),
        np.tile(INTRINSICS, (count, 1)),
        np.tile(CENTER, (count, 1)),
        estimates,
    )


def test_nearer_than_the_estimate(fitted, frame, estimates):
    _, truth = frame
    assert fitted.shape == (2, 41, 3) and fitted.dtype == np.float32
    assert error_mm(fitted, truth) < 0.5 * error_mm(estimates, truth)


def test_a_left_hand_is_the_mirrored_right_one(fitted, frame, estimates):
    picture, _ = frame
    # The picture's columns turn around, and with them the middle of the picture.
    mirror = np.float32([-1.0, 1.0, 1.0])
    left = frame_fits.FrameFits(SPEC, is_left=True)
    intrinsics = INTRINSICS.copy()
    intrinsics[2] = picture.shape[1] - 1 - INTRINSICS[2]
    of_left_hands = left(
        np.tile(picture[:, ::-1], (2, 1, 1)),
        np.tile(intrinsics, (2, 1)),
        np.tile(CENTER * mirror, (2, 1)),
        estimates * mirror,
    )
    # Readings on the border of a pixel may fall on its other side.
    assert np.median(np.abs(of_left_hands * mirror - fitted)) < 0.5


def test_readings_that_are_no_number_are_none(fits, fitted, frame, estimates):
    picture, _ = frame
    holes = np.where(picture == 0.0, np.nan, picture)
    np.testing.assert_array_equal(fits(*arguments(holes, estimates)), fitted)
    assert np.isfinite(fitted).all()


def test_the_shape_that_was_learned_is_used(frame, estimates, monkeypatch):
    picture, _ = frame
    calls = []

    def fit(self, estimate, samples, shape, fit_shape, starts_mm=None):
        calls.append((fit_shape, np.array(shape)))
        return types.SimpleNamespace(
            spheres_mm=estimate, shape=np.array(shape) + 0.1, is_better=np.full(len(estimate), True)
        )

    monkeypatch.setattr(kinematic_fit.Fitter, "fit", fit)
    learning = frame_fits.FrameFits(SPEC)
    assert learning.shape is None
    learning.learn_shape(*arguments(picture, estimates))
    np.testing.assert_allclose(learning.shape, 0.1)
    learning(*arguments(picture, estimates))
    learned, used = calls
    assert (learned[0], used[0]) == (True, False)
    assert learned[1].shape[0] == 1
    np.testing.assert_array_equal(used[1], np.tile(learning.shape, (frame_fits._BATCH, 1)))


def test_until_a_shape_is_learned_every_frame_has_its_own(fits, frame, estimates):
    picture, truth = frame
    # The same pose of a larger hand, between two pictures of the first.
    larger = 1.15 * (truth - CENTER)
    pictures = np.stack([picture, see(larger, 1.15 * spheres.load().radii_mm), picture])
    starts = np.stack([estimates[0], estimates[1] - truth + larger + CENTER, estimates[0]])
    _, intrinsics, center, _ = arguments(picture, starts)
    fitted = fits(pictures, intrinsics, center, starts)
    np.testing.assert_array_equal(fitted[0], fitted[2])
    own = error_mm(fitted[1:2], larger + CENTER)
    of_mean_hand = frame_fits.FrameFits(SPEC)
    of_mean_hand.shape = np.zeros(len(template.SHAPE_NAMES), np.float32)
    other = of_mean_hand(pictures, intrinsics, center, starts)
    assert own < 0.7 * error_mm(other[1:2], larger + CENTER)
