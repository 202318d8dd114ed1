"""How far from the palm hands are found in a labeled recording in NYU's layout.

    python benchmarks/hand_center.py --recording_dir=DIR --split=test --calibration=DIR/cameras.json

DIR holds the split's pictures and `joint_data.mat`. Frames without a label are left out. Each
camera finds the hand by itself, and then all of them together do, as in a conversion.
Targets: at most 0.5 % of the crops more than 90 mm off the palm, of the samples with a joint
outside of the crop, and of the frames dropped.
"""

import measure
import numpy as np
from absl import flags

from data_prep.nyu import frame_crops, recording_files, split_cameras
from tfhand import commands
from tfhand.geometry import camera, crop
from tfhand.hand import skeleton

FAR_MM, MOST_PERCENT = 90.0, 0.5
COLUMNS = ["found by", "frames", "mean mm", "median mm", "95 % mm", "> 90 mm %", "outside %",
           "dropped %"]  # fmt: skip


def define_flags(flag_values):
    define = {"flag_values": flag_values}
    measure.define_flags(flag_values, rounds=1)
    flags.DEFINE_string("recording_dir", None, "Folder of the recording.", required=True, **define)
    flags.DEFINE_string("split", "test", "Folder of the split in it.", **define)
    flags.DEFINE_string("calibration", None, "As for data_prep.nyu.", **define)
    flags.DEFINE_string("joint_name", "PALM_3", "Joint to measure from.", **define)
    flags.DEFINE_integer("every", 1, "Takes every n-th frame.", 1, **define)


def row_of(name, center_mm, is_used, joints_mm, joint, spec):
    """Returns a row of the table for centers [n, 3] and joints [n, 36, 3] of one camera."""
    off_mm = np.linalg.norm(center_mm - joints_mm[:, joint], axis=-1)[is_used]
    away_mm = np.abs(joints_mm - center_mm[:, np.newaxis])[is_used]
    is_outside = (np.nan_to_num(away_mm) > spec.far_mm).any(axis=(1, 2))
    shares = [(off_mm > FAR_MM).mean(), is_outside.mean(), 1.0 - is_used.mean()]
    millimeters = [off_mm.mean(), np.median(off_mm), np.percentile(off_mm, 95)]
    return [name, len(is_used), *millimeters, *(100.0 * float(share) for share in shares)]


def main(flag_values):
    split = recording_files.open_split(flag_values.recording_dir, flag_values.split)
    intrinsics = np.tile(np.float32(camera.NYU_INTRINSICS), (recording_files.NUM_VIEWS, 1))
    (cameras,) = split_cameras.find_cameras([split], flag_values.calibration, intrinsics, None)
    spec, joint = crop.CropSpec(), skeleton.joint_index(flag_values.joint_name)
    hands, joints_mm = [], []
    for frame in split.frames[:: flag_values.every]:
        labels_mm = split.joints_of(frame)
        if labels_mm is not None and np.isfinite(labels_mm[:, joint]).all():
            pictures = recording_files.read_pictures(split, frame)
            views = cameras.intrinsics, cameras.ref_from_view
            hands.append(frame_crops.crop_at_hand(*pictures, *views, spec))
            joints_mm.append(labels_mm)
    joints_mm = np.array(joints_mm)
    rows = []
    for view in range(recording_files.NUM_VIEWS):
        own_mm = np.array([hand.own_center_mm[view] for hand in hands])
        is_found = np.array([hand.has_hand[view] for hand in hands])
        name = f"camera {view + 1} alone"
        rows.append(row_of(name, own_mm, is_found, joints_mm[:, view], joint, spec))
    center_mm = np.array([hand.center_mm[0] for hand in hands])
    is_used = np.array([hand.problem is None for hand in hands])
    rows.append(row_of("all cameras", center_mm, is_used, joints_mm[:, 0], joint, spec))
    report = measure.Report(__file__, "Where hands are found")
    report.table(f"Distance from {flag_values.joint_name}, {flag_values.split}", COLUMNS, rows)
    for row in (rows[0], rows[-1]):
        for column, value in list(zip(COLUMNS, row, strict=True))[-3:]:
            report.target(f"{row[0]}, {column}", value, most=MOST_PERCENT)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
