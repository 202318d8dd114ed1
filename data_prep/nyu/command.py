"""Converts a recording in the NYU hand pose data set's layout to records of three views.

    python -m data_prep.nyu --nyu_dir=DIR --output_dir=OUT

DIR holds `train` and `test` with `depth_{1,2,3}_{0000001...}.png` and, if there is annotation,
`joint_data.mat`. No label touches a crop unless `--center=annotation` says so: the hand is found
in the depth of all three views. The cameras are calibrated from the annotation, as in the paper
(`--calibration=annotation`, the default where there is one), from hands found in the depth
(`depth`, the default elsewhere), from a trained network's estimates (`predictions`, with
--model), or read from a file. Intrinsics, and where the cameras stand, are those of
`DIR/cameras.json` if it has them; `data_prep.record` writes it. If no frames suffice, each view
becomes a sample of its own. Killed, it goes on with the same command.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from data_prep import package_judge, records
from data_prep.nyu import (
    calibration_file,
    centers,
    recording_files,
    split_cameras,
    split_conversion,
)
from data_prep.nyu.conversion_plan import ConversionPlan
from data_prep.nyu.frame_converter import FrameConverter
from data_prep.records import dataset_info, storage
from tfhand.geometry import camera, crop

__all__ = ["convert", "define_conversion_flags", "define_flags", "main"]

# Test frames of NYU from which on a second person is seen.
_NYU_TEST_FRAMES, _NYU_SECOND_SUBJECT = 8252, 2441


def define_flags(flag_values):
    """Defines the flags of this command."""
    define_conversion_flags(flag_values)
    flags.DEFINE_integer(
        "workers", 0, "Threads; 0: as many as fit the machine.", 0, flag_values=flag_values
    )


def define_conversion_flags(flag_values):
    """Defines the flags that say what is converted to what, wherever that is done."""
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
        "annotation, depth, predictions, a calibration file, or none (then each view is a sample "
        "of its own); not given: annotation, or depth where there is no joint_data.mat.",
        **define,
    )
    flags.DEFINE_string(
        "calibration_output", None, "File for the cameras found; {split} as in --center.", **define
    )
    flags.DEFINE_string("model", None, "pose.keras, for --calibration=predictions.", **define)
    flags.DEFINE_list(
        "intrinsics",
        None,
        "fx,fy,cx,cy in px of all cameras; not given: those in DIR/cameras.json, or NYU's.",
        **define,
    )
    flags.DEFINE_enum(
        "hand", "right", ("right", "left"), "Left hands are mirrored to right ones.", **define
    )
    flags.DEFINE_integer("num_shards", 16, "Files a split.", 1, **define)
    flags.DEFINE_integer("every", 1, "Takes every n-th frame.", 1, **define)
    flags.DEFINE_list(
        "subject_starts", [], "First frame of each person; none: one, in NYU's test two.", **define
    )
    flags.DEFINE_boolean("overwrite", False, "Replace splits that are already there.", **define)


def main(flag_values):
    """Runs the command."""
    storage.check_local(flag_values.output_dir, "data_prep.beam.nyu")
    convert_split = functools.partial(
        split_conversion.convert_split, workers=flag_values.workers or None
    )
    with storage.os_errors():
        convert(flag_values, convert_split)


def convert(flag_values, convert_split: Callable[[ConversionPlan, FrameConverter], object]):
    """Converts and publishes all splits that are not complete, and prints what is there.

    Args:
        flag_values: Values of `define_conversion_flags`.
        convert_split: Converts and publishes one split.

    Raises:
        ValueError: If an option, the recording or its cameras cannot be used.
        FileNotFoundError: If a folder or a file is missing.
        FileExistsError: If a split is there, made with other settings, and is not to be replaced.
    """
    intrinsics = _find_intrinsics(flag_values)
    names = flag_values.splits
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected different names in --splits, found {','.join(names)!r}.")
    is_file = flag_values.center not in ("depth", "annotation")
    if is_file and len(names) > 1 and "{split}" not in flag_values.center:
        raise ValueError(
            f"Expected a file of centers for each split, as --center=DIR/{{split}}.txt or with "
            f"--splits naming one, found {flag_values.center!r} for {','.join(names)}."
        )
    if not tf.io.gfile.isdir(flag_values.nyu_dir):
        raise FileNotFoundError(
            f"Expected the NYU data set's folder at {flag_values.nyu_dir}, found none."
        )
    splits = [recording_files.open_split(flag_values.nyu_dir, name) for name in names]
    plans = [_plan(flag_values, split, intrinsics) for split in splits]
    published = [split_conversion.find_published(plan) for plan in plans]
    for split, info in zip(splits, published, strict=True):
        if info:
            print(f"{split.name}: complete, made by an earlier run with the same settings")
    if not all(published):
        # All are calibrated: one may need the cameras of another.
        cameras = _calibrate(flag_values, splits, intrinsics)
        for split, of_split, plan, info in zip(splits, cameras, plans, published, strict=True):
            if not info:
                _convert(flag_values, split, of_split, plan, convert_split)
    # Imported late: it brings Matplotlib.
    from data_prep import inspect

    print(inspect.describe(records.read_info(flag_values.output_dir)))


def _find_intrinsics(flag_values):
    """Returns float32 [V, 4]: of the flag, of the recording, or NYU's."""
    if flag_values.intrinsics is None:
        recorded = calibration_file.load_recorded_intrinsics(
            flag_values.nyu_dir, recording_files.NUM_VIEWS
        )
        if recorded is not None:
            return recorded.astype(np.float32)
    row = _parse_numbers("intrinsics", flag_values.intrinsics or camera.NYU_INTRINSICS, 4)
    if min(row[:2]) <= 0:
        raise ValueError(f"Expected positive fx and fy in --intrinsics, found {row}.")
    return np.tile(np.array(row, np.float32), (recording_files.NUM_VIEWS, 1))


