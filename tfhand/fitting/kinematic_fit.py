"""Fits the kinematic hand to all views of many samples at once. Not in the paper.

Where the paper pushes the gradient of the data terms through the network, this finds, for each
sample, the joint angles and the rigid motion that explain the depth maps of all its cameras,
with one shape for all samples of a subject. Fits that agree with the depth are better targets
than the network that started them (see `docs/experiments.md`).
"""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from tfhand.fitting import part_residuals
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres, template
from tfhand.losses import data_terms, forearm, silhouette

__all__ = ["FREE_SHAPES", "FitConfig", "FitResult", "Fitter"]

# Adam moves every parameter by about its learning rate a step. These units make one step of
# 0.03 mean 0.03 rad, 1 mm and 0.03 standard deviations of shape.
_TRANSLATION_UNIT_MM = 33.0

# Which shape parameters are unknowns, bool [14].
_IS_FREE = {
    "all": np.full(len(template.SHAPE_NAMES), True),
    "lengths": np.array(["THICKNESS" not in name for name in template.SHAPE_NAMES]),
    "none": np.full(len(template.SHAPE_NAMES), False),
}
FREE_SHAPES = tuple(_IS_FREE)


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Settings of the fit.

    Attributes:
        align_steps: Steps that only match the estimate's spheres, from which the fit starts.
        steps: Steps on the depth maps.
        learning_rate: First learning rate; it falls to a tenth along a cosine.
        model_to_data: Weight per mm of `data_terms.model_to_data`.
        data_to_model: Weight per mm of `data_terms.data_to_model`.
        silhouette: Weight per mm of `silhouette.silhouette`.
        estimate: Weight per mm of the distance to the estimate's spheres, clamped.
        shape: Weight per squared standard deviation of the shape.
        limits: Weight per rad beyond an anatomical range.
        stride: Uses every stride-th row and column of the depth maps.
        clamp_mm: Largest difference that counts.
        margin_px: How much larger the data terms take the dense spheres' radii, see
            `data_terms.grow_radii`.
        free_shape: Which shape parameters are unknowns, where a shape is: `"all"`; `"lengths"`, not
            those of thickness; or `"none"`. The others stay where they start.

    Raises:
        ValueError: If `free_shape` is none of them.
    """

    align_steps: int = 40
    steps: int = 60
    learning_rate: float = 0.05
    model_to_data: float = 1.0
    data_to_model: float = 1.0
    silhouette: float = 0.5
    estimate: float = 0.1
    shape: float = 0.02
    limits: float = 20.0
    stride: int = 2
    clamp_mm: float = 40.0
    margin_px: float = 0.5
    free_shape: str = "all"

    def __post_init__(self):
        if self.free_shape not in FREE_SHAPES:
            raise ValueError(
                f"Expected free_shape to be one of {FREE_SHAPES}, received {self.free_shape!r}."
            )


@dataclasses.dataclass(frozen=True)
class FitResult:
    """Fitted hands, NumPy.

    Attributes:
        spheres_mm: float32 [B, 41, 3], reference frame.
        radii_mm: float32 [B, 41].
        angles: float32 [B, 23], radians, see `template.ANGLE_NAMES`. Those of the wrist, which
            move only the forearm, are not found.
        ref_from_hand: float32 [B, 3, 3], rotation.
        residual_mm: float32 [B], mean of both data terms over the views: what to gate by.
        part_residual_mm: float32 [B, 6], the same of each part, see `part_residuals`.
        part_pixels: float32 [B, 6], pixels of all views that each part covers.
        shape: float32 [G, 14], one for each group of samples.
    """

    spheres_mm: np.ndarray
    radii_mm: np.ndarray
    angles: np.ndarray
    ref_from_hand: np.ndarray
    residual_mm: np.ndarray
    part_residual_mm: np.ndarray
    part_pixels: np.ndarray
    shape: np.ndarray


class _Hands(tf.Module):
    """The unknowns of a batch of samples: angles, rigid motion, and shapes by group."""

    def __init__(self, batch, num_groups):
        super().__init__()
        num_angles, num_shapes = len(template.ANGLE_NAMES), len(template.SHAPE_NAMES)
        self.angles = tf.Variable(tf.zeros([batch, num_angles]))
        self.turn = tf.Variable(tf.zeros([batch, 3]))
        self.shift = tf.Variable(tf.zeros([batch, 3]))
        self.shape = tf.Variable(tf.zeros([num_groups, num_shapes]))
        self.group = tf.Variable(tf.zeros([batch], tf.int32), trainable=False)
        # The rigid motion that the turn and the shift refine.
        self.start = tf.Variable(tf.eye(4, batch_shape=[batch]), trainable=False)
        # Turning about the middle of the hand, not about the wrist, decouples turn from shift.
        self.pivot = tf.constant([[0.0, 80.0, 0.0]])

    def reset(self, estimate_mm, group, shape):
        """Starts from a relaxed hand whose palm lies where the estimate's does."""
        middle = 0.35 * template.ANGLE_RANGES_RAD.mean(axis=1)
        relaxed = np.clip(middle, *template.ANGLE_RANGES_RAD.T).astype(np.float32)
        self.angles.assign(np.tile(relaxed, (estimate_mm.shape[0], 1)))
        self.shape.assign(shape / template.SHAPE_STDDEV)
        self.group.assign(group)
        for variable in (self.turn, self.shift):
            variable.assign(tf.zeros_like(variable))
        rest, _ = spheres.pose_spheres(self.angles, tf.gather(self.shapes(), self.group))
        fixed = [*skeleton.PALM_SPHERES, *(skeleton.FINGER_SPHERES[f][0] for f in skeleton.FINGERS)]
        self.start.assign(
            rigid.kabsch(tf.gather(rest, fixed, axis=1), tf.gather(estimate_mm, fixed, axis=1))
        )

    def shapes(self):
        """Returns the shape of each group, float32 [G, 14]."""
        return self.shape * template.SHAPE_STDDEV

    def centers_and_radii(self):
        """Returns spheres in the reference frame, [B, 41, 3], and radii [B, 41]."""
        centers, radii = spheres.pose_spheres(self.angles, tf.gather(self.shapes(), self.group))
        rotation = rigid.rotation_from_axis_angle(self.turn)
        turned = tf.matmul(centers - self.pivot, rotation, transpose_b=True) + self.pivot
        moved = rigid.apply(self.start, turned)
        return moved + _TRANSLATION_UNIT_MM * self.shift[:, None], radii

    def rotation(self):
        """Returns the rotation from the hand frame to the reference frame, [B, 3, 3]."""
        return self.start[:, :3, :3] @ rigid.rotation_from_axis_angle(self.turn)

    def beyond_limits(self):
        """Returns how far the angles leave their ranges, rad, [B]."""
        low, high = template.ANGLE_RANGES_RAD[:, 0], template.ANGLE_RANGES_RAD[:, 1]
        over = tf.nn.relu(self.angles - high) + tf.nn.relu(low - self.angles)
        return tf.reduce_sum(over, axis=1)


