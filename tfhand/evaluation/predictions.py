"""What a network says about a data set, beside the labels, ready to be scored.

Letters: n samples, V views. Everything is in the crop frame of its own view (camera axes, origin
at the crop's center), mm: the error of a joint does not depend on where the origin is.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tfhand.evaluation import metrics
from tfhand.geometry import crop, views
from tfhand.hand import skeleton

__all__ = ["Predictions", "predict_dataset"]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Estimates and labels of a data set.

    Attributes:
        spheres_mm: float32 [n, V, 41, 3], estimated sphere centers, crop frames, mm.
        spread_mm: float32 [n, V, 41], spread of each sphere's heatmap, mm; large is unsure.
        labels_mm: float32 [n, V, 36, 3], labeled joints, crop frames, mm; 0 where there is none.
        label_mask: bool [n, V, 36], true where there is a label.
    """

    spheres_mm: np.ndarray
    spread_mm: np.ndarray
    labels_mm: np.ndarray
    label_mask: np.ndarray

    @property
    def joints_mm(self) -> np.ndarray:
        """The estimated 36 joints, float32 [n, V, 36, 3], crop frames, mm."""
        return self.spheres_mm[:, :, skeleton.SPHERE_FROM_JOINT]

    def errors_mm(self, view: int) -> np.ndarray:
        """Returns the errors of the 14 evaluation joints in one view, [n, 14], NaN: no label."""
        return metrics.joint_errors_mm(*self._evaluation_joints([view]))

    def score(self, view_indices: Sequence[int] | None = None) -> metrics.Scores:
        """Scores the 14 evaluation joints; each view of a sample counts as one frame.

        Args:
            view_indices: The views to score; None: all.

        Raises:
            ValueError: If there is no such view, or nothing is labeled in them.
        """
        if view_indices is None:
            view_indices = range(self.spheres_mm.shape[1])
        return metrics.score(*self._evaluation_joints(list(view_indices)))

    def _evaluation_joints(self, view_indices):
        """Returns estimates, labels and mask of the views, each with n * len(views) frames."""
        num_views = self.spheres_mm.shape[1]
        if not all(0 <= view < num_views for view in view_indices):
            raise ValueError(f"Expected views below {num_views}, received {view_indices}.")
        num_joints = len(skeleton.EVALUATION_JOINTS)
        estimates_mm = self.spheres_mm[:, view_indices][:, :, skeleton.EVALUATION_SPHERES]
        labels_mm = self.labels_mm[:, view_indices][:, :, skeleton.EVALUATION_JOINTS]
        mask = self.label_mask[:, view_indices][:, :, skeleton.EVALUATION_JOINTS]
        return (
            estimates_mm.reshape(-1, num_joints, 3),
            labels_mm.reshape(-1, num_joints, 3),
            mask.reshape(-1, num_joints),
        )


def predict_dataset(
    model: Callable[..., dict[str, tf.Tensor]],
    dataset: tf.data.Dataset,
    *,
    cube_mm: float,
    batch_size: int = 32,
    description: str = "predict",
) -> Predictions:
    """Runs the network on every view of every sample.

    Args:
        model: The inference network: normalized depth [B, S, S, 1] to a dict with "spheres_mm"
            [B, 41, 3] and "spread_mm" [B, 41].
        dataset: Samples as `data_prep.records.load_dataset` yields them, not batched.
        cube_mm: Side of the crop's cube, mm.
        batch_size: Samples a step.
        description: Shown beside the progress bar; empty: no bar.

    Raises:
        ValueError: If the data set is empty or has another image size than the model.
    """
    _check_image_size(model, dataset)

    @tf.function(reduce_retracing=True)
    def predict(depth_mm):
        num_views = depth_mm.shape[1]
        outputs = model(crop.normalize(views.fold_views(depth_mm), cube_mm), training=False)
        return {
            name: views.unfold_views(outputs[name], num_views)
            for name in ("spheres_mm", "spread_mm")
        }

    parts = []
    length = int(dataset.cardinality())
    with tqdm.tqdm(
        total=length if length >= 0 else None,
        desc=description,
        unit="sample",
        disable=not description,
    ) as progress:
        for batch in dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE):
            outputs = predict(batch["depth_mm"])
            labels_mm = batch["joints_mm"] - batch["center_mm"][:, :, tf.newaxis]
            arrays = (outputs["spheres_mm"], outputs["spread_mm"], labels_mm, batch["joint_mask"])
            parts.append([array.numpy() for array in arrays])
            progress.update(len(parts[-1][0]))
    if not parts:
        raise ValueError("Expected at least one sample to predict, received an empty data set.")
    spheres_mm, spread_mm, labels_mm, mask = (np.concatenate(arrays) for arrays in zip(*parts))
    mask = mask.astype(bool)
    labels_mm = np.where(mask[..., np.newaxis], labels_mm, 0.0).astype(np.float32)
    return Predictions(spheres_mm, spread_mm, labels_mm, mask)


def _check_image_size(model, dataset):
    shape = dataset.element_spec["depth_mm"].shape
    expected = getattr(model, "input_shape", None)
    if expected is not None and expected[1] is not None and expected[1] != shape[-1]:
        raise ValueError(
            f"Expected crops of {expected[1]} x {expected[1]} pixels as the model takes, found "
            f"records of {shape[-1]} x {shape[-1]}."
        )
