"""Random samples, written as records and read, shared by tests."""

import numpy as np

from data_prep import records
from tfhand.geometry.crop import CropSpec

SPEC = CropSpec(image_size=16, cube_mm=300.0)


VIEWS = 3


def make_sample(frame, *, labelled=True, views=VIEWS, spec=SPEC):
    rng = np.random.default_rng(frame)
    shape = (views, spec.image_size, spec.image_size)
    depth = rng.uniform(-spec.far_mm, spec.far_mm - 0.05, size=shape)
    depth[rng.uniform(size=shape) < 0.6] = spec.far_mm
    sample = {
        "depth_mm": depth.astype(np.float32),
        "center_mm": rng.normal(size=(views, 3)) * 100 + [0, 0, 700],
        "intrinsics": rng.uniform(200, 600, size=(views, 4)),
        "ref_from_view": rng.normal(size=(views, 4, 4)),
        "subject": f"s{frame % 2}",
        "frame": 1000 + frame,
    }
    if labelled:
        sample["joints_mm"] = rng.normal(size=(views, 36, 3)) * 50 + [0, 0, 700]
        sample["joint_mask"] = rng.uniform(size=(views, 36)) < 0.8
    return sample


def write(folder, split="train", samples=None, *, num_shards=3, spec=SPEC, views=VIEWS, **kwargs):
    if samples is None:
        samples = [make_sample(frame, spec=spec, views=views) for frame in range(7)]
    plan = records.SplitPlan(folder, split, num_shards, "test", spec, views, **kwargs)
    with records.ShardWriter(plan) as writer:
        for sample in samples:
            writer.write(sample)
    return writer


def load(folder, split="train", **kwargs):
    return list(records.load_dataset(folder, split, **kwargs).as_numpy_iterator())