def _in_views(centers, depth_mm, crop_from_ref, cube_mm):
    """Returns spheres in crop frames, [B, V, 41, 3], and points of the hand, bool [B, V, S * S]."""
    in_views = rigid.apply(crop_from_ref, centers[:, None])
    points = crop.points_from_crop(depth_mm, crop.CropSpec(depth_mm.shape[2], cube_mm))
    return in_views, forearm.point_mask(points, in_views)


def _data_terms(centers, radii, depth_mm, crop_from_ref, cube_mm, config):
    """Returns (model to data, data to model, silhouette), each [B], mean over the views."""
    dense, dense_radii = spheres.dense_spheres(centers, radii)
    spec = crop.CropSpec(depth_mm.shape[2], cube_mm)
    dense_radii = data_terms.grow_radii(dense_radii, spec, config.margin_px)
    # One hand seen by V cameras: a single "view i" in the terms' convention.
    projected = rigid.apply(crop_from_ref, dense[:, None])[:, None]
    sparse, keep = (
        value[:, None] for value in _in_views(centers, depth_mm, crop_from_ref, cube_mm)
    )
    options = {"cube_mm": cube_mm, "clamp_mm": config.clamp_mm, "stride": config.stride}
    # The image difference must not count the forearm as a surface that the hand failed to draw.
    size = depth_mm.shape[2]
    hand_only = tf.where(
        tf.reshape(keep[:, 0], [-1, depth_mm.shape[1], size, size]), depth_mm, 0.5 * cube_mm
    )
    return (
        data_terms.model_to_data(projected, dense_radii, hand_only, **options),
        data_terms.data_to_model(projected, dense_radii, depth_mm, point_mask=keep, **options),
        silhouette.silhouette(sparse, depth_mm, cube_mm=cube_mm, clamp_mm=config.clamp_mm),
    )


def _estimate_distance(centers, estimate_mm, clamp_mm):
    distance = tf.sqrt(tf.reduce_sum((centers - estimate_mm) ** 2, axis=-1) + 1e-4)
    return tf.reduce_mean(tf.minimum(distance, clamp_mm), axis=-1)


