"""Fingers that are off: gradients of the terms that see the depth, and where a descent ends.

Run as

    python benchmarks/term_gradients.py --output=term_gradients.json

Hands of known spheres are seen by three clean cameras. A finger moved by 18 to 25 mm in a random
direction is mostly beside the hand in some view. The table counts its spheres whose gradient is
shorter than a hundredth of the median of all spheres, where three views teach each other and where
each view stands alone. A descent starts at fingers that are all moved in random directions, as a
whole, and spheres by 2 mm more, and sees the same terms alone, so that nothing but the depth tells
where a sphere belongs. Variants: equation 5 to the letter (no clamp: a pixel that only one shows
counts its whole difference), equation 5 as in the library, and it beside the silhouette term at
several weights, each with the data-to-model term at 0.5, as `configs/paper.flags` has it, and at 1.
"""

import functools

import keras
import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tests import seen_hands
from tfhand import commands
from tfhand.data import batches
from tfhand.hand import skeleton, spheres
from tfhand.losses import data_terms, silhouette, terms, view_pairs
from tfhand.losses.observation import observe
from tfhand.rendering import spheres as rendering

FINGER_MM = (18.0, 25.0)
STARTS_MM = (5.0, 20.0)
CLAMP_MM = 50.0
NO_GRADIENT = 0.01
MOST_PERCENT = 5.0
RATE_MM = 0.5
DATA_TO_MODEL = (0.5, 1.0)
SILHOUETTES = (0.0, 0.1, 0.3, 0.5, 1.0)


