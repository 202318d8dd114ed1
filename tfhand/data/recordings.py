"""Recorded samples in memory, with their views together or one by one."""

import dataclasses

import numpy as np

from tfhand.geometry import rigid

__all__ = ["RecordedSamples", "mix_views", "one_view_each", "read_recording", "select"]


@dataclasses.dataclass(frozen=True)
class RecordedSamples:
    """Samples of a recording, NumPy.

    Attributes:
        depth_mm: float32 [n, V, S, S], crop depth.
        ref_from_crop: float32 [n, V, 4, 4].
        joints_mm: float32 [n, V, 36, 3], crop frames; only for scoring and for training with
            labels.
        joint_mask: float32 [n, V, 36].
        group: int [n], samples of one subject share a number from 0.
        frame: int64 [n].
        is_multi_view: bool [n], whether the views of a sample teach each other. The views of any
            other sample are taken as if each had been recorded alone.
    """

    depth_mm: np.ndarray
    ref_from_crop: np.ndarray
    joints_mm: np.ndarray
    joint_mask: np.ndarray
    group: np.ndarray
    frame: np.ndarray
    is_multi_view: np.ndarray

    def __len__(self):
        return len(self.depth_mm)

    @property
    def num_views(self):
        """Number of views V."""
        return self.depth_mm.shape[1]


def read_recording(dataset):
    """Reads a split, or several.

    Args:
        dataset: `tf.data.Dataset` of `data_prep.records.load_dataset`, one sample an element.

    Returns:
        `RecordedSamples`, all views together.

    Raises:
        ValueError: If there is no sample.
    """
    names = (
        "depth_mm",
        "center_mm",
        "ref_from_view",
        "joints_mm",
        "joint_mask",
        "subject",
        "frame",
    )
    rows = list(dataset.map(lambda row: {name: row[name] for name in names}).as_numpy_iterator())
    if not rows:
        raise ValueError("Expected at least one recorded sample, found none.")

    def column(name, dtype=np.float32):
        return np.stack([row[name] for row in rows]).astype(dtype)

    centers = column("center_mm")
    subjects = [row["subject"] for row in rows]
    names = sorted(set(subjects))
    mask = column("joint_mask")
    return RecordedSamples(
        depth_mm=column("depth_mm"),
        ref_from_crop=rigid.ref_from_crop(column("ref_from_view"), centers).numpy(),
        joints_mm=(column("joints_mm") - centers[:, :, None]) * mask[..., None],
        joint_mask=mask,
        group=np.array([names.index(subject) for subject in subjects]),
        frame=column("frame", np.int64),
        is_multi_view=np.ones(len(rows), bool),
    )


def select(recording, rows):
    """Returns some of the samples.

    Args:
        recording: `RecordedSamples`.
        rows: int or bool [n], which.

    Returns:
        `RecordedSamples`; groups keep their numbers.
    """
    columns = {
        field.name: getattr(recording, field.name)[rows] for field in dataclasses.fields(recording)
    }
    return dataclasses.replace(recording, **columns)


def one_view_each(recording):
    """Returns every view as a sample of its own.

    Args:
        recording: `RecordedSamples` of n samples with V views.

    Returns:
        `RecordedSamples` of n * V samples with one view, those of a sample one after the other.
    """
    num_views = recording.num_views
    folded = {
        name: getattr(recording, name).reshape(-1, 1, *getattr(recording, name).shape[2:])
        for name in ("depth_mm", "ref_from_crop", "joints_mm", "joint_mask")
    }
    repeated = {
        name: np.repeat(getattr(recording, name), num_views)
        for name in ("group", "frame", "is_multi_view")
    }
    return dataclasses.replace(recording, **folded, **repeated)


def mix_views(recording, multi_view_share, single_view_share):
    """Leaves out samples, and takes the views of others apart ("50 % + 50 %" of Table 1).

    Args:
        recording: `RecordedSamples`.
        multi_view_share: Share of every subject's samples, the first in time, that keep their
            views together.
        single_view_share: Share of them, those that follow, whose views are taken one by one.

    Returns:
        `RecordedSamples`, in the order of the recording.

    Raises:
        ValueError: If the shares are above 1 together, or leave nothing.
    """
    if not 0.0 < multi_view_share + single_view_share <= 1.0 + 1e-6:
        raise ValueError(
            "Expected shares of multi-view and single-view samples above 0 and at most 1 together, "
            f"received {multi_view_share:g} and {single_view_share:g}."
        )
    time_share = np.zeros(len(recording))
    for group in np.unique(recording.group):
        rows = np.flatnonzero(recording.group == group)
        in_time = rows[np.argsort(recording.frame[rows], kind="stable")]
        time_share[in_time] = (np.arange(len(rows)) + 0.5) / len(rows)
    is_multi_view = recording.is_multi_view & (time_share < multi_view_share)
    is_selected = time_share < multi_view_share + single_view_share
    if not is_selected.any():
        raise ValueError(
            f"Expected shares that leave a sample of {len(recording)}, received "
            f"{multi_view_share:g} and {single_view_share:g}."
        )
    return select(dataclasses.replace(recording, is_multi_view=is_multi_view), is_selected)
