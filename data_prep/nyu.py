"""Converts a recording in the NYU hand pose data set's layout to records of three views.

    python -m data_prep.nyu --nyu_dir=DIR --output_dir=OUT

DIR holds `train` and `test` with `depth_{1,2,3}_{0000001...}.png` and, if there is annotation,
`joint_data.mat`. No label touches a crop unless `--center=annotation` says so: the hand is found
in the depth of all three views. Where the cameras stand is taken from the annotation, as the paper
does (`--calibration=annotation`, the default where there is one), from hands found in the depth
(`depth`, the default elsewhere), from a trained network's estimates (`predictions`, with
--model), or from a file. Killed, it goes on with the same command.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from data_prep import calibration, centers, nyu_cameras, nyu_source, records, split_conversion
from tfhand import commands
from tfhand.geometry import camera, crop, hand_center, rigid
from tfhand.hand import skeleton

__all__ = ["FrameConverter", "define_flags", "main"]

# Test frames of NYU from which on a second person is seen.
_NYU_TEST_FRAMES, _NYU_SECOND_SUBJECT = 8252, 2441


@tf.function(reduce_retracing=True)
def _locate(depth_mm, intrinsics, ref_from_view):
    """Finds the hand in all views of one instant: (center `[V, 3]`, camera frames; found)."""
    center, found = hand_center.find_hand_center(depth_mm, intrinsics)
    fused = hand_center.fuse_centers(center[None], found[None], ref_from_view[None])[0]
    return fused, tf.reduce_any(found)


@tf.function(reduce_retracing=True)
def _crop(depth_mm, intrinsics, center_mm, spec):
    return crop.crop_depth(depth_mm, intrinsics, center_mm, spec)


@dataclasses.dataclass(frozen=True)
class FrameConverter:
    """Makes a record's sample from a frame of a split.

    Attributes:
      split: `nyu_source.NyuSplit`.
      cameras: `calibration.Calibration` with intrinsics.
      spec: size of the crops.
      center: "depth", "annotation" (at PALM_3), or float `[n, 3]`: the center of frame i + 1 in
        the first view's camera frame, NaN where it is not known.
      subject_starts: first frame of each subject, ascending.
    """

    split: nyu_source.NyuSplit
    cameras: calibration.Calibration
    spec: crop.CropSpec
    center: object
    subject_starts: tuple[int, ...]

    def __call__(self, frame: int) -> split_conversion.Converted:
        """Converts one frame.

        Args:
          frame: its number, from 1.

        Returns:
          `split_conversion.Converted`.
        """
        depth_mm, problem = nyu_source.read_views(self.split, frame)
        if problem:
            return split_conversion.Converted(problem=problem)
        joints = self.split.joints_of(frame)
        intrinsics = tf.constant(self.cameras.intrinsics, tf.float32)
        center, problem = self._center(frame, depth_mm, intrinsics, joints)
        if problem:
            return split_conversion.Converted(problem=problem)
        crops = _crop(depth_mm, intrinsics, tf.constant(center, tf.float32), self.spec).numpy()
        sample = {
            "depth_mm": crops,
            "center_mm": center,
            "intrinsics": self.cameras.intrinsics,
            "ref_from_view": self.cameras.ref_from_view,
            "subject": self._subject(frame),
            "frame": frame,
        }
        if joints is None:
            return split_conversion.Converted(sample, counts={"frames_without_annotation": 1})
        known = np.isfinite(joints).all(axis=-1)
        sample["joint_mask"] = known
        sample["joints_mm"] = np.where(known[..., None], joints, 0.0)
        return split_conversion.Converted(
            sample,
            counts={"frames_with_unknown_joints": int(not known.all())},
            values=_distances_to_palm(center, joints),
        )

    def _center(self, frame, depth_mm, intrinsics, joints):
        """Returns (center float `[V, 3]`, camera frames, or None; problem or None)."""
        ref_from_view = self.cameras.ref_from_view
        if isinstance(self.center, str) and self.center == "depth":
            center, found = _locate(depth_mm, intrinsics, tf.constant(ref_from_view, tf.float32))
            return (center.numpy(), None) if found else (None, "no hand found")
        if isinstance(self.center, str):
            palm = None if joints is None else joints[:, skeleton.joint_index("PALM_3")]
            if palm is None or not np.isfinite(palm).all():
                return None, "PALM_3 is not annotated"
            return palm, None
        if frame > len(self.center) or not np.isfinite(self.center[frame - 1]).all():
            return None, "the file of centers has none"
        in_first = tf.constant(self.center[frame - 1], tf.float64)
        in_ref = rigid.apply(tf.constant(ref_from_view[0]), in_first[None])
        return rigid.apply(rigid.inverse(tf.constant(ref_from_view)), in_ref)[:, 0].numpy(), None

    def _subject(self, frame):
        number = int(np.searchsorted(self.subject_starts, frame, side="right"))
        return f"{self.split.name}-{number}"


def _distances_to_palm(center, joints):
    distance = np.linalg.norm(center - joints[:, skeleton.joint_index("PALM_3")], axis=-1)
    inside = np.abs(joints - center[:, None])[np.isfinite(joints).all(axis=-1)]
    values = {"largest_joint_offset_mm": inside.max()} if inside.size else {}
    if np.isfinite(distance).all():
        values["center_to_palm_mm"] = distance.mean()
    return values


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("nyu_dir", None, "Folder of the data set.", required=True, **define)
    flags.DEFINE_string("output_dir", None, "Folder for the records.", required=True, **define)
    flags.DEFINE_list("splits", ["train", "test"], "Folders to convert.", **define)
    flags.DEFINE_integer("image_size", 64, "Side of the crops, px.", 8, **define)
    flags.DEFINE_float("cube_mm", 300.0, "Side of the crops' cube, mm.", 1.0, **define)
    flags.DEFINE_string(
        "center", "depth", "depth, annotation (PALM_3), or a file of centers of view 1.", **define
    )
    flags.DEFINE_enum(
        "center_form", "xyz", centers.CENTER_FORMS, "What a file of centers holds.", **define
    )
    flags.DEFINE_string(
        "calibration",
        None,
        "annotation, depth, predictions, or a calibration file; none: annotation, or depth where "
        "there is no joint_data.mat.",
        **define,
    )
    flags.DEFINE_string("model", None, "pose.keras, for --calibration=predictions.", **define)
    flags.DEFINE_list(
        "intrinsics", list(camera.NYU_INTRINSICS), "fx,fy,cx,cy in px of all cameras.", **define
    )
    flags.DEFINE_integer("num_shards", 16, "Files a split.", 1, **define)
    flags.DEFINE_integer("every", 1, "Takes every n-th frame.", 1, **define)
    flags.DEFINE_list(
        "subject_starts", [], "First frame of each person; none: one, in NYU's test two.", **define
    )
    flags.DEFINE_integer("workers", 0, "Threads; 0: as many as fit the machine.", 0, **define)
    flags.DEFINE_boolean("overwrite", False, "Replace splits that are already there.", **define)


def _numbers(name, words, count=None):
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = None
    if values is None or not np.isfinite(values).all() or count not in (None, len(values)):
        wanted = f"{count} numbers" if count else "numbers"
        raise ValueError(f"Expected {wanted} in --{name}, found {','.join(map(str, words))!r}.")
    return values


def _convert(options, name, intrinsics):
    split = nyu_source.open_split(options.nyu_dir, name)
    spec = crop.CropSpec(options.image_size, options.cube_mm)
    center = options.center
    if center not in ("depth", "annotation"):
        center = centers.read_centers(center, options.center_form, intrinsics[0])
    cameras = nyu_cameras.find_cameras(split, options.calibration, intrinsics, options.model)
    starts = tuple(int(v) for v in _numbers("subject_starts", options.subject_starts)) or (1,)
    if not options.subject_starts and name == "test" and split.frames[-1] == _NYU_TEST_FRAMES:
        starts = (1, _NYU_SECOND_SUBJECT)
    annotated = 0 if split.joints_mm is None else split.joints_mm.shape[1]
    described = cameras.describe()
    plan = split_conversion.SplitPlan(
        output_dir=Path(options.output_dir),
        split=name,
        items=[int(frame) for frame in split.frames[:: options.every]],
        num_shards=options.num_shards,
        source=f"{os.path.basename(os.path.abspath(options.nyu_dir))}/{name}, NYU layout",
        spec=spec,
        num_views=nyu_source.NUM_VIEWS,
        settings={
            "center": options.center,
            "center_form": options.center_form,
            "calibration": described,
            "subject_starts": starts,
            "every": options.every,
        },
        extra={"center": options.center, "calibration": described, "annotated_frames": annotated},
        overwrite=options.overwrite,
    )
    convert = FrameConverter(split, cameras, spec, center, starts)
    return split_conversion.convert_split(plan, convert, options.workers or None), cameras


def main(options):
    """Runs the command."""
    row = _numbers("intrinsics", options.intrinsics, 4)
    if min(row[:2]) <= 0:
        raise ValueError(f"Expected positive fx and fy in --intrinsics, found {row}.")
    intrinsics = np.tile(np.array(row, np.float32), (nyu_source.NUM_VIEWS, 1))
    if not Path(options.nyu_dir).is_dir():
        raise FileNotFoundError(f"Expected the NYU data set's folder at {options.nyu_dir}.")
    for name in options.splits:
        nyu_source.open_split(options.nyu_dir, name)
    for name in options.splits:
        _, cameras = _convert(options, name, intrinsics)
        for view in range(1, nyu_source.NUM_VIEWS):
            if np.isfinite(cameras.residual_mm[view]):
                print(
                    f"{name}: view {view + 1} from {cameras.source}: median residual "
                    f"{cameras.residual_mm[view]:.1f} mm, {cameras.inlier_share[view]:.0%} agree"
                )
    # Imported late: it brings Matplotlib.
    from data_prep import inspect

    print(inspect.describe(records.read_info(options.output_dir)))


if __name__ == "__main__":
    commands.run(main, define_flags)
