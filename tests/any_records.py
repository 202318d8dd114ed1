"""Records for tests to which it does not matter what is in them."""

import numpy as np

from data_prep import records
from tfhand.geometry import crop

__all__ = ["write"]


def write(path, image_size):
    """Writes two splits, `train` and `test`, of four samples of noise without labels."""
    spec = crop.CropSpec(image_size)
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        plan = records.SplitPlan(path, split, 2, "noise", spec, num_views=1)
        with records.ShardWriter(plan) as writer:
            for frame in range(1, 5):
                depth_mm = rng.uniform(-100.0, 100.0, (1, image_size, image_size))
                sample = {
                    "depth_mm": depth_mm.astype(np.float32),
                    "center_mm": [[0.0, 0.0, 700.0]],
                    "intrinsics": [[588.0, 588.0, 320.0, 240.0]],
                    "ref_from_view": np.eye(4)[None],
                    "subject": "s",
                    "frame": frame,
                }
                writer.write(sample)
