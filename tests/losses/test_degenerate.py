"""Every registered term on input that says little or nothing: finite, and so are its gradients.

In graph mode, where the optimizer of graphs moves epsilons about.
"""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres, statistics
from tfhand.losses import terms
from tfhand.models import pose_prior
from tfhand.training import objectives, streams

SPEC = crop.CropSpec(image_size=16, cube_mm=300.0)
BATCH = 2


@functools.cache
def prior():
    palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
    tf.random.set_seed(0)
    config = pose_prior.PosePriorConfig(palm.tolist(), latent_size=4, hidden_size=8)
    return pose_prior.PosePrior(config)


@functools.cache
def hands_mm():
    hands = statistics.sample_spheres(tf.random.Generator.from_seed(11), BATCH).numpy()
    return hands - hands.mean(axis=1, keepdims=True)


def background(views):
    return np.full([BATCH, views, 16, 16], SPEC.far_mm, np.float32)


def plane(views):
    depth = background(views)
    depth[:, :, 4:12, 4:12] = 10.0
    return depth


def one_pixel(views):
    depth = background(views)
    depth[:, :, 7, 9] = -20.0
    return depth


def one_view_is_empty(views):
    depth = plane(views)
    depth[:, -1] = SPEC.far_mm
    return depth


def full(views):
    return np.full([BATCH, views, 16, 16], -SPEC.far_mm, np.float32)


def no_number(views):
    depth = plane(views)
    depth[:, :, 5] = np.nan
    return depth


DEPTHS = (background, plane, one_pixel, one_view_is_empty, full, no_number)

ESTIMATES = {
    "hand": lambda: hands_mm(),
    "outside of the crop": lambda: hands_mm() + np.float32(1000.0),
    "behind the far face": lambda: hands_mm() + np.float32([0.0, 0.0, 400.0]),
    "all spheres in one point": lambda: np.zeros_like(hands_mm()),
    "all spheres on a line": lambda: (
        np.linspace([0, 0, 0], [90, 0, 0], 41, dtype=np.float32) + np.zeros_like(hands_mm())
    ),
}


@functools.cache
def graph_of(name):
    """Value and gradient of one term, traced once for each number of views."""
    weights = terms.LossWeights(**{n: float(n == name) for n in terms.TERMS})
    objective = objectives.RecordedObjective(
        weights=weights, target_weight=0.0, negative_elbo=prior().negative_elbo, spec=SPEC
    )

    @tf.function(autograph=False)
    def evaluate(estimate, depth_mm, ref_from_crop):
        batch = {"depth_mm": depth_mm, "ref_from_crop": ref_from_crop}
        with tf.GradientTape() as tape:
            tape.watch(estimate)
            term = objective._terms(estimate, batch, streams.for_step(0, "test", 0))[name]
            value = term()
        return value, tape.gradient(value, estimate, unconnected_gradients="zero")

    return evaluate


def poses(views, turn_rad):
    """Cameras around the hand; without a turn between them all views are the same."""
    turns = np.zeros([views, 3], np.float32)
    turns[:, 1] = turn_rad * np.arange(views)
    motion = rigid.from_rotation_translation(
        rigid.rotation_from_axis_angle(turns), tf.zeros([views, 3])
    )
    return tf.tile(motion[None], [BATCH, 1, 1, 1])


@pytest.mark.parametrize("name", terms.TERMS)
@pytest.mark.parametrize("views", [1, 2, 3])
def test_values_and_gradients_are_finite(name, views):
    evaluate = graph_of(name)
    for make_depth in DEPTHS:
        for what, make_estimate in ESTIMATES.items():
            for turn_rad in (0.0, 0.8):
                estimate = np.repeat(make_estimate()[:, None], views, axis=1)
                value, gradient = evaluate(
                    tf.constant(estimate), tf.constant(make_depth(views)), poses(views, turn_rad)
                )
                case = f"{name}, {views} views, {make_depth.__name__}, {what}, {turn_rad}"
                assert value.shape == (BATCH,), case
                assert np.isfinite(value).all(), case
                assert np.isfinite(gradient).all(), case


@pytest.mark.parametrize("name", terms.TERMS)
def test_the_term_itself_is_evaluated(name):
    """A term that were cut off would be finite too: most say something of a wrong hand."""
    estimate = hands_mm()[:, None] * np.float32([1.4, 0.3])[:, None, None]
    estimate[:, 1] += 7.0
    value, gradient = graph_of(name)(
        tf.constant(estimate.astype(np.float32)), tf.constant(plane(2)), poses(2, 0.8)
    )
    assert (np.abs(value) > 0).all()
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 0).all()


def test_every_term_is_covered():
    assert set(terms.TERMS) == {field.name for field in dataclasses.fields(terms.LossWeights)}