class Fitter:
    """Fits batches of one size; its graphs are traced once and used for every batch.

    Args:
        batch: Samples B a batch.
        num_views: V.
        num_groups: Subjects G.
        spec: `crop.CropSpec`.
        config: `FitConfig`.
    """

    def __init__(self, batch, num_views, num_groups, spec, config):
        self._batch, self._spec, self._config = batch, spec, config
        self._hands = _Hands(batch, num_groups)
        size = spec.image_size
        self._estimate_mm = tf.Variable(tf.zeros([batch, len(skeleton.SPHERE_NAMES), 3]))
        self._depth_mm = tf.Variable(tf.zeros([batch, num_views, size, size]))
        self._crop_from_ref = tf.Variable(tf.eye(4, batch_shape=[batch, num_views]))
        self._optimizer = keras.optimizers.Adam(config.learning_rate, beta_2=0.99)
        hands = self._hands
        self._free_shape = tf.constant(_IS_FREE[config.free_shape], tf.float32)
        self._variables = [hands.angles, hands.turn, hands.shift, hands.shape]
        self._optimizer.build(self._variables)
        compiled = functools.partial(tf.function, autograph=False)
        self._align_step = compiled(lambda fit_shape: self._descend(False, fit_shape))
        self._depth_step = compiled(lambda fit_shape: self._descend(True, fit_shape))
        self._measure = compiled(self._residual)

    def fit(self, estimate_mm, depth_mm, ref_from_crop, group, shape, fit_shape):
        """Fits hands to depth maps, starting from estimates.

        Args:
            estimate_mm: float32 [B, 41, 3], spheres in the reference frame, for example the
                median of the network's estimates over the views.
            depth_mm: float32 [B, V, S, S], crop depth.
            ref_from_crop: float32 [B, V, 4, 4].
            group: int [B], samples of one subject share a number from 0.
            shape: float32 [G, 14] to start from.
            fit_shape: Whether the shapes are unknowns too.

        Returns:
            `FitResult`.
        """
        self._estimate_mm.assign(estimate_mm)
        self._depth_mm.assign(depth_mm)
        self._crop_from_ref.assign(rigid.inverse(ref_from_crop))
        self._hands.reset(self._estimate_mm, group, shape)
        fit_shape = tf.constant(1.0 if fit_shape else 0.0)
        self._run(self._align_step, fit_shape, self._config.align_steps, 2.0)
        self._run(self._depth_step, fit_shape, self._config.steps, 1.0)
        centers, radii, *residuals = self._measure()
        hands = self._hands
        found = (centers, radii, hands.angles, hands.rotation(), *residuals, hands.shapes())
        return FitResult(*(value.numpy() for value in found))

    def _run(self, step, fit_shape, steps, factor):
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        for i in range(steps):
            # A cosine from the full rate to a tenth of it.
            decay = 0.55 + 0.45 * np.cos(np.pi * i / steps)
            self._optimizer.learning_rate.assign(self._config.learning_rate * factor * decay)
            step(fit_shape)

    def _terms(self, centers, radii):
        return _data_terms(
            centers, radii, self._depth_mm, self._crop_from_ref, self._spec.cube_mm, self._config
        )

    def _residual(self):
        centers, radii = self._hands.centers_and_radii()
        m2d, d2m, _ = self._terms(centers, radii)
        spec, config = self._spec, self._config
        in_views, keep = _in_views(centers, self._depth_mm, self._crop_from_ref, spec.cube_mm)
        of_parts = part_residuals.part_residuals(
            in_views,
            radii,
            self._depth_mm,
            keep,
            cube_mm=spec.cube_mm,
            margin_mm=config.margin_px * spec.pixel_mm,
            clamp_mm=config.clamp_mm,
        )
        return centers, radii, 0.5 * (m2d + d2m), *of_parts

    def _loss(self, use_depth):
        config, hands = self._config, self._hands
        centers, radii = hands.centers_and_radii()
        if use_depth:
            m2d, d2m, outside = self._terms(centers, radii)
            loss = config.model_to_data * m2d + config.data_to_model * d2m
            loss += config.silhouette * outside
            loss += config.estimate * _estimate_distance(centers, self._estimate_mm, 30.0)
        else:
            # A wide clamp: the start may be far off.
            loss = _estimate_distance(centers, self._estimate_mm, 100.0)
        loss += config.limits * hands.beyond_limits()
        return tf.reduce_mean(loss) + config.shape * tf.reduce_mean(
            tf.reduce_sum(hands.shape**2, axis=1)
        )

    def _descend(self, use_depth, fit_shape):
        with tf.GradientTape() as tape:
            loss = self._loss(use_depth)
        *gradients, of_shape = tape.gradient(loss, self._variables)
        # The mean over samples gives each 1 / B of its own gradient, which Adam takes out again.
        of_shape *= fit_shape * self._free_shape
        self._optimizer.apply([*gradients, of_shape], self._variables)
