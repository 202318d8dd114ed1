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

from data_prep import (
    calibration,
    centers,
    dataset_info,
    nyu_cameras,
    nyu_source,
    records,
    shard_writer,
    split_conversion,
)
from tfhand import commands
from tfhand.geometry import camera, crop, hand_center, rigid
from tfhand.hand import skeleton

__all__ = ["FrameConverter", "define_flags", "main"]

# Test frames of NYU from which on a second person is seen.
_NYU_TEST_FRAMES, _NYU_SECOND_SUBJECT = 8252, 2441


# Views whose centers are on average farther than this from the one center of all do not see the
# same thing, mm.
_LARGEST_DISAGREEMENT_MM = 150.0


@tf.function(reduce_retracing=True)
def _locate(depth_mm, intrinsics, ref_from_view):
    """Finds the hand in all views of one instant.

    Returns:
      (center `[V, 3]`, camera frames; number of views that found it; mean distance in mm of
      their own centers from it).
    """
    center, found = hand_center.find_hand_center(depth_mm, intrinsics)
    fused = hand_center.fuse_centers(center[None], found[None], ref_from_view[None])[0]
    count = tf.reduce_sum(tf.cast(found, tf.float32))
    away = tf.where(found, tf.norm(center - fused, axis=-1), 0.0)
    return fused, count, tf.math.divide_no_nan(tf.reduce_sum(away), count)


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
        center, disagreement, problem = self._center(frame, depth_mm, intrinsics, joints)
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
        values = {} if disagreement is None else {"center_disagreement_mm": disagreement}
        if joints is None:
            return split_conversion.Converted(sample, notes=["no annotation"], values=values)
        known = np.isfinite(joints).all(axis=-1)
        sample["joint_mask"] = known
        sample["joints_mm"] = np.where(known[..., None], joints, 0.0)
        inside = (np.abs(joints - center[:, None]) <= self.spec.far_mm).all(axis=-1)
        notes = ["some joints are not annotated"] if not known.all() else []
        notes += ["a joint lies outside of a crop"] if (known & ~inside).any() else []
        palm = np.linalg.norm(center - joints[:, skeleton.joint_index("PALM_3")], axis=-1).mean()
        if np.isfinite(palm):
            values["center_to_palm_mm"] = palm
        return split_conversion.Converted(sample, notes=notes, values=values)

    def _center(self, frame, depth_mm, intrinsics, joints):
        """Returns (center `[V, 3]`, camera frames, or None; disagreement of the views; problem)."""
        ref_from_view = self.cameras.ref_from_view
        if isinstance(self.center, str) and self.center == "depth":
            found = _locate(depth_mm, intrinsics, tf.constant(ref_from_view, tf.float32))
            center, count, disagreement = (value.numpy() for value in found)
            if count == 0:
                return None, None, "no hand found"
            if disagreement > _LARGEST_DISAGREEMENT_MM:
                return None, None, "the views do not agree on where the hand is"
            return center, disagreement if count > 1 else None, None
        if isinstance(self.center, str):
            palm = None if joints is None else joints[:, skeleton.joint_index("PALM_3")]
            if palm is None or not np.isfinite(palm).all():
                return None, None, "PALM_3 is not annotated"
            return palm, None, None
        if frame > len(self.center) or not np.isfinite(self.center[frame - 1]).all():
            return None, None, "the file of centers has none"
        in_first = tf.constant(self.center[frame - 1], tf.float64)
        in_ref = rigid.apply(tf.constant(ref_from_view[0]), in_first[None])
        center = rigid.apply(rigid.inverse(tf.constant(ref_from_view)), in_ref)[:, 0].numpy()
        return center, None, None

    def _subject(self, frame):
        number = int(np.searchsorted(self.subject_starts, frame, side="right"))
        return f"{self.split.name}-{number}"


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("nyu_dir", None, "Folder of the data set.", required=True, **define)
    flags.DEFINE_string("output_dir", None, "Folder for the records.", required=True, **define)
    flags.DEFINE_list("splits", ["train", "test"], "Folders to convert.", **define)
    flags.DEFINE_integer("image_size", 64, "Side of the crops, px.", 8, **define)
    flags.DEFINE_float("cube_mm", 300.0, "Side of the crops' cube, mm.", 1.0, **define)
    flags.DEFINE_string(
        "center",
        "depth",
        "depth, annotation (PALM_3), or a file of centers of view 1; {split} stands for the split.",
        **define,
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


def _checksum(path):
    return dataset_info.compute_sha256(path) if path and Path(path).is_file() else None


def _plan(options, split, intrinsics):
    """Returns the `split_conversion.SplitPlan` of a split, before its cameras are known."""
    starts = tuple(int(v) for v in _numbers("subject_starts", options.subject_starts)) or (1,)
    if list(starts) != sorted(set(starts)):
        raise ValueError(f"Expected ascending --subject_starts, found {starts}.")
    if not options.subject_starts and split.name == "test" and split.frames[-1] == _NYU_TEST_FRAMES:
        starts = (1, _NYU_SECOND_SUBJECT)
    center = options.center.format(split=split.name)
    settings = {
        "pictures": split.fingerprint(),
        "intrinsics": intrinsics.tolist(),
        "center": [center, options.center_form, _checksum(center)],
        "calibration": [options.calibration, _checksum(options.calibration)],
        "model": _checksum(options.model),
        "subject_starts": starts,
    }
    return split_conversion.SplitPlan(
        output_dir=Path(options.output_dir),
        split=split.name,
        items=[int(frame) for frame in split.frames[:: options.every]],
        num_shards=options.num_shards,
        source=f"{os.path.basename(os.path.abspath(options.nyu_dir))}/{split.name}, NYU layout",
        spec=crop.CropSpec(options.image_size, options.cube_mm),
        num_views=nyu_source.NUM_VIEWS,
        settings=settings,
        extra={"center": options.center, "subject_starts": starts},
        overwrite=options.overwrite,
    )


def _check_picture(split, intrinsics):
    """Refuses intrinsics of pictures of another size."""
    for frame in split.frames:
        depth_mm, problem = nyu_source.read_views(split, frame)
        if not problem:
            height, width = depth_mm.shape[1:]
            inside = (intrinsics[:, 2:] > 0.0) & (intrinsics[:, 2:] < [width, height])
            if not inside.all():
                raise ValueError(
                    f"Expected intrinsics whose principal point lies in the pictures of {width} x "
                    f"{height} px in {split.folder}, found {intrinsics[0].tolist()}: see "
                    f"--intrinsics."
                )
            return


def _convert(options, split, intrinsics):
    plan = _plan(options, split, intrinsics)
    if split_conversion.find_published(plan):
        print(f"{split.name}: complete, made by an earlier run with the same settings")
        return
    cameras = nyu_cameras.find_cameras(split, options.calibration, intrinsics, options.model)
    _check_picture(split, cameras.intrinsics)
    for view in range(1, nyu_source.NUM_VIEWS):
        if np.isfinite(cameras.residual_mm[view]):
            print(
                f"{split.name}: view {view + 1} from {cameras.source}: median residual "
                f"{cameras.residual_mm[view]:.1f} mm, {cameras.inlier_share[view]:.0%} agree"
            )
    center = options.center.format(split=split.name)
    if center not in ("depth", "annotation"):
        center = centers.read_centers(center, options.center_form, cameras.intrinsics[0])
    annotated = 0 if split.joints_mm is None else split.joints_mm.shape[1]
    extra = {**plan.extra, "calibration": cameras.describe(), "annotated_frames": annotated}
    convert = FrameConverter(split, cameras, plan.spec, center, plan.extra["subject_starts"])
    split_conversion.convert_split(
        dataclasses.replace(plan, extra=extra), convert, options.workers or None
    )


def main(options):
    """Runs the command."""
    row = _numbers("intrinsics", options.intrinsics, 4)
    if min(row[:2]) <= 0:
        raise ValueError(f"Expected positive fx and fy in --intrinsics, found {row}.")
    intrinsics = np.tile(np.array(row, np.float32), (nyu_source.NUM_VIEWS, 1))
    names = options.splits
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected different names in --splits, found {','.join(names)!r}.")
    for name in names:
        shard_writer.check_split_name(name)
    is_file = options.center not in ("depth", "annotation")
    if is_file and len(names) > 1 and "{split}" not in options.center:
        raise ValueError(
            f"Expected a file of centers for each split, as --center=DIR/{{split}}.txt or with "
            f"--splits naming one, found {options.center!r} for {','.join(names)}."
        )
    if not Path(options.nyu_dir).is_dir():
        raise FileNotFoundError(
            f"Expected the NYU data set's folder at {options.nyu_dir}, found none."
        )
    splits = [nyu_source.open_split(options.nyu_dir, name) for name in names]
    for split in splits:
        _convert(options, split, intrinsics)
    # Imported late: it brings Matplotlib.
    from data_prep import inspect

    print(inspect.describe(records.read_info(options.output_dir)))


if __name__ == "__main__":
    commands.run(main, define_flags)
