"""Sequences of the embedded recording: one a person, each rendered by itself.

A sequence has its own seed, so it can be rendered alone, and a batch of it without those before.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.synthetic import motion, rendering
from tfhand.hand import surface

__all__ = ["BATCH", "SUBJECTS", "HandSequence", "SequenceRenderer", "plan_sequences"]

SUBJECTS = {"train": 4, "test": 2}
# Frames that are rendered at once.
BATCH = 12


@dataclasses.dataclass(frozen=True)
class HandSequence:
    """One person's part of a split.

    Attributes:
        name: Name of the person.
        seed: Seed of person, motion and faults.
        first_frame: Number of the first frame in the split.
        num_frames: Number of frames.
        view_from_ref: float32 [V, 4, 4].
    """

    name: str
    seed: np.random.SeedSequence
    first_frame: int
    num_frames: int
    view_from_ref: np.ndarray

    @property
    def batch_starts(self):
        """First frame of every batch, counted from that of the sequence."""
        return range(0, self.num_frames, BATCH)


def plan_sequences(num_samples, test_share, seed):
    """Places the cameras and distributes the frames.

    Args:
        num_samples: Frames of both splits together.
        test_share: Share of the test split.
        seed: Seed of everything that is drawn.

    Returns:
        Dict of split to its list of `HandSequence`, in order.
    """
    root = np.random.default_rng(seed)
    cameras = motion.place_cameras(root)
    num_test = max(round(num_samples * test_share), SUBJECTS["test"])
    planned = {}
    for split, count in (("train", num_samples - num_test), ("test", num_test)):
        seeds = root.bit_generator.seed_seq.spawn(SUBJECTS[split])
        ends = np.linspace(0, count, SUBJECTS[split] + 1).astype(int).tolist()
        planned[split] = [
            HandSequence(f"{split}-{i}", seeds[i], ends[i], ends[i + 1] - ends[i], cameras)
            for i in range(SUBJECTS[split])
        ]
    return planned


class SequenceRenderer:
    """Renders any batch of a sequence, with the noise that it has after all batches before it.

    Args:
        sequence: `HandSequence`.
        spec: `crop.CropSpec`.
        noise: `tf.random.Generator`, for one renderer at a time. One for all: a new one would have
            the graphs traced again.
    """

    def __init__(self, sequence, spec, noise):
        rng = np.random.default_rng(sequence.seed)
        self._sequence = sequence
        self._shape, skin = rendering.sample_subject(rng)
        self._motion = motion.sample_motion(rng, sequence.num_frames)
        self._features = tf.constant(surface.skinning_features(skin))
        self._spec = spec
        self._noise = noise
        noise.reset_from_seed(int(rng.integers(2**31)))
        self._first_noise = noise.state.numpy()
        # By how much a batch, whichever it is, moves the generator's counter on.
        self._noise_step = np.zeros_like(self._first_noise)

    def render(self, start):
        """Renders the batch at one of `HandSequence.batch_starts`; returns a list of samples."""
        if start and not self._noise_step.any():
            self._render(0)
        batch = self._render(start)
        count = min(BATCH, self._sequence.num_frames - start)
        return [self._sample(batch, i, start + i) for i in range(count)]

    def _render(self, start):
        noise_before = self._first_noise + start // BATCH * self._noise_step
        self._noise.reset(noise_before)
        # The last batch is filled up with its last frame, so that shapes stay the same.
        frames = np.minimum(np.arange(start, start + BATCH), self._sequence.num_frames - 1)
        points, joints_mm = rendering.pose_hand(
            self._features,
            self._motion.angles[frames],
            np.tile(self._shape, (BATCH, 1)),
            self._motion.camera_from_hand[frames],
            self._motion.position_mm[frames],
        )
        view_from_ref = tf.constant(self._sequence.view_from_ref)
        batch = rendering.render_crops(points, joints_mm, view_from_ref, self._noise, self._spec)
        self._noise_step = self._noise.state.numpy() - noise_before
        return {name: value.numpy() for name, value in batch.items()}

    def _sample(self, batch, index, frame):
        sample = {name: value[index] for name, value in batch.items()}
        return {
            **sample,
            "joint_mask": np.ones(sample["joints_mm"].shape[:2], np.int64),
            "subject": self._sequence.name,
            "frame": self._sequence.first_frame + frame,
        }
