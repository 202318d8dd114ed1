"""Fits of any number of samples, in batches, with one shape for each subject. Not in the paper."""

import numpy as np
from tqdm import tqdm

from tfhand.fitting import kinematic_fit
from tfhand.geometry import rigid
from tfhand.hand import template
from tfhand.losses import multi_view

__all__ = ["find_shapes", "fit_samples", "refine"]

_BATCH = 150
# Samples a subject from which its shape is found.
_SHAPE_SAMPLES = 36


def fit_samples(estimate_mm, depth_mm, ref_from_crop, group, spec, config, shape=None):
    """Fits one hand to all views of each sample: first shapes, from some samples, then the rest.

    Without groups, every sample has a shape of its own, found with its pose.

    Args:
        estimate_mm: float32 [n, 41, 3], reference frame, from which the fits start.
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        group: int [n], samples of one subject share a number from 0; or None.
        spec: `crop.CropSpec`.
        config: `kinematic_fit.FitConfig`.
        shape: Optional float32 [G, 14] to start from.

    Returns:
        `kinematic_fit.FitResult` of n samples and G shapes; without groups none.

    Raises:
        ValueError: If there are shapes to start from, but no groups.
    """
    if group is None and shape is not None:
        raise ValueError("Expected groups beside shapes to start from, found none.")
    batches = _Batches((estimate_mm, depth_mm, ref_from_crop), group, shape, spec, config)
    shape = batches.shape if group is None else batches.find_shape()
    parts = []
    starts = range(0, len(depth_mm), batches.size)
    for start in tqdm(starts, desc="fitting hands", unit="batch"):
        rows = np.arange(start, min(start + batches.size, len(depth_mm)))
        found = vars(batches.fit(rows, shape, group is None))
        parts.append({k: v[: len(rows)] for k, v in found.items() if k != "shape"})
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return kinematic_fit.FitResult(**columns, shape=shape[:0] if group is None else shape)


def find_shapes(estimate_mm, depth_mm, ref_from_crop, group, spec, config, shape=None):
    """Finds the shape of each subject from some of its samples.

    Args:
        estimate_mm: As for `fit_samples`.
        depth_mm: As for `fit_samples`.
        ref_from_crop: As for `fit_samples`.
        group: int [n], samples of one subject share a number from 0.
        spec: As for `fit_samples`.
        config: As for `fit_samples`.
        shape: As for `fit_samples`.

    Returns:
        float32 [G, 14].
    """
    samples = (estimate_mm, depth_mm, ref_from_crop)
    return _Batches(samples, group, shape, spec, config).find_shape()


def refine(spheres_mm, depth_mm, ref_from_crop, group, spec, config, shape=None):
    """Replaces estimates of a network by hands fitted to the depth, starting from their median.

    Args:
        spheres_mm: float32 [n, V, 41, 3], estimates in the crop frames.
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        group: int [n], samples of one subject share a number from 0, and their shape; or None, as
            for `fit_samples`.
        spec: `crop.CropSpec`.
        config: `kinematic_fit.FitConfig`.
        shape: As for `fit_samples`.

    Returns:
        float32 [n, V, 41, 3], crop frames; estimates stay where a fit is not finite.

    Raises:
        ValueError: As `fit_samples`.
    """
    start = multi_view.median_over_views(rigid.apply(ref_from_crop, spheres_mm)).numpy()
    fitted = fit_samples(start, depth_mm, ref_from_crop, group, spec, config, shape).spheres_mm
    in_views = rigid.apply(rigid.inverse(ref_from_crop), fitted[:, None]).numpy()
    is_finite = np.isfinite(in_views).all(axis=(2, 3), keepdims=True)
    return np.where(is_finite, in_views, spheres_mm)


class _Batches:
    """Batches of one size of some samples, all fitted by one `kinematic_fit.Fitter`.

    Attributes:
        size: Samples a batch.
        shape: float32 [G, 14] to start from; without groups one for every place in a batch.
    """

    def __init__(self, samples, group, shape, spec, config):
        self._samples, self._group = samples, group
        _, depth_mm, _ = samples
        self.size = min(_BATCH, max(len(depth_mm), 1))
        if shape is None:
            num_groups = self.size if group is None else int(group.max()) + 1
            shape = np.zeros([num_groups, len(template.SHAPE_NAMES)])
        self.shape = np.asarray(shape, np.float32)
        self._fitter = kinematic_fit.Fitter(
            self.size, depth_mm.shape[1], len(self.shape), spec, config
        )

    def fit(self, rows, shape, fit_shape):
        # Every batch has the same size: the last one is filled up with its first samples.
        filled = np.resize(rows, self.size)
        group = np.arange(self.size) if self._group is None else self._group[filled]
        found = (values[filled] for values in self._samples)
        return self._fitter.fit(*found, group, shape, fit_shape)

    def find_shape(self):
        """Returns the shape of each subject, found from some samples of each."""
        count = max(min(_SHAPE_SAMPLES, self.size // len(self.shape)), 1)
        chosen = []
        for g in np.unique(self._group):
            members = np.flatnonzero(self._group == g)
            chosen.append(members[np.linspace(0, len(members) - 1, count).astype(int)])
        return self.fit(np.unique(np.concatenate(chosen)), self.shape, True).shape
