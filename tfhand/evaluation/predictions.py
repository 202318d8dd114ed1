"""Estimates of a network for a data set, beside the labels.

Letters: n samples, V views. Everything is in the crop frame of its own view (camera axes, origin
at the crop's center), mm: the error of a joint does not depend on where the origin is.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tfhand.evaluation import metrics
from tfhand.geometry import camera, crop, views
from tfhand.hand import skeleton

__all__ = ["Predictions", "predict_dataset"]

# Values of a batch and of the network's outputs that predictions consist of.
_NAMES = (
    "spheres_mm", "spread_mm", "joints_mm", "joint_mask", "center_mm", "intrinsics", "frame",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Estimates and labels of a data set.

    Attributes:
        spheres_mm: float32 [n, V, 41, 3], estimated sphere centers, crop frames, mm.
        spread_mm: float32 [n, V, 41], spread of each sphere's heatmap, mm; large means unsure.
        labels_mm: float32 [n, V, 36, 3], labeled joints, crop frames, mm; 0 where there is none.
        label_mask: bool [n, V, 36], true where there is a label.
        center_mm: float32 [n, V, 3], the crops' centers, camera frames.
        intrinsics: float32 [n, V, 4], (fx, fy, cx, cy) in px.
        frames: int64 [n], frame numbers in the source.
    """

    spheres_mm: np.ndarray
    spread_mm: np.ndarray
    labels_mm: np.ndarray
    label_mask: np.ndarray
    center_mm: np.ndarray
    intrinsics: np.ndarray
    frames: np.ndarray

    @property
    def joints_mm(self) -> np.ndarray:
        """The estimated 36 joints, float32 [n, V, 36, 3], crop frames, mm."""
        return self.spheres_mm[:, :, skeleton.SPHERE_FROM_JOINT]

    def errors_mm(self, view: int) -> np.ndarray:
        """Returns the errors of the 14 evaluation joints in one view, [n, 14], NaN: no label."""
        return metrics.joint_errors_mm(*self._evaluation_joints([view]))

    def joints_uvd(self, view: int) -> np.ndarray:
        """Returns the 14 evaluation joints in a camera's picture, [n, 14, 3]: px, px, mm."""
        self._check_views([view])
        joints_mm = self.spheres_mm[:, view, skeleton.EVALUATION_SPHERES]
        joints_mm = joints_mm + self.center_mm[:, view, np.newaxis]
        return camera.project(joints_mm, self.intrinsics[:, view]).numpy()

    def score(
        self, view_indices: Sequence[int] | None = None, num_missed: int = 0
    ) -> metrics.Scores:
        """Scores the 14 evaluation joints; each view of a sample counts as one frame.

        Args:
            view_indices: The views to score; None: all.
            num_missed: Samples that are not there since the hand was not found. Views without a
                center count as missed too.

        Raises:
            ValueError: If there is no such view, or nothing is labeled in them.
        """
        if view_indices is None:
            view_indices = range(self.spheres_mm.shape[1])
        view_indices = list(view_indices)
        joints = self._evaluation_joints(view_indices)
        has_center = self.center_mm[:, view_indices, 2].reshape(-1) > 0.0
        num_missed = len(view_indices) * num_missed
        num_missed += int((~has_center & joints[-1].any(axis=1)).sum())
        return metrics.score(*(values[has_center] for values in joints), num_missed=num_missed)

    def _evaluation_joints(self, view_indices):
        """Returns estimates, labels and mask of the views, each with n * len(views) frames."""
        self._check_views(view_indices)
        num_joints = len(skeleton.EVALUATION_JOINTS)
        estimates_mm = self.spheres_mm[:, view_indices][:, :, skeleton.EVALUATION_SPHERES]
        labels_mm = self.labels_mm[:, view_indices][:, :, skeleton.EVALUATION_JOINTS]
        mask = self.label_mask[:, view_indices][:, :, skeleton.EVALUATION_JOINTS]
        return (
            estimates_mm.reshape(-1, num_joints, 3),
            labels_mm.reshape(-1, num_joints, 3),
            mask.reshape(-1, num_joints),
        )

    def _check_views(self, view_indices):
        num_views = self.spheres_mm.shape[1]
        if not all(0 <= view < num_views for view in view_indices):
            raise ValueError(f"Expected views below {num_views}, received {view_indices}.")


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

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(depth_mm):
        num_views = depth_mm.shape[1]
        outputs = model(crop.normalize(views.fold_views(depth_mm), cube_mm), training=False)
        return {
            name: views.unfold_views(outputs[name], num_views)
            for name in ("spheres_mm", "spread_mm")
        }

    parts = []
    length = int(dataset.cardinality())
    total = length if length >= 0 else None
    with tqdm.tqdm(
        total=total, desc=description, unit="sample", disable=not description
    ) as progress:
        for batch in dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE):
            values = {**predict(batch["depth_mm"]), **batch}
            parts.append({name: values[name].numpy() for name in _NAMES})
            progress.update(len(parts[-1]["frame"]))
    if not parts:
        raise ValueError("Expected at least one sample to predict, received an empty data set.")
    values = {name: np.concatenate([part[name] for part in parts]) for name in _NAMES}
    mask = values["joint_mask"].astype(bool)
    labels_mm = values["joints_mm"] - values["center_mm"][:, :, np.newaxis]
    return Predictions(
        spheres_mm=values["spheres_mm"],
        spread_mm=values["spread_mm"],
        labels_mm=np.where(mask[..., np.newaxis], labels_mm, 0.0).astype(np.float32),
        label_mask=mask,
        center_mm=values["center_mm"],
        intrinsics=values["intrinsics"],
        frames=values["frame"],
    )


def _check_image_size(model, dataset):
    shape = dataset.element_spec["depth_mm"].shape
    expected = getattr(model, "input_shape", None)
    if expected is not None and expected[1] is not None and expected[1] != shape[-1]:
        raise ValueError(
            f"Expected crops of {expected[1]} x {expected[1]} pixels as the model takes, found "
            f"records of {shape[-1]} x {shape[-1]}."
        )
