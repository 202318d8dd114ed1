"""Every term, and the network, on input that says little or nothing: finite, gradients included.

In graph mode, where the optimizer of graphs moves epsilons about.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import loss_weights
from tfhand.data import augmentation, stateless_rng
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres, statistics
from tfhand.losses import terms
from tfhand.models import pose_network, pose_prior
from tfhand.training import objectives

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
def terms_graph():
    """Values and gradients of every term by name, traced once for each number of views."""
    weights = loss_weights.only(**dict.fromkeys(terms.TERMS, 1.0))
    objective = objectives.RecordedObjective(
        weights=weights, target_weight=0.0, negative_elbo=prior().negative_elbo, spec=SPEC
    )

    @tf.function(autograph=False)
    def evaluate(estimate, depth_mm, ref_from_crop):
        batch = {"depth_mm": depth_mm, "ref_from_crop": ref_from_crop}
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(estimate)
            network = Leaves(stack_spheres_mm=tf.reshape(estimate, [-1, 1, 41, 3]))
            _, values = objective(network, batch, stateless_rng.for_step(0, "test", 0))
        return values, {
            name: tape.gradient(value, estimate, unconnected_gradients="zero")
            for name, value in values.items()
        }

    return evaluate


def poses(views, turn_rad):
    """Cameras around the hand; without a turn between them all views are the same."""
    turns = np.zeros([views, 3], np.float32)
    turns[:, 1] = turn_rad * np.arange(views)
    motion = rigid.from_rotation_translation(
        rigid.rotation_from_axis_angle(turns), tf.zeros([views, 3])
    )
    return tf.tile(motion[None], [BATCH, 1, 1, 1])


@pytest.mark.parametrize("views", [1, 3])
def test_values_and_gradients_are_finite(views):
    for make_depth in DEPTHS:
        for what, make_estimate in ESTIMATES.items():
            for turn_rad in (0.0, 0.8):
                estimate = np.repeat(make_estimate()[:, None], views, axis=1)
                values, gradients = terms_graph()(
                    tf.constant(estimate), tf.constant(make_depth(views)), poses(views, turn_rad)
                )
                for name in terms.TERMS:
                    case = f"{name}, {views} views, {make_depth.__name__}, {what}, {turn_rad}"
                    assert values[name].shape == (BATCH,), case
                    assert np.isfinite(values[name]).all(), case
                    assert np.isfinite(gradients[name]).all(), case


def test_the_terms_themselves_are_evaluated():
    """A term that were cut off would be finite too: most say something of a wrong hand."""
    estimate = hands_mm()[:, None] * np.float32([1.4, 0.3, 1.0])[:, None, None]
    estimate[:, 1] += 7.0
    values, gradients = terms_graph()(
        tf.constant(estimate.astype(np.float32)), tf.constant(plane(3)), poses(3, 0.8)
    )
    for name in terms.TERMS:
        assert (np.abs(values[name]) > 0).all(), name
        assert (np.abs(gradients[name]).max(axis=(1, 2, 3)) > 0).all(), name


class Leaves:
    """A network that answers with given tensors, whatever it sees."""

    def __init__(self, **outputs):
        self._outputs = outputs

    def __call__(self, depth, training):
        del depth, training
        return self._outputs


def losses_and_gradients(objective, batch, **outputs):
    """Value and gradient of an objective in a graph, by what a network answered."""

    @tf.function(autograph=False)
    def evaluate(batch, outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss, _ = objective(Leaves(**outputs), batch)
        return loss, tape.gradient(loss, outputs, unconnected_gradients="zero")

    outputs = {name: tf.constant(value, tf.float32) for name, value in outputs.items()}
    return evaluate(batch, outputs)


def assert_finite(loss, gradients, case):
    assert loss.shape == (BATCH,) and np.isfinite(loss).all(), case
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), (case, name)


@pytest.mark.parametrize("views", [1, 3])
def test_distance_to_targets_is_finite(views):
    weights = loss_weights.only()
    objective = objectives.RecordedObjective(weights, 1.0, None, SPEC)
    exact = np.repeat(hands_mm()[:, None], views, axis=1).astype(np.float32)
    folded = exact.reshape(-1, 1, 41, 3)
    for case, target, mask in (
        ("exact", exact, 1.0),
        ("far away", exact + 1e4, 1.0),
        ("no target", exact * np.nan, 0.0),
    ):
        batch = {
            "depth_mm": background(views),
            "target_mm": target.astype(np.float32),
            "target_mask": np.full(exact.shape[:3], mask, np.float32),
        }
        result = losses_and_gradients(
            lambda network, batch: objective(network, batch, None), batch, stack_spheres_mm=folded
        )
        assert_finite(*result, case)


@pytest.mark.parametrize("supervision", ["coordinates", "maps"])
def test_supervision_by_synthetic_labels_is_finite(supervision):
    objective = objectives.SyntheticObjective(SPEC.cube_mm, supervision)
    for case, make_target in ESTIMATES.items():
        for maps in (0.0, 1.0):
            target = make_target().astype(np.float32)
            result = losses_and_gradients(
                objective,
                {"depth_mm": background(1)[:, 0], "spheres_mm": target},
                stack_spheres_mm=target[:, None],
                spheres_mm=target + 1.0,
                heatmaps=np.full([BATCH, 1, 4, 4, 41], maps),
                latent_depth_mm=np.zeros([BATCH, 1, 4, 4, 41]),
            )
            assert_finite(*result, (case, maps))


@pytest.mark.parametrize("normalization", ["group", "batch"])
def test_gradients_of_the_network_are_finite(normalization):
    """All pixels alike: no variance for a normalization, and no place for a heatmap."""
    network = pose_network.build_pose_network(
        pose_network.PoseNetworkConfig(
            16, 4, features=4, growth=2, depth=1, normalization=normalization
        )
    )
    weights = loss_weights.only(multi_view_consistency=1.0)
    objective = objectives.RecordedObjective(
        weights, 1.0, None, SPEC, augment=augmentation.AugmentationConfig()
    )

    @tf.function(autograph=False)
    def evaluate(depth_mm):
        batch = {
            "depth_mm": depth_mm,
            "ref_from_crop": poses(2, 0.8),
            "target_mm": tf.zeros([BATCH, 2, 41, 3]),
            "target_mask": tf.ones([BATCH, 2, 41]),
        }
        with tf.GradientTape() as tape:
            loss, _ = objective(network, batch, stateless_rng.for_step(0, "test", 0))
        return loss, tape.gradient(loss, network.trainable_variables)

    for make_depth in DEPTHS:
        loss, gradients = evaluate(tf.constant(make_depth(2)))
        names = [variable.path for variable in network.trainable_variables]
        known = {n: g for n, g in zip(names, gradients, strict=True) if g is not None}
        assert_finite(loss, known, make_depth.__name__)
