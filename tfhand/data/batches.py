"""Batches of each step: synthetic samples made on the fly, and those of a recording."""

import numpy as np
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.geometry import rigid
from tfhand.hand import skeleton
from tfhand.synthesis import samples

__all__ = [
    "label_targets",
    "recorded_batches",
    "synthetic_batches",
    "targets_in_views",
]


def targets_in_views(spheres_ref_mm, ref_from_crop):
    """Moves spheres from the reference frame to every view's crop frame.

    Args:
        spheres_ref_mm: float32 [n, 41, 3].
        ref_from_crop: float32 [n, V, 4, 4].

    Returns:
        float32 [n, V, 41, 3].
    """
    return rigid.apply(rigid.inverse(ref_from_crop), spheres_ref_mm[:, None]).numpy()


def label_targets(recording):
    """Targets from labels, for training with supervision.

    Args:
        recording: `recordings.RecordedSamples`.

    Returns:
        (target_mm [n, V, 41, 3], target_mask [n, V, 41]); spheres that are no joint have mask 0.
    """
    shape = recording.joints_mm.shape[:2] + (len(skeleton.SPHERE_NAMES),)
    target, mask = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    target[:, :, skeleton.SPHERE_FROM_JOINT] = recording.joints_mm
    mask[:, :, skeleton.SPHERE_FROM_JOINT] = recording.joint_mask
    return target, mask


def synthetic_batches(spec, batch_size, config, seed, reference_poses=None):
    """Labeled synthetic samples of each step.

    Args:
        spec: `crop.CropSpec`.
        batch_size: Samples a batch.
        config: `samples.SyntheticConfig`.
        seed: Seed of the stream.
        reference_poses: Optional `samples.ReferencePoses` to draw near.

    Returns:
        Function from a step's number and a shard of the batch, as in `StatelessRng`, to what
        `samples.sample_batch` returns. Only that shard is made.
    """

    def batch(step, shard=(0, 1)):
        size = batch_size // shard[1]
        rng = stateless_rng.for_step(seed, "synthetic samples", step, shard, size)
        return samples.sample_batch(rng, size, spec, config, reference_poses)

    return batch


def recorded_batches(recording, target_mm, target_mask, batch_size, seed):
    """Shuffled batches of recorded samples with their targets, of each step.

    Args:
        recording: `recordings.RecordedSamples`.
        target_mm: float32 [n, V, 41, 3], crop frames; zeros where there is no target.
        target_mask: float32 [n, V, 41].
        batch_size: Samples a batch; a smaller recording is repeated to fill it.
        seed: Seed of the order.

    Returns:
        Function from a step's number and a shard of the batch, as in `StatelessRng`, to a dict for
        `objectives.RecordedObjective`.
    """
    columns = {
        "depth_mm": recording.depth_mm,
        "ref_from_crop": recording.ref_from_crop,
        "target_mm": target_mm,
        "target_mask": target_mask,
        "is_multi_view": recording.is_multi_view.astype(np.float32),
    }
    columns = {name: tf.constant(column) for name, column in columns.items()}

    def batch(step, shard=(0, 1)):
        rows = stateless_rng.shuffled_rows(seed, step, batch_size, len(recording))
        index, count = shard
        rows = tf.reshape(rows, [count, batch_size // count])[index]
        return {name: tf.gather(column, rows) for name, column in columns.items()}

    return batch
