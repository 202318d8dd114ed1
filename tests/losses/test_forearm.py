"""Which points belong to the hand, and that no data term can pull the wrist along the arm."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import seen_hands
from tfhand.geometry import crop, views
from tfhand.hand import skeleton
from tfhand.losses import data_terms, forearm, terms
from tfhand.training import objectives, pipeline

WRIST = list(skeleton.WRIST_SPHERES)


def hand_with(wrist_mm, palm_mm):
    """41 spheres, all at the palm but for those of the wrist."""
    hand = np.tile(np.asarray(palm_mm, np.float32)[..., None, :], [41, 1])
    hand[..., WRIST, :] = np.asarray(wrist_mm, np.float32)[..., None, :]
    hand[..., WRIST[0], :] += [7.0, 0.0, 0.0]
    hand[..., WRIST[1], :] -= [7.0, 0.0, 0.0]
    return hand


def test_points_beyond_the_wrist_are_left_out():
    points = [[0.0, 0.0, 50.0], [30.0, 0.0, 8.0], [0.0, 9.0, -9.0], [0.0, 0.0, -11.0]]
    keep = forearm.point_mask(points, hand_with([0.0, 0.0, 0.0], [0.0, 0.0, 40.0]))
    np.testing.assert_array_equal(keep, [True, True, True, False])
    everything = forearm.point_mask(points, hand_with([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    assert np.all(everything)


def test_mask_broadcasts_over_pairs_of_views(rng):
    points = rng.normal(size=[2, 1, 3, 20, 3]).astype(np.float32) * 40.0
    hands = rng.normal(size=[2, 3, 3, 41, 3]).astype(np.float32) * 20.0
    keep = forearm.point_mask(points, hands)
    assert keep.shape == [2, 3, 3, 20]
    alone = forearm.point_mask(points[1, 0, 2], hands[1, 0, 2])
    np.testing.assert_array_equal(keep[1, 0, 2], alone)


def test_held_wrist_has_the_same_place_and_no_gradient_along_the_arm(rng):
    hands = tf.constant(rng.normal(size=[2, 3, 41, 3]) * 30.0, tf.float32)
    force = tf.constant(rng.normal(size=[2, 3, 41, 3]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(hands)
        held = forearm.hold_wrist(hands)
        value = tf.reduce_sum(held * force)
    np.testing.assert_array_equal(held, hands)
    gradient = tape.gradient(value, hands).numpy()
    wrist = hands.numpy()[:, :, WRIST].mean(axis=2)
    axis = hands.numpy()[:, :, skeleton.PALM_CENTER_SPHERE] - wrist
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    expected = force.numpy().copy()
    along = (expected[:, :, WRIST] * axis[:, :, None]).sum(axis=-1, keepdims=True)
    expected[:, :, WRIST] -= along * axis[:, :, None]
    assert np.abs(along).max() > 0.5
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_nothing_is_held_without_a_direction():
    hands = tf.constant(hand_with([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    with tf.GradientTape() as tape:
        tape.watch(hands)
        value = tf.reduce_sum(forearm.hold_wrist(hands))
    np.testing.assert_array_equal(tape.gradient(value, hands), np.ones([41, 3]))


@pytest.mark.parametrize("toward_camera", [True, False])
def test_background_counts_whatever_the_direction_of_the_arm(toward_camera):
    """A map of background alone but for one pixel, and a hand that shows where nothing is."""
    depth_mm = np.full([1, 1, 64, 64], 150.0, np.float32)
    depth_mm[..., 32, 60] = 0.0
    sign = -1.0 if toward_camera else 1.0
    hand = hand_with([-60.0, 0.0, 40.0 * sign], [-60.0, 0.0, 0.0])
    points = crop.points_from_crop(depth_mm, seen_hands.SPEC)
    value = data_terms.model_to_data(
        hand[None, None, None],
        np.full(41, 20.0, np.float32),
        depth_mm,
        cube_mm=300.0,
        clamp_mm=50.0,
        point_mask=forearm.point_mask(points, hand[None, None])[:, None],
    )
    np.testing.assert_allclose(value, [50.0], rtol=1e-6)


@pytest.fixture(scope="module")
def seen():
    """Clean depth maps of hands with their forearms."""
    return seen_hands.see(4, seed=4)


def slide_of_the_wrist(seen, steps=80):
    """Fits loose spheres with the data terms, from where they are; mm toward the elbow."""
    objective = objectives.RecordedObjective(
        terms.LossWeights(1.0, 1.0, *[0.0] * 5), 0.0, None, seen_hands.SPEC
    )
    start = pipeline.targets_in_views(seen.spheres_mm, seen.ref_from_crop)
    hands = tf.Variable(start)
    batch = {
        "depth_mm": tf.constant(seen.depth_mm),
        "ref_from_crop": tf.constant(seen.ref_from_crop),
    }

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            folded = views.fold_views(hands)
            loss, _ = objective(lambda *_, **__: {"spheres_mm": folded}, batch, None)
            total = tf.reduce_sum(loss)
        return tape.gradient(total, hands)

    optimizer = keras.optimizers.Adam(0.5)
    for _ in range(steps):
        optimizer.apply([gradient()], [hands])
    wrist = start[:, :, WRIST].mean(axis=2)
    axis = wrist - start[:, :, skeleton.PALM_CENTER_SPHERE]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    moved = hands.numpy()[:, :, WRIST].mean(axis=2) - wrist
    return (moved * axis).sum(axis=-1).mean()


def test_the_data_terms_do_not_pull_the_wrist_toward_the_elbow(seen, monkeypatch):
    assert abs(slide_of_the_wrist(seen)) < 1.0
    # The pulls are there: a small one of the points close to the wrist, ...
    monkeypatch.setattr(forearm, "hold_wrist", lambda spheres_mm: spheres_mm)
    assert slide_of_the_wrist(seen) > 1.0
    # ... and a large one of the arm where the spheres of the wrist cover it.
    everything = functools.partial(tf.ones, [1, 1, 1, seen_hands.SPEC.image_size**2], tf.bool)
    monkeypatch.setattr(forearm, "point_mask", lambda points_mm, spheres_mm: everything())
    assert slide_of_the_wrist(seen) > 20.0
