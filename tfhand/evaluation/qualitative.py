"""Pictures of a network's best and worst estimates, from its own camera and from the others."""

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfhand.evaluation import metrics, sheets
from tfhand.evaluation.predictions import Predictions
from tfhand.geometry import rigid, views
from tfhand.hand import skeleton, spheres
from tfhand.rendering.spheres import render_depth

__all__ = [
    "Samples",
    "draw_best_and_worst",
    "draw_spread_out",
    "load_samples",
    "render_from_view",
    "render_own_views",
]


@dataclasses.dataclass(frozen=True)
class Samples:
    """A few samples of a data set.

    Attributes:
        depth_mm: float32 [n, V, S, S], mm relative to each crop's center.
        center_mm: float32 [n, V, 3], crop centers, camera frames, mm.
        ref_from_view: float32 [n, V, 4, 4].
        frame: int64 [n], frame numbers of the recording.
    """

    depth_mm: np.ndarray
    center_mm: np.ndarray
    ref_from_view: np.ndarray
    frame: np.ndarray


def load_samples(dataset: tf.data.Dataset, positions: Sequence[int]) -> Samples:
    """Reads some samples of a data set.

    Args:
        dataset: Samples as `data_prep.records.load_dataset` yields them, in a fixed order.
        positions: Positions in that order; the result has the order of these.
    """
    index = tf.constant(positions, tf.int64)
    rows = dataset.take(int(max(positions)) + 1).enumerate()
    rows = rows.filter(lambda position, _: tf.reduce_any(index == position))
    samples = {int(position): sample for position, sample in rows.as_numpy_iterator()}
    names = [field.name for field in dataclasses.fields(Samples)]
    return Samples(*(np.stack([samples[int(p)][name] for p in positions]) for name in names))


def render_own_views(spheres_mm: np.ndarray, *, image_size: int, cube_mm: float) -> np.ndarray:
    """Renders each view's estimate in that view: the denser surface interpolated from the spheres.

    Args:
        spheres_mm: float [n, V, 41, 3], crop frames, mm.
        image_size: S, pixels.
        cube_mm: Side of the crop's cube, mm.

    Returns:
        float32 [n, V, S, S], mm relative to each crop's center, background half the cube.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, tf.float32)
    centers_mm, radii_mm = spheres.dense_spheres(
        views.fold_views(spheres_mm), tf.constant(spheres.load().radii_mm)
    )
    depth_mm = render_depth(centers_mm, radii_mm, image_size=image_size, cube_mm=cube_mm)
    return views.unfold_views(depth_mm, spheres_mm.shape[1]).numpy()


def render_from_view(
    spheres_mm: np.ndarray, samples: Samples, *, source_view: int, cube_mm: float
) -> np.ndarray:
    """Renders one view's estimate in all views.

    Args:
        spheres_mm: float [n, V, 41, 3], crop frames, mm.
        samples: The samples that the estimates belong to.
        source_view: The view whose estimate is rendered.
        cube_mm: Side of the crop's cube, mm.

    Returns:
        float32 [n, V, S, S], mm relative to each crop's center, background half the cube.
    """
    motion = rigid.crop_j_from_crop_i(samples.ref_from_view, samples.center_mm)[:, source_view]
    projected_mm = rigid.apply(motion, spheres_mm[:, source_view, np.newaxis])
    return render_own_views(projected_mm, image_size=samples.depth_mm.shape[-1], cube_mm=cube_mm)


def draw_best_and_worst(
    predictions: Predictions,
    dataset: tf.data.Dataset,
    directory: str | os.PathLike,
    *,
    cube_mm: float,
    source_view: int = 0,
    count: int = 4,
) -> list[str]:
    """Draws the samples with the smallest and the largest errors in one view.

    Writes `best.png` and `worst.png` (each view's input, rendered spheres and overlay, labels in
    black, estimates in red), and `best_views.png` and `worst_views.png` (the estimate of
    `source_view` rendered from all cameras beside their depth maps, as in Figure 3 of the paper).

    Args:
        predictions: Estimates of a network for `dataset`.
        dataset: The samples, in the order of `predictions`.
        directory: Folder of the pictures.
        cube_mm: Side of the crop's cube, mm.
        source_view: The view whose error decides and whose estimate the other cameras judge.
        count: Samples a sheet.

    Returns:
        The paths written.

    Raises:
        ValueError: If nothing is labeled.
    """
    errors_mm = metrics.frame_errors_mm(predictions.errors_mm(source_view))
    best, worst = metrics.best_and_worst(errors_mm, count)
    if not len(best):
        raise ValueError(f"Expected labeled samples, found none of {len(errors_mm)}.")
    estimates = _Estimates(predictions, dataset, cube_mm, source_view)
    paths = []
    for name, positions in (("best", best), ("worst", worst)):
        if len(positions):
            title = f"{name} frames by the mean error of view {source_view + 1}"
            notes = [f"{errors_mm[p]:.1f} mm" for p in positions]
            paths += _draw(estimates, positions, os.path.join(directory, name), title, notes)
    return paths


def draw_spread_out(
    predictions: Predictions,
    dataset: tf.data.Dataset,
    directory: str | os.PathLike,
    *,
    cube_mm: float,
    source_view: int = 0,
    count: int = 8,
) -> list[str]:
    """Draws samples spread evenly over a data set, for one without labels.

    Writes `samples.png` and `samples_views.png`, with the pictures of `draw_best_and_worst`.

    Args:
        predictions: Estimates of a network for `dataset`.
        dataset: The samples, in the order of `predictions`.
        directory: Folder of the pictures.
        cube_mm: Side of the crop's cube, mm.
        source_view: The view whose estimate the other cameras judge.
        count: Samples, at most.

    Returns:
        The paths written.
    """
    last = len(predictions.spheres_mm) - 1
    positions = np.unique(np.linspace(0, last, min(count, last + 1)).astype(int))
    estimates = _Estimates(predictions, dataset, cube_mm, source_view)
    path = os.path.join(directory, "samples")
    return _draw(
        estimates, positions, path, "samples spread over the recording", [""] * len(positions)
    )


class _Estimates(NamedTuple):
    """Estimates to draw, and the view whose estimate the other cameras judge."""

    predictions: Predictions
    dataset: tf.data.Dataset
    cube_mm: float
    source_view: int


def _draw(estimates, positions, path, title, notes):
    """Draws `path.png` and `path_views.png`, with a note a sample; returns both paths."""
    predictions, dataset, cube_mm, source_view = estimates
    samples = load_samples(dataset, positions)
    spheres_mm = predictions.spheres_mm[positions]
    own_mm = render_own_views(spheres_mm, image_size=samples.depth_mm.shape[-1], cube_mm=cube_mm)
    views_mm = render_from_view(spheres_mm, samples, source_view=source_view, cube_mm=cube_mm)
    titles = [f"frame {frame}\n{note}" for frame, note in zip(samples.frame, notes)]
    mask = predictions.label_mask[positions][..., np.newaxis]
    own_path, views_path = f"{path}.png", f"{path}_views.png"
    sheets.draw_picture_sheet(
        sheets.Rows(samples.depth_mm, own_mm, cube_mm, titles),
        own_path,
        title=title,
        joints_mm=spheres_mm[:, :, skeleton.SPHERE_FROM_JOINT],
        truth_mm=np.where(mask, predictions.labels_mm[positions], np.nan),
    )
    sheets.draw_view_sheet(
        sheets.Rows(samples.depth_mm, views_mm, cube_mm, titles),
        views_path,
        title=title,
        source_view=source_view,
    )
    return [own_path, views_path]
