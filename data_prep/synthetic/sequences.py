"""Who is in the embedded recording, and for how long: every person's part, by itself.

A take has its own seed, so it can be played by itself, and a batch of it without those before.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.synthetic import motion, rendering
from tfhand.hand import surface

__all__ = ["BATCH", "SUBJECTS", "Renderer", "Take", "plan_takes"]

SUBJECTS = {"train": 4, "test": 2}
# Frames that are rendered at once.
BATCH = 12


@dataclasses.dataclass(frozen=True)
class Take:
    """One person's part of a split.

    Attributes:
        name: Of the person.
        seed: Of person, motion and faults.
        first_frame: Number of the first frame in the split.
        num_frames: How many there are.
        view_from_ref: float32 [V, 4, 4].
    """

    name: str
    seed: np.random.SeedSequence
    first_frame: int
    num_frames: int
    view_from_ref: np.ndarray

    @property
    def starts(self):
        """The first frame of every batch, counted from that of the take."""
        return range(0, self.num_frames, BATCH)


def plan_takes(num_samples, test_share, seed):
    """Places the cameras and shares out the frames.

    Args:
        num_samples: Frames of both splits together.
        test_share: Share of the test split.
        seed: Of everything that is drawn.

    Returns:
        Dict of split to its takes, in order.
    """
    root = np.random.default_rng(seed)
    cameras = motion.place_cameras(root)
    num_test = max(round(num_samples * test_share), SUBJECTS["test"])
    takes = {}
    for split, count in (("train", num_samples - num_test), ("test", num_test)):
        seeds = root.bit_generator.seed_seq.spawn(SUBJECTS[split])
        ends = np.linspace(0, count, SUBJECTS[split] + 1).astype(int).tolist()
        takes[split] = [
            Take(f"{split}-{i}", seeds[i], ends[i], ends[i + 1] - ends[i], cameras)
            for i in range(SUBJECTS[split])
        ]
    return takes


class Renderer:
    """Renders any batch of a take, as it would be if all before it had been rendered too.

    Args:
        take: `Take`.
        spec: `crop.CropSpec`.
        noise: `tf.random.Generator`, for one renderer at a time. One for all: a new one would have
            the graphs traced again.
    """

    def __init__(self, take, spec, noise):
        rng = np.random.default_rng(take.seed)
        self._take = take
        self._subject = rendering.sample_subject(rng, take.name)
        self._recording = motion.make_recording(rng, take.num_frames, take.view_from_ref)
        self._features = tf.constant(surface.skinning_features(self._subject.skin))
        self._spec = spec
        self._noise = noise
        noise.reset_from_seed(int(rng.integers(2**31)))
        self._first_noise = noise.state.numpy()
        # By how much a batch, whichever it is, moves the generator's counter on.
        self._noise_step = np.zeros_like(self._first_noise)

    def render(self, start):
        """Renders the batch that starts at a frame of the take.

        Args:
            start: One of `take.starts`.

        Returns:
            List of what `records.ShardWriter.write` takes, one a sample.
        """
        if start and not self._noise_step.any():
            self._render(0)
        batch = self._render(start)
        count = min(BATCH, self._take.num_frames - start)
        return [self._sample(batch, i, start + i) for i in range(count)]

    def _render(self, start):
        before = self._first_noise + start // BATCH * self._noise_step
        self._noise.reset(before)
        # The last batch is filled up with its last frame, so that shapes stay the same.
        part = np.minimum(np.arange(start, start + BATCH), self._take.num_frames - 1)
        points, joints = rendering.pose_hand(
            self._features,
            self._recording.angles[part],
            np.tile(self._subject.shape, (BATCH, 1)),
            self._recording.camera_from_hand[part],
            self._recording.position_mm[part],
        )
        view_from_ref = tf.constant(self._take.view_from_ref)
        batch = rendering.film(points, joints, view_from_ref, self._noise, self._spec)
        self._noise_step = self._noise.state.numpy() - before
        return {name: value.numpy() for name, value in batch.items()}

    def _sample(self, batch, index, frame):
        sample = {name: value[index] for name, value in batch.items()}
        return {
            **sample,
            "joint_mask": np.ones(sample["joints_mm"].shape[:2], np.int64),
            "subject": self._take.name,
            "frame": self._take.first_frame + frame,
        }
