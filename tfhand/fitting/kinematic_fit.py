"""Fits the kinematic hand to all views of many samples at once. Not in the paper.

Where the paper pushes the gradient of the data terms through the network, this finds, for each
sample, the joint angles and the rigid motion that explain the depth maps of all its cameras,
with one shape for all samples of a subject. Fits that agree with the depth are better targets
than the network that started them (see `docs/experiments/fits.md`).
"""

import dataclasses
import functools
import threading

import keras
import numpy as np
import tensorflow as tf

from tfhand.fitting import part_residuals
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres, statistics, template
from tfhand.losses import data_terms, silhouette
from tfhand.losses.observation import observe

__all__ = ["FREE_SHAPES", "FitConfig", "FitResult", "Fitter", "Samples", "compiled_fitter"]

# Adam moves every parameter by about its learning rate a step. These units make one step of
# 0.03 mean 0.03 rad, 1 mm and 0.03 standard deviations of shape.
_TRANSLATION_UNIT_MM = 33.0

# A fit that explains the depth by less than this better is not worth more than the estimate.
_LEAST_GAIN_MM = 0.25

# Starts are compared on every fourth row and column. The estimate is the start unless another one
# explains the depth better by this.
_COARSE_STRIDE, _LEAST_LEAD_MM = 4, 1.0

# Shape parameters that are unknowns, bool [P].
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
        model_to_data_weight: Weight per mm of `data_terms.model_to_data`.
        data_to_model_weight: Weight per mm of `data_terms.data_to_model`.
        silhouette_weight: Weight per mm of `silhouette.silhouette`.
        estimate_weight: Weight per mm of the distance to the estimate's spheres, clamped.
        shape_weight: Weight per squared standard deviation of the shape.
        pose_weight: Weight per squared standard deviation of the fingers' angles, see
            `statistics.pose_deviations`: it decides where fingers are hidden.
        limits_weight: Weight per rad beyond an anatomical range.
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
    model_to_data_weight: float = 1.0
    data_to_model_weight: float = 1.0
    silhouette_weight: float = 0.5
    estimate_weight: float = 0.1
    shape_weight: float = 0.02
    pose_weight: float = 0.5
    limits_weight: float = 20.0
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
class Samples:
    """Samples to fit hands to, NumPy.

    Attributes:
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        group: int [n], samples of one subject share a number from 0, and their shape; None: every
            sample has a shape of its own.
        spec: `crop.CropSpec` of the depth maps.
    """

    depth_mm: np.ndarray
    ref_from_crop: np.ndarray
    group: np.ndarray | None
    spec: crop.CropSpec

    def __len__(self):
        return len(self.depth_mm)


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
        estimate_residual_mm: float32 [B], the same of the estimate, with the radii of the fit.
        part_residual_mm: float32 [B, 6], the same of each part, see `part_residuals`.
        part_pixels: float32 [B, 6], pixels of all views that each part covers.
        shape: float32 [G, P], one for each group of samples.
    """

    spheres_mm: np.ndarray
    radii_mm: np.ndarray
    angles: np.ndarray
    ref_from_hand: np.ndarray
    residual_mm: np.ndarray
    estimate_residual_mm: np.ndarray
    part_residual_mm: np.ndarray
    part_pixels: np.ndarray
    shape: np.ndarray

    @property
    def is_better(self):
        """Whether fits are finite and explain the depth better than the estimate, bool [B]."""
        is_finite = np.isfinite(self.spheres_mm).all(axis=(1, 2))
        return is_finite & (self.residual_mm < self.estimate_residual_mm - _LEAST_GAIN_MM)


class _Hands(tf.Module):
    """The unknowns of a batch of samples: angles, rigid motion, and shapes by group."""

    def __init__(self, batch, num_groups):
        super().__init__()
        num_angles, num_shapes = len(template.ANGLE_NAMES), len(template.SHAPE_NAMES)
        self.angles = tf.Variable(tf.zeros([batch, num_angles]))
        self.rotation_vector = tf.Variable(tf.zeros([batch, 3]))
        self.translation = tf.Variable(tf.zeros([batch, 3]))
        self.shape = tf.Variable(tf.zeros([num_groups, num_shapes]))
        self.group = tf.Variable(tf.zeros([batch], tf.int32), trainable=False)
        # The rigid motion that rotation vector and translation refine.
        self.start = tf.Variable(tf.eye(4, batch_shape=[batch]), trainable=False)
        # Turning about the middle of the hand, not the wrist, decouples rotation from translation.
        self.pivot = tf.constant([[0.0, 80.0, 0.0]])

    def reset(self, estimate_mm, group, shape):
        """Starts from a relaxed hand whose palm lies where the estimate's does."""
        middle = 0.35 * template.ANGLE_RANGES_RAD.mean(axis=1)
        relaxed = np.clip(middle, *template.ANGLE_RANGES_RAD.T).astype(np.float32)
        self.angles.assign(np.tile(relaxed, (estimate_mm.shape[0], 1)))
        self.shape.assign(shape / template.SHAPE_STDDEV)
        self.group.assign(group)
        for variable in (self.rotation_vector, self.translation):
            variable.assign(tf.zeros_like(variable))
        rest, _ = spheres.pose_spheres(self.angles, tf.gather(self.shapes(), self.group))
        rigid_part = [
            *skeleton.PALM_SPHERES,
            *(skeleton.FINGER_SPHERES[f][0] for f in skeleton.FINGERS),
        ]
        self.start.assign(
            rigid.kabsch(
                tf.gather(rest, rigid_part, axis=1), tf.gather(estimate_mm, rigid_part, axis=1)
            )
        )

    def shapes(self):
        """Returns the shape of each group, float32 [G, P]."""
        return self.shape * template.SHAPE_STDDEV

    def centers_and_radii(self):
        """Returns spheres in the reference frame, [B, 41, 3], and radii [B, 41]."""
        centers, radii = spheres.pose_spheres(self.angles, tf.gather(self.shapes(), self.group))
        rotation = rigid.rotation_from_axis_angle(self.rotation_vector)
        turned = tf.matmul(centers - self.pivot, rotation, transpose_b=True) + self.pivot
        moved = rigid.apply(self.start, turned)
        return moved + _TRANSLATION_UNIT_MM * self.translation[:, None], radii

    def rotation(self):
        """Returns the rotation from the hand frame to the reference frame, [B, 3, 3]."""
        return self.start[:, :3, :3] @ rigid.rotation_from_axis_angle(self.rotation_vector)

    def beyond_limits(self):
        """Returns how far the angles leave their ranges, rad, [B]."""
        low, high = template.ANGLE_RANGES_RAD[:, 0], template.ANGLE_RANGES_RAD[:, 1]
        over = tf.nn.relu(self.angles - high) + tf.nn.relu(low - self.angles)
        return tf.reduce_sum(over, axis=1)

    def pose_penalty(self):
        """Returns the squared standard deviations of the fingers' angles, their mean, [B]."""
        return tf.reduce_mean(statistics.pose_deviations(self.angles) ** 2, axis=1)

    def shape_penalty(self):
        """Returns the squared standard deviations of the shapes, mean over the groups."""
        return tf.reduce_mean(tf.reduce_sum(self.shape**2, axis=1))


