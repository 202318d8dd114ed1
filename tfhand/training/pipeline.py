"""Input pipelines: synthetic samples made on the fly, recorded samples from records."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.geometry import rigid
from tfhand.hand import skeleton
from tfhand.synthesis import samples
from tfhand.training import streams

__all__ = [
    "RecordedSamples",
    "known_poses",
    "label_targets",
    "name_sample",
    "read_recording",
    "recorded_batches",
    "synthetic_batches",
    "targets_in_views",
]


@dataclasses.dataclass(frozen=True)
class RecordedSamples:
    """A split of a recording in memory, NumPy.

    Attributes:
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        joints_mm: float32 [n, V, 36, 3], crop frames; only for scoring and for training with
            labels.
        joint_mask: float32 [n, V, 36].
        group: int [n], samples of one subject share a number from 0.
        frame: int64 [n].
        subjects: Names of the groups.
    """

    depth_mm: np.ndarray
    ref_from_crop: np.ndarray
    joints_mm: np.ndarray
    joint_mask: np.ndarray
    group: np.ndarray
    frame: np.ndarray
    subjects: tuple[str, ...] = ()

    def __len__(self):
        return len(self.depth_mm)

    @property
    def num_views(self):
        """V."""
        return self.depth_mm.shape[1]


def read_recording(dataset):
    """Reads a split.

    Args:
        dataset: `tf.data.Dataset` of `data_prep.records.load_dataset`, one sample an element.

    Returns:
        `RecordedSamples`.

    Raises:
        ValueError: If there is no sample.
    """
    rows = list(dataset.as_numpy_iterator())
    if not rows:
        raise ValueError("Expected at least one recorded sample, found none.")

    def column(name, dtype=np.float32):
        return np.stack([row[name] for row in rows]).astype(dtype)

    centers = column("center_mm")
    subjects = [row["subject"] for row in rows]
    names = sorted(set(subjects))
    mask = column("joint_mask")
    return RecordedSamples(
        depth_mm=column("depth_mm"),
        ref_from_crop=rigid.ref_from_crop(column("ref_from_view"), centers).numpy(),
        joints_mm=(column("joints_mm") - centers[:, :, None]) * mask[..., None],
        joint_mask=mask,
        group=np.array([names.index(subject) for subject in subjects]),
        frame=column("frame", np.int64),
        subjects=tuple(_text(name) for name in names),
    )


def targets_in_views(spheres_ref_mm, ref_from_crop):
    """Moves spheres from the reference frame to every view's crop frame.

    Args:
        spheres_ref_mm: float32 [n, 41, 3].
        ref_from_crop: float32 [n, V, 4, 4].

    Returns:
        float32 [n, V, 41, 3].
    """
    return rigid.apply(rigid.inverse(ref_from_crop), spheres_ref_mm[:, None]).numpy()


def known_poses(angles, ref_from_hand, ref_from_crop, share):
    """Poses and viewpoints of fitted hands, to draw synthetic hands near.

    Args:
        angles: float32 [n, 23], radians.
        ref_from_hand: float32 [n, 3, 3], rotation.
        ref_from_crop: float32 [n, V, 4, 4].
        share: Share of the synthetic samples that are drawn near them.

    Returns:
        `samples.KnownPoses`.
    """
    crop_from_ref = np.swapaxes(ref_from_crop[..., :3, :3], -1, -2)
    return samples.KnownPoses(angles, crop_from_ref @ ref_from_hand[:, None], share)


def label_targets(recording):
    """Targets from labels, for training with supervision.

    Args:
        recording: `RecordedSamples`.

    Returns:
        (target_mm [n, V, 41, 3], target_mask [n, V, 41]); spheres that are no joint have mask 0.
    """
    shape = recording.joints_mm.shape[:2] + (len(skeleton.SPHERE_NAMES),)
    target, mask = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    target[:, :, skeleton.SPHERE_FROM_JOINT] = recording.joints_mm
    mask[:, :, skeleton.SPHERE_FROM_JOINT] = recording.joint_mask
    return target, mask


def synthetic_batches(spec, batch_size, config, seed, known=None):
    """Labeled synthetic samples of each step.

    Args:
        spec: `crop.CropSpec`.
        batch_size: Samples a batch.
        config: `samples.SyntheticConfig`.
        seed: Seed of the stream.
        known: Optional `samples.KnownPoses` to draw near.

    Returns:
        Function from a step's number and a part of the batch, as in `streams.Draws`, to what
        `samples.sample_batch` returns. Only that part is made.
    """

    def batch(step, part=(0, 1)):
        size = batch_size // part[1]
        rng = streams.for_step(seed, "synthetic samples", step, part, size)
        return samples.sample_batch(rng, size, spec, config, known)

    return batch


def recorded_batches(recording, target_mm, target_mask, batch_size, seed):
    """Shuffled batches of recorded samples with their targets, of each step.

    Args:
        recording: `RecordedSamples`.
        target_mm: float32 [n, V, 41, 3], crop frames; zeros where there is no target.
        target_mask: float32 [n, V, 41].
        batch_size: Samples a batch; a smaller recording is repeated to fill it.
        seed: Seed of the order.

    Returns:
        Function from a step's number and a part of the batch, as in `streams.Draws`, to a dict for
        `objectives.RecordedObjective`.
    """
    columns = {
        "depth_mm": recording.depth_mm,
        "ref_from_crop": recording.ref_from_crop,
        "target_mm": target_mm,
        "target_mask": target_mask,
    }
    columns = {name: tf.constant(column) for name, column in columns.items()}

    def batch(step, part=(0, 1)):
        rows = streams.shuffled_rows(seed, step, batch_size, len(recording))
        index, count = part
        rows = tf.reshape(rows, [count, batch_size // count])[index]
        return {name: tf.gather(column, rows) for name, column in columns.items()}

    return batch


def name_sample(recording, batch_size, seed, step, row):
    """Says which recorded sample a batch of `recorded_batches` has in a row.

    Args:
        recording: `RecordedSamples`.
        batch_size: As for `recorded_batches`.
        seed: As for `recorded_batches`.
        step: Number of the batch.
        row: Row of the batch.

    Returns:
        Its subject and frame.
    """
    sample = int(streams.shuffled_rows(seed, step, batch_size, len(recording))[row])
    group = int(recording.group[sample])
    subject = recording.subjects[group] if recording.subjects else group
    return f"sample {sample} of the recording (subject {subject}, frame {recording.frame[sample]})"


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)