def _calibration_method(flag_values):
    """Returns the value of --calibration: of the flag, a recording's own file, or None."""
    if flag_values.calibration or flag_values.intrinsics:
        return flag_values.calibration
    return calibration_file.recorded_places(flag_values.nyu_dir)


def _parse_numbers(name, words, count=None):
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [np.nan]
    if not np.isfinite(values).all() or count not in (None, len(values)):
        expected = f"{count} numbers" if count else "numbers"
        raise ValueError(f"Expected {expected} in --{name}, found {','.join(map(str, words))!r}.")
    return values


def _plan(flag_values, split, intrinsics):
    """Returns the `ConversionPlan` of a split, before its cameras are calibrated."""
    starts = _parse_numbers("subject_starts", flag_values.subject_starts)
    starts = tuple(int(start) for start in starts) or (1,)
    if list(starts) != sorted(set(starts)):
        raise ValueError(f"Expected ascending --subject_starts, found {starts}.")
    if (
        not flag_values.subject_starts
        and split.name == "test"
        and split.frames[-1] == _NYU_TEST_FRAMES
    ):
        starts = (1, _NYU_SECOND_SUBJECT)
    center = _insert_split(flag_values.center, split)
    method = _calibration_method(flag_values)
    settings = {
        "pictures": split.fingerprint(),
        "intrinsics": intrinsics.tolist(),
        "center": [center, flag_values.center_form, _checksum(center)],
        "finder": package_judge.checksum(),
        "calibration": [method, _checksum(method)],
        "model": _checksum(flag_values.model),
        "subject_starts": starts,
        "hand": flag_values.hand,
    }
    folder = flag_values.nyu_dir
    folder = os.path.basename(folder if storage.is_remote(folder) else os.path.abspath(folder))
    return ConversionPlan(
        output_dir=flag_values.output_dir,
        split=split.name,
        num_shards=flag_values.num_shards,
        source=f"{folder}/{split.name}, NYU layout",
        spec=crop.CropSpec(flag_values.image_size, flag_values.cube_mm),
        num_views=recording_files.NUM_VIEWS,
        extra={"center": flag_values.center, "subject_starts": starts, "hand": flag_values.hand},
        overwrite=flag_values.overwrite,
        frames=split.frames[:: flag_values.every],
        settings=settings,
    )


def _insert_split(path, split):
    return path.replace("{split}", split.name)


def _checksum(path):
    return dataset_info.compute_sha256(path) if path and Path(path).is_file() else None


def _calibrate(flag_values, splits, intrinsics):
    """Returns the cameras of every split, after checking that they fit the options and pictures."""
    method = _calibration_method(flag_values)
    cameras = split_cameras.find_cameras(
        splits, method, intrinsics, flag_values.model, flag_values.hand == "left"
    )
    if cameras[0].is_calibrated:
        if flag_values.calibration_output:
            for split, of_split in zip(splits, cameras, strict=True):
                path = _insert_split(flag_values.calibration_output, split)
                calibration_file.save_calibration(path, of_split)
    elif flag_values.center != "depth":
        raise ValueError(
            f"--center={flag_values.center} needs calibrated cameras, found none: "
            f"{cameras[0].problem}"
        )
    for split, of_split in zip(splits, cameras, strict=True):
        _check_picture_size(split, of_split.intrinsics)
    return cameras


def _check_picture_size(split, intrinsics):
    """Refuses intrinsics of pictures of another size."""
    for frame in split.frames:
        try:
            _, layout = recording_files.read_pictures(split, frame)
        except recording_files.UnusableFrame:
            continue
        size = [layout.width, layout.height]
        if not ((intrinsics[:, 2:] > 0.0) & (intrinsics[:, 2:] < size)).all():
            raise ValueError(
                f"Expected intrinsics whose principal point lies in the pictures of "
                f"{layout.width} x {layout.height} px in {split.folder}, found "
                f"{intrinsics[0].tolist()}: see --intrinsics."
            )
        return


def _convert(flag_values, split, cameras, plan, convert_split):
    for view in np.flatnonzero(np.isfinite(cameras.residual_mm)):
        print(
            f"{split.name}: view {view + 1} from {cameras.source}: median residual "
            f"{cameras.residual_mm[view]:.1f} mm, {cameras.inlier_share[view]:.0%} agree"
        )
    center, centers_mm = _insert_split(flag_values.center, split), None
    if center not in ("depth", "annotation"):
        centers_mm = centers.read_centers(center, flag_values.center_form, cameras.intrinsics[0])
    converter = FrameConverter(
        split,
        cameras,
        plan.spec,
        center,
        plan.extra["subject_starts"],
        centers_mm,
        is_left=flag_values.hand == "left",
    )
    num_annotated = 0 if split.joints_mm is None else split.joints_mm.shape[1]
    described = {"calibration": cameras.to_dict(), "annotated_frames": num_annotated}
    plan = dataclasses.replace(
        plan,
        extra={**plan.extra, **described},
        num_views=converter.num_views,
        cameras=cameras.to_dict(),
    )
    convert_split(plan, converter)