def _estimate_distance(centers, estimate_mm, clamp_mm):
    distance = tf.sqrt(tf.reduce_sum((centers - estimate_mm) ** 2, axis=-1) + 1e-4)
    return tf.reduce_mean(tf.minimum(distance, clamp_mm), axis=-1)


class Fitter:
    """Fits batches of one size; its graphs are traced once and used for every batch.

    Args:
        batch: Samples B a batch.
        num_views: Number of views V.
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
        self._variables = [hands.angles, hands.rotation_vector, hands.translation, hands.shape]
        self._optimizer.build(self._variables)
        # Sampled now, not while a graph is traced.
        hands.pose_penalty()
        compiled = functools.partial(tf.function, autograph=False)
        self._align = compiled(self._align_to_spheres)
        self._start_loss = compiled(self._loss_of_start)
        self._descend = compiled(self._descend_on_depth)
        self._measure = compiled(self._residual)
        self._lock = threading.Lock()

    def fit(self, estimate_mm, samples, shape, fit_shape, starts_mm=None):
        """Fits hands to depth maps, starting from estimates.

        Args:
            estimate_mm: float32 [B, 41, 3], spheres in the reference frame, for example the
                median of the network's estimates over the views.
            samples: `Samples`, B of them, with groups.
            shape: float32 [G, P] to start from.
            fit_shape: Whether the shapes are unknowns too.
            starts_mm: Optional float32 [B, K, 41, 3], further starts, for example the estimate of
                each view. A sample starts from one of these that explains the depth clearly better
                than the estimate.

        Returns:
            `FitResult`.
        """
        # Its unknowns are variables: one fit at a time.
        with self._lock:
            return self._fit(estimate_mm, samples, shape, fit_shape, starts_mm)

    def _fit(self, estimate_mm, samples, shape, fit_shape, starts_mm):
        self._estimate_mm.assign(estimate_mm)
        self._depth_mm.assign(samples.depth_mm)
        self._crop_from_ref.assign(rigid.inverse(samples.ref_from_crop))
        fit_shape = tf.constant(1.0 if fit_shape else 0.0)
        start_mm = self._estimate_mm.value()
        self._hands.reset(start_mm, samples.group, shape)
        if starts_mm is not None:
            start_mm = self._choose_start(starts_mm)
            self._hands.reset(start_mm, samples.group, shape)
        self._align(start_mm, fit_shape)
        self._descend(fit_shape)
        centers, radii, *residuals = self._measure()
        hands = self._hands
        result = (centers, radii, hands.angles, hands.rotation(), *residuals, hands.shapes())
        return FitResult(*(value.numpy() for value in result))

    def _choose_start(self, starts_mm):
        """Returns the best of the estimate and other starts, sample by sample, [B, 41, 3]."""
        starts = [self._estimate_mm.value(), *tf.unstack(tf.cast(starts_mm, tf.float32), axis=1)]
        losses = np.stack([self._start_loss(start).numpy() for start in starts])
        losses[0] -= _LEAST_LEAD_MM
        best = np.argmin(np.where(np.isfinite(losses), losses, np.inf), axis=0)
        return tf.gather(tf.stack(starts, axis=1), best, batch_dims=1)

    def _loss_of_start(self, spheres_mm):
        _, radii = self._hands.centers_and_radii()
        return self._depth_loss(spheres_mm, radii, self._observe(_COARSE_STRIDE))

    def _align_to_spheres(self, spheres_mm, fit_shape):
        """Matches spheres. A wide clamp: the hand may be far off."""

        def loss():
            centers, _ = self._hands.centers_and_radii()
            return _estimate_distance(centers, spheres_mm, 100.0)

        self._minimize(loss, self._config.align_steps, 2.0, fit_shape)

    def _descend_on_depth(self, fit_shape):
        """Matches the depth maps, and the estimate a little."""
        # Out of the loop: what no step changes.
        observation = self._observe(self._config.stride)

        def loss():
            centers, radii = self._hands.centers_and_radii()
            of_estimate = _estimate_distance(centers, self._estimate_mm, 30.0)
            of_depth = self._depth_loss(centers, radii, observation)
            return of_depth + self._config.estimate_weight * of_estimate

        self._minimize(loss, self._config.steps, 1.0, fit_shape)

    def _depth_loss(self, centers, radii, observation):
        config = self._config
        m2d, d2m, outside = self._terms(centers, radii, observation)
        loss = config.model_to_data_weight * m2d + config.data_to_model_weight * d2m
        return loss + config.silhouette_weight * outside

    def _minimize(self, loss, steps, factor, fit_shape):
        """Minimizes `loss` [B] and what holds for every hand, all steps in one program."""
        rate = self._config.learning_rate * factor
        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))

        def step(i):
            # A cosine from the full rate to a tenth of it.
            decay = 0.55 + 0.45 * tf.cos(np.pi * tf.cast(i / steps, tf.float32))
            self._optimizer.learning_rate.assign(rate * decay)
            with tf.GradientTape() as tape:
                of_pose = self._config.limits_weight * self._hands.beyond_limits()
                of_pose += self._config.pose_weight * self._hands.pose_penalty()
                total = tf.reduce_mean(loss() + of_pose)
                total += self._config.shape_weight * self._hands.shape_penalty()
            *gradients, of_shape = tape.gradient(total, self._variables)
            # Each sample has 1 / B of its own gradient, which Adam takes out again.
            self._optimizer.apply(
                [*gradients, of_shape * fit_shape * self._free_shape], self._variables
            )
            return [i + 1]

        tf.while_loop(lambda i: i < steps, step, [0])

    def _observe(self, stride):
        return observe(self._depth_mm, self._spec, clamp_mm=self._config.clamp_mm, stride=stride)

    def _in_views(self, centers):
        # One hand seen by V cameras: a single "view i" in the terms' convention.
        return rigid.apply(self._crop_from_ref, centers[:, None])[:, None]

    def _terms(self, centers, radii, observation):
        """Returns (model to data, data to model, silhouette), each [B], mean over the views."""
        dense, dense_radii = spheres.dense_spheres(centers, radii)
        dense_radii = data_terms.grow_radii(dense_radii, self._spec, self._config.margin_px)
        dense, in_views = self._in_views(dense), self._in_views(centers)
        observation = observation.without_forearm(in_views)
        # The forearm is background: a hand that is drawn over it costs the clamp.
        hand = dataclasses.replace(observation, is_surface=observation.is_hand[:, 0])
        return (
            data_terms.model_to_data(dense, dense_radii, hand),
            data_terms.data_to_model(dense, dense_radii, hand),
            silhouette.silhouette(in_views, observation),
        )

    def _residual(self):
        centers, radii = self._hands.centers_and_radii()
        strided = self._observe(self._config.stride)
        residuals = []
        for spheres_mm in (centers, self._estimate_mm):
            m2d, d2m, _ = self._terms(spheres_mm, radii, strided)
            residuals.append(0.5 * (m2d + d2m))
        in_views = self._in_views(centers)
        observation = self._observe(stride=1).without_forearm(in_views)
        margin_mm = self._config.margin_px * self._spec.pixel_mm
        of_parts = part_residuals.part_residuals(in_views[:, 0], radii, observation, margin_mm)
        return centers, radii, *residuals, *of_parts


@functools.lru_cache(maxsize=4)
def compiled_fitter(batch, num_views, num_groups, spec, config):
    """Returns the `Fitter` of these arguments, the same one for the same: compiling takes seconds.

    Args:
        batch: As for `Fitter`.
        num_views: As for `Fitter`.
        num_groups: As for `Fitter`.
        spec: As for `Fitter`.
        config: As for `Fitter`.
    """
    return Fitter(batch, num_views, num_groups, spec, config)
