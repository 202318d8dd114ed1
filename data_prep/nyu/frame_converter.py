"""A frame of a recording in NYU's layout as samples: centers, crops, annotation."""

import dataclasses

import numpy as np

from data_prep.nyu import calibration, frame_crops, recording_files
from data_prep.records.shards import Converted
from tfhand.geometry import crop
from tfhand.hand import skeleton

__all__ = ["FrameConverter", "mirror_sample"]

# Views whose centers are on average farther than this from the one center of all do not see the
# same thing, mm.
_LARGEST_DISAGREEMENT_MM = 150.0


@dataclasses.dataclass(frozen=True)
class FrameConverter:
    """Makes samples from a frame: one of all views, or one a view if the cameras are not known.

    Attributes:
        split: `recording_files.NyuSplit`.
        cameras: `calibration.Calibration` with intrinsics.
        spec: Size of the crops.
        center: "depth" or "annotation" (at PALM_3); of no meaning with `centers_mm`.
        subject_starts: First frame of each subject, ascending.
        centers_mm: float `[n, 3]` or None: the center of frame i + 1 in the first view's camera
            frame, NaN where it is not known.
        is_left: Whether left hands are seen; samples are mirrored to right ones.
    """

    split: recording_files.NyuSplit
    cameras: calibration.Calibration
    spec: crop.CropSpec
    center: str
    subject_starts: tuple[int, ...]
    centers_mm: np.ndarray | None = None
    is_left: bool = False

    def __call__(self, frame: int) -> Converted:
        """Converts one frame.

        Args:
            frame: Its number, from 1.

        Returns:
            `shard_parts.Converted`.
        """
        pictures, layout = recording_files.read_pictures(self.split, frame)
        if pictures is None:
            return Converted(problem=layout)
        convert = self._convert_views if self.cameras.is_known else self._convert_single_views
        try:
            converted = convert(frame, pictures, layout)
        except frame_crops.DamagedPicture as error:
            return Converted(problem=str(error))
        if self.is_left:
            samples = [mirror_sample(sample, layout.width) for sample in converted.samples]
            return dataclasses.replace(converted, samples=samples)
        return converted

    def _convert_views(self, frame, pictures, layout):
        joints = self.split.joints_of(frame)
        intrinsics, ref_from_view = self.cameras.intrinsics, self.cameras.ref_from_view
        values = {}
        if self.centers_mm is None and self.center == "depth":
            hands = frame_crops.crop_at_hand(pictures, layout, intrinsics, ref_from_view, self.spec)
            if not hands.found.any():
                return Converted(problem="no hand found")
            disagreement = hands.away_mm[hands.found].mean()
            if disagreement > _LARGEST_DISAGREEMENT_MM:
                return Converted(problem="the views do not agree on where the hand is")
            if hands.found.sum() > 1:
                values["center_disagreement_mm"] = disagreement
            crops, center = hands.crops_mm, hands.center_mm
        else:
            center, problem = self._known_center(frame, joints)
            if problem:
                return Converted(problem=problem)
            crops = frame_crops.crop_at(pictures, layout, intrinsics, center, self.spec)
        sample = {
            "depth_mm": crops,
            "center_mm": center,
            "intrinsics": intrinsics,
            "ref_from_view": ref_from_view,
            "subject": self._subject(frame),
            "frame": frame,
        }
        notes = self._annotate(sample, joints)
        if joints is not None:
            palm = joints[:, skeleton.joint_index("PALM_3")]
            distance = np.linalg.norm(center - palm, axis=-1).mean()
            if np.isfinite(distance):
                values["center_to_palm_mm"] = distance
        return Converted([sample], notes=notes, values=values)

    def _annotate(self, sample, joints):
        """Adds joints `[V, 36, 3]`, NaN where unknown, or None; returns notes about them."""
        if joints is None:
            return ["no annotation"]
        known = np.isfinite(joints).all(axis=-1)
        sample["joint_mask"] = known
        sample["joints_mm"] = np.where(known[..., None], joints, 0.0)
        away = np.abs(joints - sample["center_mm"][:, None])
        inside = (away <= self.spec.far_mm).all(axis=-1)
        notes = ["some joints are not annotated"] if not known.all() else []
        return notes + (["a joint lies outside of a crop"] if (known & ~inside).any() else [])

    def _convert_single_views(self, frame, pictures, layout):
        """A sample for each view that shows a hand; without cameras they cannot be compared."""
        intrinsics = self.cameras.intrinsics
        center, found = frame_crops.find_each(pictures, layout, intrinsics)
        if not found.any():
            return Converted(problem="no hand found")
        crops = frame_crops.crop_at(pictures, layout, intrinsics, center, self.spec)
        joints = self.split.joints_of(frame)
        samples, notes = [], set() if found.all() else {"a view shows no hand"}
        for view in np.flatnonzero(found):
            one = slice(view, view + 1)
            samples.append(
                {
                    "depth_mm": crops[one],
                    "center_mm": center[one],
                    "intrinsics": intrinsics[one],
                    "ref_from_view": np.eye(4)[None],
                    "subject": self._subject(frame),
                    "frame": frame,
                }
            )
            notes.update(self._annotate(samples[-1], None if joints is None else joints[one]))
        return Converted(samples, notes=sorted(notes))

    def _known_center(self, frame, joints):
        """Returns (center `[V, 3]`, camera frames, or None; problem or None)."""
        if self.centers_mm is None:
            palm = None if joints is None else joints[:, skeleton.joint_index("PALM_3")]
            if palm is None or not np.isfinite(palm).all():
                return None, "PALM_3 is not annotated"
            return palm, None
        if frame > len(self.centers_mm) or not np.isfinite(self.centers_mm[frame - 1]).all():
            return None, "the file of centers has none"
        ref_from_view = self.cameras.ref_from_view
        in_ref = ref_from_view[0] @ np.append(self.centers_mm[frame - 1], 1.0)
        return (np.linalg.inv(ref_from_view) @ in_ref)[:, :3], None

    def _subject(self, frame):
        number = int(np.searchsorted(self.subject_starts, frame, side="right"))
        return f"{self.split.name}-{number}"


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
    if "joints_mm" in sample:
        mirrored["joints_mm"] = sample["joints_mm"] * flip
    return mirrored
