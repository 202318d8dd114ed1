"""Fits of any number of samples, in batches, with one shape for each subject. Not in the paper."""

import dataclasses

import numpy as np
from tqdm import tqdm

from tfhand.fitting import kinematic_fit
from tfhand.geometry import rigid
from tfhand.hand import template
from tfhand.losses import multi_view

__all__ = ["find_shapes", "fit_samples", "refine"]

_BATCH = 150
# Most and fewest samples a subject from which its shape is fitted, as far as it has them.
_SHAPE_SAMPLES = 36
_LEAST_SHAPE_SAMPLES = 12


def fit_samples(starts_mm, samples, config, shape=None):
    """Fits one hand to all views of each sample: first shapes, from some samples, then the rest.

    Without groups, every sample has a shape of its own, fitted with its pose.

    Args:
        starts_mm: float32 [n, V, 41, 3], reference frame, estimates of the hand. Fits start from
            their median, or from one of them that explains the depth clearly better.
        samples: `kinematic_fit.Samples`, n of them.
        config: `kinematic_fit.FitConfig`.
        shape: Optional float32 [G, P] to start from.

    Returns:
        `kinematic_fit.FitResult` of n samples and G shapes; without groups none.

    Raises:
        ValueError: If there are shapes to start from, but no groups.
    """
    if samples.group is None and shape is not None:
        raise ValueError("Expected groups beside shapes to start from, received None.")
    batches = _Batches(starts_mm, samples, config, shape)
    has_groups = samples.group is not None
    shape = batches.find_shape() if has_groups else batches.shape
    results = []
    starts = range(0, len(samples), batches.size)
    for start in tqdm(starts, desc="fitting hands", unit="batch"):
        rows = np.arange(start, min(start + batches.size, len(samples)))
        result = vars(batches.fit(rows, shape, not has_groups))
        results.append({k: v[: len(rows)] for k, v in result.items() if k != "shape"})
    columns = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    return kinematic_fit.FitResult(**columns, shape=shape if has_groups else shape[:0])


def find_shapes(starts_mm, samples, config):
    """Finds the shape of each subject from some of its samples.

    Args:
        starts_mm: float32 [n, V, 41, 3], reference frame, estimates of the hand. Fits start from
            their median, or from one of them that explains the depth clearly better.
        samples: `kinematic_fit.Samples` with groups, n of them.
        config: `kinematic_fit.FitConfig`.

    Returns:
        float32 [G, P].
    """
    return _Batches(starts_mm, samples, config, None).find_shape()


def refine(spheres_mm, samples, config):
    """Replaces estimates of a network by hands fitted to the depth, which start from them.

    Args:
        spheres_mm: float32 [n, V, 41, 3], estimates in the crop frames.
        samples: `kinematic_fit.Samples`, n of them.
        config: `kinematic_fit.FitConfig`.

    Returns:
        float32 [n, V, 41, 3], crop frames; estimates stay where a fit does not explain the depth
        better.
    """
    ref_from_crop = samples.ref_from_crop
    starts = rigid.apply(ref_from_crop, spheres_mm).numpy()
    fits = fit_samples(starts, samples, config)
    in_views = rigid.apply(rigid.inverse(ref_from_crop), fits.spheres_mm[:, None]).numpy()
    return np.where(fits.is_better[:, None, None, None], in_views, spheres_mm)


class _Batches:
    """Batches of one size of some samples, all fitted by one `kinematic_fit.Fitter`.

    Attributes:
        size: Samples a batch.
        shape: float32 [G, P] to start from; without groups one for every place in a batch.
    """

    def __init__(self, starts_mm, samples, config, shape):
        self._estimate_mm = multi_view.median_over_views(starts_mm).numpy()
        # One estimate alone is its own median.
        self._starts_mm = starts_mm if starts_mm.shape[1] > 1 else None
        self._samples = samples
        self.size = min(_BATCH, max(len(samples), 1))
        if shape is None:
            num_groups = self.size if samples.group is None else int(samples.group.max()) + 1
            shape = np.zeros([num_groups, len(template.SHAPE_NAMES)])
        self.shape = np.asarray(shape, np.float32)
        num_views = samples.depth_mm.shape[1]
        self._fitter = kinematic_fit.compiled_fitter(
            self.size, num_views, len(self.shape), samples.spec, config
        )

    def fit(self, rows, shape, fit_shape):
        samples = self._samples
        # Every batch has the same size: the last one is filled up with its first samples.
        rows = np.resize(rows, self.size)
        batch = dataclasses.replace(
            samples,
            depth_mm=samples.depth_mm[rows],
            ref_from_crop=samples.ref_from_crop[rows],
            group=np.arange(self.size) if samples.group is None else samples.group[rows],
        )
        starts = None if self._starts_mm is None else self._starts_mm[rows]
        return self._fitter.fit(self._estimate_mm[rows], batch, shape, fit_shape, starts)

    def find_shape(self):
        """Returns the shape of each subject, fitted to some samples of each."""
        group, shape = self._samples.group, self.shape.copy()
        subjects = np.unique(group)
        together = max(self.size // _LEAST_SHAPE_SAMPLES, 1)
        for first in range(0, len(subjects), together):
            some = subjects[first : first + together]
            count = min(_SHAPE_SAMPLES, self.size // len(some))
            rows = [_evenly(np.flatnonzero(group == g), count) for g in some]
            # The shapes of other subjects are fitted to nothing.
            shape[some] = self.fit(np.concatenate(rows), self.shape, True).shape[some]
        return shape


def _evenly(rows, count):
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
