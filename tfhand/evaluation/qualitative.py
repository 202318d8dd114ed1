"""Pictures of a network's best and worst estimates, from its own camera and from the others."""

import dataclasses
import os
from collections.abc import Sequence

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
    """Reads the samples at the given positions of a data set.

    Args:
        dataset: Samples as `data_prep.records.load_dataset` yields them, in a fixed order.
        positions: Positions in that order; the result keeps the order given here.

    Raises:
        ValueError: If there is no position, or one beyond the end.
    """
    positions = [int(position) for position in positions]
    if not positions:
        raise ValueError("Expected at least one position, received none.")
    wanted = tf.constant(sorted(set(positions)), tf.int64)
    chosen = dataset.take(max(positions) + 1).enumerate()
    chosen = chosen.filter(lambda position, _: tf.reduce_any(wanted == position))
    found = {int(position): sample for position, sample in chosen}
    if len(found) < len(wanted):
        raise ValueError(f"Expected samples at {positions}, the data set ends before the last.")
    names = [field.name for field in dataclasses.fields(Samples)]
    return Samples(*(np.stack([found[p][name].numpy() for p in positions]) for name in names))


def render_own_views(
    spheres_mm: np.ndarray, *, image_size: int, cube_mm: float, radii_mm: np.ndarray | None = None
) -> np.ndarray:
    """Renders each view's estimate in that view.

    Args:
        spheres_mm: float [n, V, 41, 3], crop frames, mm.
        image_size: S, pixels.
        cube_mm: Side of the crop's cube, mm.
        radii_mm: float [41]; None: those of the hand model.

    Returns:
        float32 [n, V, S, S], mm relative to each crop's center, background half the cube. What is
        drawn is the denser surface interpolated from the 41 spheres.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, tf.float32)
    radii_mm = spheres.load().radii_mm if radii_mm is None else radii_mm
    centers_mm, radii_mm = spheres.dense_spheres(
        views.fold_views(spheres_mm), tf.convert_to_tensor(radii_mm, tf.float32)
    )
    depth_mm = render_depth(centers_mm, radii_mm, image_size=image_size, cube_mm=cube_mm)
    return views.unfold_views(depth_mm, spheres_mm.shape[1]).numpy()


def render_from_view(
    spheres_mm: np.ndarray,
    samples: Samples,
    *,
    source_view: int,
    cube_mm: float,
    radii_mm: np.ndarray | None = None,
) -> np.ndarray:
    """Renders one view's estimate as every camera would see it.

    Args:
        spheres_mm: float [n, V, 41, 3], crop frames, mm.
        samples: The samples that the estimates belong to.
        source_view: The view whose estimate is rendered.
        cube_mm: Side of the crop's cube, mm.
        radii_mm: float [41]; None: those of the hand model.

    Returns:
        float32 [n, V, S, S], mm relative to each crop's center, background half the cube.
    """
    motion = rigid.crop_j_from_crop_i(samples.ref_from_view, samples.center_mm)[:, source_view]
    projected_mm = rigid.apply(motion, spheres_mm[:, source_view, np.newaxis])
    return render_own_views(
        projected_mm, image_size=samples.depth_mm.shape[-1], cube_mm=cube_mm, radii_mm=radii_mm
    )


def draw_best_and_worst(
    predictions: Predictions,
    dataset: tf.data.Dataset,
    directory: str | os.PathLike,
    *,
    cube_mm: float,
    source_view: int = 0,
    count: int = 4,
    radii_mm: np.ndarray | None = None,
) -> list[str]:
    """StatelessRng the samples with the smallest and the largest errors in one view.

    Writes `best.png` and `worst.png` (each view's input, rendered spheres and overlay, labels in
    black, estimates in red), and `best_views.png` and `worst_views.png` (the estimate of
    `source_view` rendered from all cameras beside what they saw, as in Figure 3 of the paper).

    Args:
        predictions: What the network says about `dataset`.
        dataset: The samples, in the order of `predictions`.
        directory: Where the pictures go.
        cube_mm: Side of the crop's cube, mm.
        source_view: The view whose error decides and whose estimate the other cameras judge.
        count: Samples a sheet.
        radii_mm: float [41]; None: those of the hand model.

    Returns:
        The paths written.

    Raises:
        ValueError: If nothing is labeled.
    """
    errors_mm = metrics.frame_errors_mm(predictions.errors_mm(source_view))
    best, worst = metrics.best_and_worst(errors_mm, count)
    if not len(best):
        raise ValueError(f"Expected labeled samples, found none of {len(errors_mm)}.")
    paths = []
    for name, positions in (("best", best), ("worst", worst)):
        if len(positions):
            paths += _draw(
                predictions,
                dataset,
                positions,
                os.path.join(directory, name),
                notes=[f"{errors_mm[p]:.1f} mm" for p in positions],
                title=f"{name} frames by the mean error of view {source_view + 1}",
                source_view=source_view,
                size={"cube_mm": cube_mm, "radii_mm": radii_mm},
            )
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
    """StatelessRng samples spread evenly over a data set, for one without labels.

    Writes `samples.png` and `samples_views.png`, with what `draw_best_and_worst` draws.

    Args:
        predictions: What the network says about `dataset`.
        dataset: The samples, in the order of `predictions`.
        directory: Where the pictures go; made if missing.
        cube_mm: Side of the crop's cube, mm.
        source_view: The view whose estimate the other cameras judge.
        count: Samples, at most.

    Returns:
        The paths written.
    """
    os.makedirs(directory, exist_ok=True)
    last = len(predictions.spheres_mm) - 1
    positions = np.unique(np.linspace(0, last, min(count, last + 1)).astype(int))
    return _draw(
        predictions,
        dataset,
        positions,
        os.path.join(directory, "samples"),
        notes=[""] * len(positions),
        title="samples spread over the recording",
        source_view=source_view,
        size={"cube_mm": cube_mm, "radii_mm": None},
    )


def _draw(predictions, dataset, positions, path, *, notes, title, source_view, size):
    """StatelessRng `path.png` and `path_views.png`; returns both paths."""
    samples = load_samples(dataset, positions)
    spheres_mm = predictions.spheres_mm[positions]
    own_mm = render_own_views(spheres_mm, image_size=samples.depth_mm.shape[-1], **size)
    seen_mm = render_from_view(spheres_mm, samples, source_view=source_view, **size)
    options = {
        "row_titles": [f"frame {f}\n{note}" for f, note in zip(samples.frame, notes)],
        "cube_mm": size["cube_mm"],
        "title": title,
    }
    own_path, views_path = f"{path}.png", f"{path}_views.png"
    sheets.draw_picture_sheet(
        samples.depth_mm,
        own_mm,
        own_path,
        joints_mm=spheres_mm[:, :, skeleton.SPHERE_FROM_JOINT],
        truth_mm=_labels_or_nan(predictions, positions),
        **options,
    )
    sheets.draw_view_sheet(
        samples.depth_mm, seen_mm, views_path, source_view=source_view, **options
    )
    return [own_path, views_path]


def _labels_or_nan(predictions, positions):
    mask = predictions.label_mask[positions][..., np.newaxis]
    return np.where(mask, predictions.labels_mm[positions], np.nan)
