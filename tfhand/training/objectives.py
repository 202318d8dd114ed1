"""Losses of a training step: one for synthetic and one for recorded samples.

Both return one value per sample and a dict of unweighted terms per sample, and know nothing of
optimizers, devices or flags.
"""

import dataclasses

import tensorflow as tf

from tfhand.data import augmentation
from tfhand.geometry import crop, views
from tfhand.hand import statistics
from tfhand.losses import supervised, terms
from tfhand.losses.observation import observe
from tfhand.rendering import heatmaps

__all__ = ["RecordedObjective", "SyntheticObjective"]

# Losses in mm are divided by this, so that a weight of 1 and a learning rate suit each other.
_UNIT_MM = 10.0


@dataclasses.dataclass(frozen=True)
class SyntheticObjective:
    """Supervision by labels that come with synthetic samples (section 3.3).

    Attributes:
        cube_mm: Side of the crops.
        supervision: "coordinates" (L1 through the decoder) or "maps" (equation 3).
    """

    cube_mm: float = 300.0
    supervision: str = "coordinates"

    def __call__(self, network, batch):
        """Evaluates the loss.

        Args:
            network: Pose network, see `models.pose_network`.
            batch: Dict of `depth_mm` [B, S, S] and `spheres_mm` [B, 41, 3].

        Returns:
            (loss [B], dict of float32 [B] for the logs).
        """
        target = batch["spheres_mm"]
        output = network(crop.normalize(batch["depth_mm"], self.cube_mm), training=True)
        error = tf.norm(output["spheres_mm"] - target, axis=-1)
        logs = {"synthetic_error_mm": tf.reduce_mean(error, axis=1)}
        if self.supervision == "coordinates":
            stacks = output["stack_spheres_mm"]
            per_stack = [
                supervised.coordinate_l1(stacks[:, k], target) for k in range(stacks.shape[1])
            ]
            return tf.add_n(per_stack) / (_UNIT_MM * len(per_stack)), logs
        maps, depths = output["heatmaps"], output["latent_depth_mm"]
        target_maps = heatmaps.target_heatmaps(target, maps.shape[2], self.cube_mm)
        loss = tf.zeros_like(logs["synthetic_error_mm"])
        for k in range(maps.shape[1]):
            loss += 1000.0 * supervised.heatmap_mse(maps[:, k], target_maps)
            loss += supervised.latent_depth_l1(depths[:, k], target[..., 2], target_maps) / _UNIT_MM
        return loss / maps.shape[1], logs


@dataclasses.dataclass(frozen=True)
class RecordedObjective:
    """Self-supervision on recorded samples, equation 4, and supervision by fits or labels.

    The terms see the last stack of the network, targets supervise all of them.

    Attributes:
        weights: `terms.LossWeights`, the lambdas of equation 4.
        target_weight: Weight of the L1 distance of every stack's spheres to target spheres, for
            samples that have them (fits of `tfhand.fitting`, or labels). Not in the paper.
        negative_elbo: The frozen prior's `negative_elbo`, or None where it is not evaluated.
        spec: `crop.CropSpec`.
        clamp_mm: Largest difference of the data terms.
        stride: The data terms use every stride-th row and column.
        margin_px: See `data_terms.grow_radii`.
        augment: `augmentation.AugmentationConfig`, or None.
    """

    weights: terms.LossWeights
    target_weight: float
    negative_elbo: object
    spec: crop.CropSpec
    clamp_mm: float = 50.0
    stride: int = 2
    margin_px: float = 0.5
    augment: augmentation.AugmentationConfig | None = None

    def __post_init__(self):
        # Sampled (once a process) now: not while a training step is traced, nor on a replica.
        if self.weights.bone_length > 0.0:
            statistics.length_ranges()

    def __call__(self, network, batch, rng):
        """Evaluates the loss.

        Args:
            network: Pose network, see `models.pose_network`.
            batch: Dict of `depth_mm` [B, V, S, S], `ref_from_crop` [B, V, 4, 4],
                `target_mm` [B, V, 41, 3] (crop frames), `target_mask` [B, V, 41], and, unless all
                views of all samples teach each other, `is_multi_view` [B]: 1 where estimates
                are moved into the other views (section 3.4.1), 0 where each view's own depth map
                alone counts and there is no consistency.
            rng: `StatelessRng` or `tf.random.Generator` for augmentation and prior.

        Returns:
            (loss [B], dict of float32 [B] for the logs).
        """
        stacks = self._estimate(network, batch["depth_mm"], rng)
        total, values = tf.zeros(tf.shape(stacks[-1])[:1]), {}
        if self.weights.active:
            inputs = self._term_inputs(stacks[-1], batch, rng)
            total, values = terms.weighted_sum(inputs, self.weights)
            total = total / _UNIT_MM
        if self.target_weight > 0.0:
            target = batch["target_mm"], batch["target_mask"]
            distances = [supervised.coordinate_l1(spheres_mm, *target) for spheres_mm in stacks]
            values["target"] = tf.reduce_mean(tf.add_n(distances) / len(distances), axis=1)
            total += self.target_weight * values["target"] / _UNIT_MM
        return total, values

    def measure(self, network, batch, rng=None):
        """Evaluates every term, also those without a weight, without augmentation.

        Args:
            network: Pose network.
            batch: As for a training step; targets are not needed.
            rng: As for a training step; None leaves the prior's draws to TensorFlow's global state.

        Returns:
            Dict of unweighted float32 [B] by the term's name.
        """
        plain = dataclasses.replace(self, augment=None)
        stacks = plain._estimate(network, batch["depth_mm"], rng, training=False)
        inputs = self._term_inputs(stacks[-1], batch, rng)
        return {
            name: term.evaluate(inputs)
            for name, term in terms.TERMS.items()
            if name != "pose_prior" or self.negative_elbo is not None
        }

    def _estimate(self, network, depth_mm, rng, training=True):
        """Returns spheres in the crops' own frames, a list with [B, V, 41, 3] of each stack."""
        folded = views.fold_views(depth_mm)
        motion = None
        if self.augment is not None:
            motion = augmentation.sample_motion(rng, tf.shape(folded)[0], self.augment)
            folded = augmentation.apply(motion, folded, self.spec, rng, self.augment)
        normalized = crop.normalize(folded, self.spec.cube_mm)
        stacks = tf.unstack(network(normalized, training=training)["stack_spheres_mm"], axis=1)
        if motion is not None:
            stacks = [augmentation.undo(motion, spheres_mm) for spheres_mm in stacks]
        return [views.unfold_views(spheres_mm, depth_mm.shape[1]) for spheres_mm in stacks]

    def _term_inputs(self, estimate, batch, rng):
        """Returns the `terms.TermInputs` of estimates [B, V, 41, 3]."""
        depth_mm = batch["depth_mm"]
        is_multi_view = batch.get("is_multi_view", tf.ones(tf.shape(depth_mm)[:1]))
        own = tf.eye(depth_mm.shape[1])[None]
        observation = observe(
            depth_mm,
            self.spec,
            clamp_mm=self.clamp_mm,
            stride=self.stride,
            pair_weights=own + is_multi_view[:, None, None] * (1.0 - own),
        )
        return terms.TermInputs(
            spheres_mm=estimate,
            ref_from_crop=batch["ref_from_crop"],
            is_multi_view=is_multi_view,
            observation=observation,
            margin_px=self.margin_px,
            negative_elbo=self.negative_elbo,
            rng=rng,
        )
