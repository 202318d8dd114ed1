"""Conversions of small recordings in NYU's layout, shared by tests."""

import pytest
import scipy.io
import tensorflow as tf

from data_prep import package_judge, records
from data_prep.nyu import command
from tfhand import commands

FRAMES = 24


def judge_of(depth_mm, intrinsics, is_left=False):
    """Stands in for the package's network, which takes most of a conversion's time.

    The first end of the nearest surface is the hand. The network itself converts in
    `end_to_end/test_nyu.py`.
    """
    del depth_mm, intrinsics, is_left
    return lambda center_mm: {"middle_mm": center_mm, "doubt": tf.zeros_like(center_mm[:, 0])}


def convert(root, out, *more):
    argv = ["nyu.py", f"--nyu_dir={root}", f"--output_dir={out}", "--num_shards=3", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package_judge, "judge_of", judge_of)
        return command.main(commands.parse(command.define_flags, argv))


def read(out, split):
    return sorted(
        records.load_dataset(out, split).as_numpy_iterator(), key=lambda sample: sample["frame"]
    )


def change_joints(path, change):
    values = scipy.io.loadmat(path)
    joints = values["joint_xyz"].copy()
    values = {"joint_xyz": change(joints), "joint_names": values["joint_names"]}
    scipy.io.savemat(path, values)


def stop(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        commands.run(command.main, command.define_flags, ["nyu.py", *map(str, arguments)])
    assert stopped.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nyu: ")]
    return line


def keep_frames(folder, count):
    for path in folder.glob("depth_*.png"):
        if int(path.stem.split("_")[2]) > count:
            path.unlink()