def define_flags(flag_values):
    flags.DEFINE_integer("hands", 24, "Hands.", 2, flag_values=flag_values)
    flags.DEFINE_integer("steps", 150, "Steps of a descent.", 1, flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def to_the_letter(centers_mm, radii_mm, observation):
    """Equation 5 as printed but for its mean: L1 over every pixel of the hand or the rendering."""
    spec, pairs = observation.spec, tf.shape(centers_mm)[:3]
    rendered = rendering.render_depth(
        tf.reshape(centers_mm, [-1, *centers_mm.shape[3:]]), radii_mm,
        image_size=spec.image_size, cube_mm=spec.cube_mm, stride=observation.stride,
    )  # fmt: skip
    side = rendered.shape[1]
    rendered = tf.reshape(rendered, tf.concat([pairs, [side, side]], axis=0))
    either = (rendered < spec.far_mm) | observation.is_hand
    counts = either & ~(observation.is_surface[:, None] & ~observation.is_hand)
    difference = tf.where(counts, tf.abs(rendered - observation.depth_mm[:, None]), 0.0)
    pixels = tf.reduce_sum(tf.cast(counts, tf.float32), axis=[3, 4])
    difference = tf.math.divide_no_nan(tf.reduce_sum(difference, axis=[3, 4]), pixels)
    return view_pairs.mean_over_pairs(
        difference, tf.reduce_any(observation.is_hand, axis=[3, 4]), observation.pair_weights
    )


class Problem:
    """Hands, their depth maps, and losses of spheres [B, V, 41, 3] in the crop frames.

    Attributes:
        truth_mm: float32 [B, V, 41, 3].
    """

    def __init__(self, hands, together):
        seen = seen_hands.see(hands, seed=4)
        self._ref_from_crop = seen.ref_from_crop
        self.truth_mm = batches.targets_in_views(seen.spheres_mm, seen.ref_from_crop)
        own = np.eye(self.truth_mm.shape[1], dtype=np.float32)[None]
        self._observation = observe(
            seen.depth_mm,
            seen_hands.SPEC,
            clamp_mm=CLAMP_MM,
            stride=2,
            pair_weights=np.ones_like(own) if together else own,
        )
        self._radii_mm = spheres.pose_spheres(
            np.zeros([hands, 23], np.float32), seen.shape[seen.group]
        )[1]

    def loss(self, spheres_mm, image_difference, data_to_model, outside):
        """Returns the weighted sum of the terms that see the depth, float32 [B]."""
        inputs = terms.TermInputs(
            spheres_mm, self._ref_from_crop, tf.ones(spheres_mm.shape[:1]), self._observation
        )
        total = image_difference(*inputs.dense_spheres, inputs.observed_hand)
        total += data_to_model * data_terms.data_to_model(
            *inputs.dense_spheres, inputs.observed_hand
        )
        return total + outside * silhouette.silhouette(inputs.projected_mm, self._observation)

    def gradient(self, *variant):
        """Returns a compiled function from spheres to the gradient of their loss, per sphere."""

        @tf.function(autograph=False)
        def gradient(spheres_mm):
            with tf.GradientTape() as tape:
                tape.watch(spheres_mm)
                total = tf.reduce_sum(self.loss(spheres_mm, *variant))
            return tape.gradient(total, spheres_mm)

        return gradient


def moved(truth_mm, length_mm, rng):
    """Returns spheres whose fingers are moved as a whole in random directions, in every view."""
    offset = np.zeros(truth_mm.shape, np.float32)
    for finger in skeleton.FINGER_SPHERES.values():
        direction = rng.normal(size=[*truth_mm.shape[:2], 1, 3])
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        offset[:, :, finger] = direction * length_mm(size=[*truth_mm.shape[:2], 1, 1])
    return (truth_mm + offset).astype(np.float32)


def share_without_gradient(problem, gradient):
    """Returns the share of the spheres of a moved finger without a gradient, percent."""
    rng = np.random.default_rng(0)
    without = []
    for finger in skeleton.FINGER_SPHERES.values():
        start = problem.truth_mm.copy()
        length_mm = functools.partial(rng.uniform, *FINGER_MM)
        start[:, :, finger] = moved(problem.truth_mm, length_mm, rng)[:, :, finger]
        length = np.linalg.norm(gradient(tf.constant(start)), axis=-1)
        without.append(length[:, :, finger] < NO_GRADIENT * np.median(length[length > 0.0]))
    return 100.0 * np.mean(without)


def descend(problem, gradient, start_mm, steps):
    """Descends from moved fingers with Adam; returns how far off their spheres end, mm."""
    rng = np.random.default_rng(1)
    start = moved(problem.truth_mm, functools.partial(rng.uniform, start_mm, start_mm), rng)
    start = start + rng.normal(0.0, 2.0, start.shape).astype(np.float32)
    hands, optimizer = tf.Variable(start, dtype=tf.float32), keras.optimizers.Adam(RATE_MM)
    for step in range(steps):
        optimizer.learning_rate.assign(RATE_MM * (0.55 + 0.45 * np.cos(np.pi * step / steps)))
        optimizer.apply([gradient(hands)], [hands])
    fingers = np.concatenate(list(skeleton.FINGER_SPHERES.values()))
    distance = np.linalg.norm(hands.numpy() - problem.truth_mm, axis=-1)
    return distance[:, :, fingers].mean()


def main(flag_values):
    report = measure.Report(__file__, "Gradients of the terms that see the depth")
    problem, alone = (Problem(flag_values.hands, together) for together in (True, False))
    variants = {"to the letter": (to_the_letter, 0.5, 0.0)}
    for weight in DATA_TO_MODEL:
        for outside in SILHOUETTES:
            variants[f"data to model {weight:g}, silhouette {outside:g}"] = (
                data_terms.model_to_data, weight, outside,
            )  # fmt: skip
    rows = []
    for name, variant in variants.items():
        gradient = problem.gradient(*variant)
        ends = [descend(problem, gradient, start, flag_values.steps) for start in STARTS_MM]
        without = [
            share_without_gradient(problem, gradient),
            share_without_gradient(alone, alone.gradient(*variant)),
        ]
        rows.append((name, *without, *ends))
        print(*rows[-1], flush=True)
    report.table(
        "Finger spheres: without a gradient, %, and mm left after a descent",
        [
            "variant",
            "without",
            "without, single view",
            *(f"from {start:g} mm" for start in STARTS_MM),
        ],
        rows,
    )
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
