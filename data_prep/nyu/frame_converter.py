"""Converts a frame of a recording in NYU's layout to records: centers, crops, annotation."""

import dataclasses

import numpy as np

from data_prep.nyu import calibration, frame_crops, recording_files
from data_prep.nyu.recording_files import UnusableFrame
from data_prep.records import dataset_info
from data_prep.records.shards import EncodedFrame, encode_frame
from tfhand.geometry import crop
from tfhand.hand import skeleton

__all__ = ["FrameConverter", "mirror_sample"]


@dataclasses.dataclass(frozen=True)
class FrameConverter:
    """Converts frames to one sample of all views, or one a view if the cameras are not calibrated.

    Attributes:
        split: `recording_files.NyuSplit`.
        cameras: `calibration.Calibration` with intrinsics.
        spec: Size of the crops.
        center: "depth" or "annotation" (at PALM_3); of no meaning with `centers_mm`.
        subject_starts: First frame of each subject, ascending.
        centers_mm: float `[n, 3]` or None: the center of frame i + 1 in the first view's camera
            frame, NaN where there is none.
        is_left: Whether left hands are seen; samples are mirrored to right ones.
    """

    split: recording_files.NyuSplit
    cameras: calibration.Calibration
    spec: crop.CropSpec
    center: str
    subject_starts: tuple[int, ...]
    centers_mm: np.ndarray | None = None
    is_left: bool = False

    @property
    def num_views(self) -> int:
        """Views of a sample."""
        return recording_files.NUM_VIEWS if self.cameras.is_calibrated else 1

    def __call__(self, frame: int) -> EncodedFrame:
        """Converts one frame.

        Args:
            frame: Its number, from 1.

        Returns:
            `shards.EncodedFrame`.
        """
        convert = self._convert_views if self.cameras.is_calibrated else self._convert_single_views
        try:
            pictures, layout = recording_files.read_pictures(self.split, frame)
            samples, notes, values = convert(frame, pictures, layout)
        except UnusableFrame as problem:
            return EncodedFrame(frame, problem=str(problem))
        if self.is_left:
            samples = [mirror_sample(sample, layout.width) for sample in samples]
        return encode_frame(samples, self.spec, self.num_views, notes, values)

    def _convert_views(self, frame, pictures, layout):
        """Returns one sample in a list, notes, and values by name."""
        joints_mm = self.split.joints_of(frame)
        intrinsics, ref_from_view = self.cameras.intrinsics, self.cameras.ref_from_view
        values = {}
        if self.centers_mm is None and self.center == "depth":
            hand = frame_crops.crop_at_hand(
                pictures, layout, intrinsics, ref_from_view, self.spec, self.is_left
            )
            if hand.problem:
                raise UnusableFrame(hand.problem)
            if hand.has_hand.sum() > 1:
                away_mm = np.linalg.norm(hand.own_center_mm - hand.center_mm, axis=-1)
                values["center_disagreement_mm"] = away_mm[hand.has_hand].mean()
            crops_mm, center_mm = hand.crops_mm, hand.center_mm
            own = {"own_depth_mm": hand.own_crops_mm, "own_center_mm": hand.own_center_mm}
        else:
            own = {}
            center_mm = self._read_center(frame, joints_mm)
            crops_mm = frame_crops.crop_at(pictures, layout, intrinsics, center_mm, self.spec)
        sample = self._sample(frame, crops_mm, center_mm, intrinsics, ref_from_view) | own
        notes = self._annotate(sample, joints_mm)
        if joints_mm is not None:
            palm_mm = joints_mm[:, skeleton.joint_index("PALM_3")]
            distance_mm = np.linalg.norm(center_mm - palm_mm, axis=-1).mean()
            if np.isfinite(distance_mm):
                values["center_to_palm_mm"] = distance_mm
        return [sample], notes, values

    def _convert_single_views(self, frame, pictures, layout):
        """Converts a frame to a sample for each view that shows a hand."""
        intrinsics = self.cameras.intrinsics
        center_mm, has_hand = frame_crops.find_each(pictures, layout, intrinsics, self.is_left)
        if not has_hand.any():
            raise UnusableFrame(dataset_info.NO_HAND)
        crops_mm = frame_crops.crop_at(pictures, layout, intrinsics, center_mm, self.spec)
        joints_mm = self.split.joints_of(frame)
        samples, notes = [], set() if has_hand.all() else {"a view shows no hand"}
        for view in np.flatnonzero(has_hand):
            one = slice(view, view + 1)
            samples.append(
                self._sample(frame, crops_mm[one], center_mm[one], intrinsics[one], np.eye(4)[None])
            )
            of_view = None if joints_mm is None else joints_mm[one]
            notes.update(self._annotate(samples[-1], of_view))
        return samples, sorted(notes), {}

    def _sample(self, frame, depth_mm, center_mm, intrinsics, ref_from_view):
        subject = int(np.searchsorted(self.subject_starts, frame, side="right"))
        return {
            "depth_mm": depth_mm,
            "center_mm": center_mm,
            "intrinsics": intrinsics,
            "ref_from_view": ref_from_view,
            "subject": f"{self.split.name}-{subject}",
            "frame": frame,
        }

    def _annotate(self, sample, joints_mm):
        """Adds joints `[V, 36, 3]`, NaN where not annotated, or None; returns notes about them."""
        if joints_mm is None:
            return ["no annotation"]
        is_annotated = np.isfinite(joints_mm).all(axis=-1)
        sample["joint_mask"] = is_annotated
        sample["joints_mm"] = np.where(is_annotated[..., None], joints_mm, 0.0)
        offset_mm = np.abs(joints_mm - sample["center_mm"][:, None])
        is_inside = (offset_mm <= self.spec.far_mm).all(axis=-1)
        notes = [] if is_annotated.all() else ["some joints are not annotated"]
        if (is_annotated & ~is_inside).any():
            notes.append("a joint lies outside of a crop")
        return notes

    def _read_center(self, frame, joints_mm):
        """Returns the center `[V, 3]`, camera frames, from the file or the annotation."""
        if self.centers_mm is None:
            palm_mm = None if joints_mm is None else joints_mm[:, skeleton.joint_index("PALM_3")]
            if palm_mm is None or not np.isfinite(palm_mm).all():
                raise UnusableFrame("PALM_3 is not annotated")
            return palm_mm
        if frame > len(self.centers_mm) or not np.isfinite(self.centers_mm[frame - 1]).all():
            raise UnusableFrame("the file of centers has none")
        ref_from_view = self.cameras.ref_from_view
        in_ref = ref_from_view[0] @ np.append(self.centers_mm[frame - 1], 1.0)
        return (np.linalg.inv(ref_from_view) @ in_ref)[:, :3]


def mirror_sample(sample, width: int) -> dict:
    """Turns a sample of a left hand into one of a right hand: all x are negated.

    Args:
        sample: For `schema.check_sample`.
        width: Of the pictures, px.

    Returns:
        The sample as cameras would see it in a mirror.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    flip_transform = np.diag([-1.0, 1.0, 1.0, 1.0])
    intrinsics = np.array(sample["intrinsics"])
    intrinsics[:, 2] = width - 1 - intrinsics[:, 2]
    mirrored = {
        **sample,
        "depth_mm": sample["depth_mm"][..., ::-1],
        "center_mm": sample["center_mm"] * flip,
        "intrinsics": intrinsics,
        "ref_from_view": flip_transform @ sample["ref_from_view"] @ flip_transform,
    }
    if "own_depth_mm" in sample:
        mirrored["own_depth_mm"] = sample["own_depth_mm"][..., ::-1]
    for name in {"joints_mm", "own_center_mm"} & set(sample):
        mirrored[name] = sample[name] * flip
    return mirrored
