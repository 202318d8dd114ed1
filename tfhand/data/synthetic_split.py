"""Unseen synthetic samples to score on ("synth (test on synth)" of Table 1)."""

import numpy as np
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.geometry import camera
from tfhand.hand import skeleton
from tfhand.synthesis import samples

__all__ = ["synthetic_dataset"]

_SAMPLES, _BATCH = 2000, 100
# No training uses it: seeds of trainings count from 1.
_SEED = 0
# Of every crop's center; no score depends on it.
_DISTANCE_MM = 600.0


def synthetic_dataset(spec, noise, count=_SAMPLES):
    """Returns samples that are drawn as those of the initialization, in the form of records.

    Args:
        spec: `crop.CropSpec`.
        noise: As of `samples.SyntheticConfig`.
        count: Number of samples n, each of one view; a multiple of 100.

    Returns:
        `tf.data.Dataset` as of `data_prep.records.load_dataset`, one sample an element.
    """
    config = samples.SyntheticConfig(noise=noise)
    batches = [
        samples.sample_batch(
            stateless_rng.for_step(_SEED, "synthetic test", step, (0, 1), _BATCH),
            _BATCH,
            spec,
            config,
        )
        for step in range(count // _BATCH)
    ]
    depth_mm = np.concatenate([batch["depth_mm"] for batch in batches])
    spheres_mm = np.concatenate([batch["spheres_mm"] for batch in batches])
    center_mm = np.tile(np.float32([0.0, 0.0, _DISTANCE_MM]), (count, 1))
    joints_mm = spheres_mm[:, skeleton.SPHERE_FROM_JOINT] + center_mm[:, None]
    columns = {
        "depth_mm": depth_mm,
        "joints_mm": joints_mm,
        "joint_mask": np.ones(joints_mm.shape[:2], np.float32),
        "center_mm": center_mm,
        "intrinsics": np.tile(np.float32(camera.NYU_INTRINSICS), (count, 1)),
        "ref_from_view": np.tile(np.eye(4, dtype=np.float32), (count, 1, 1)),
    }
    columns = {name: column[:, None] for name, column in columns.items()}
    return tf.data.Dataset.from_tensor_slices({**columns, "frame": np.arange(count)})
