"""Points of the hand and of the arm, and that no data term can pull the wrist along the arm."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import loss_weights, seen_hands
from tfhand.data import batches
from tfhand.geometry import views
from tfhand.hand import skeleton
from tfhand.losses import data_terms, forearm
from tfhand.losses.observation import observe
from tfhand.rendering import spheres
from tfhand.training import objectives

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


def test_hold_wrist_keeps_the_place_and_no_gradient_along_the_arm(rng):
    hands = tf.constant(rng.normal(size=[2, 3, 41, 3]) * 30.0, tf.float32)
    force = tf.constant(rng.normal(size=[2, 3, 41, 3]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(hands)
        spheres_mm = forearm.hold_wrist(hands)
        value = tf.reduce_sum(spheres_mm * force)
    np.testing.assert_array_equal(spheres_mm, hands)
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
    """One reading, where the hand is, and a hand that shows much more than that."""
    sign = -1.0 if toward_camera else 1.0
    hand = hand_with([0.0, 0.0, 40.0 * sign], [0.0, 0.0, 0.0])
    radii = np.full(41, 20.0, np.float32)
    drawn = spheres.render_depth(hand[None], radii[None], image_size=64, cube_mm=300.0).numpy()
    seen = np.full([1, 1, 64, 64], 150.0, np.float32)
    seen[0, 0, 32, 32] = drawn[0, 32, 32]
    observation = observe(seen, seen_hands.SPEC)
    # The margin keeps the reading, which in one case is at the wrist.
    keep = forearm.point_mask(observation.points_mm, hand[None, None], margin_mm=60.0)
    assert keep.numpy()[0, 0, 32 * 64 + 32]
    # Of the background it leaves all out, or nothing.
    assert np.sum(keep) == (64 * 64 if toward_camera else 1)
    is_hand = observation.is_hand & tf.reshape(keep, [1, 1, 1, 64, 64])
    observation = dataclasses.replace(observation, is_hand=is_hand)
    value = data_terms.model_to_data(hand[None, None, None], radii, observation)
    shown = (drawn < 149.9).sum()
    np.testing.assert_allclose(value, [50.0 * (shown - 1) / shown], rtol=1e-5)


@pytest.fixture(scope="module")
def seen():
    """Clean depth maps of hands with their forearms."""
    return seen_hands.see(4, seed=4)


def slide_of_the_wrist(seen, steps=80):
    """Fits loose spheres with the data terms, from where they are; mm toward the elbow."""
    objective = objectives.RecordedObjective(
        loss_weights.only(model_to_data=1.0, data_to_model=1.0), 0.0, None, seen_hands.SPEC
    )
    start = batches.targets_in_views(seen.spheres_mm, seen.ref_from_crop)
    hands = tf.Variable(start)
    batch = {
        "depth_mm": tf.constant(seen.depth_mm),
        "ref_from_crop": tf.constant(seen.ref_from_crop),
    }

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            folded = views.fold_views(hands)
            output = {"stack_spheres_mm": folded[:, tf.newaxis]}
            loss, _ = objective(lambda *_, **__: output, batch, None)
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
    assert 1.0 < abs(slide_of_the_wrist(seen)) < 6.0
    # ... and a large one of the arm, where the image difference meets it.
    masked = data_terms.model_to_data

    def unmasked(projected_mm, radii_mm, observation):
        everything = dataclasses.replace(observation, is_hand=observation.is_surface[:, None])
        return masked(projected_mm, radii_mm, everything)

    monkeypatch.setattr(data_terms, "model_to_data", unmasked)
    assert slide_of_the_wrist(seen) > 8.0
