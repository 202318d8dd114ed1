"""A whole camera frame against the network alone: batch 1, on the CPU.

Run as

    python benchmarks/frame.py --model=W/pose.keras --output=frame.json

It renders a few 640 x 480 frames of a hand before a wall, exports the network and times, in turns,
the SavedModel's signatures `serving_default` (the network alone, on a crop) and `frame_uint16`
(with and without a given center), and `tfhand.PoseEstimator`. The targets are 1.3 times the network
alone for `frame_uint16`, and 12 ms.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tfhand import commands

TARGET_RATIO, TARGET_MS = 1.3, 12.0


def define_flags(flag_values):
    define = {"flag_values": flag_values}
    flags.DEFINE_string("model", None, "Trained network, pose.keras.", required=True, **define)
    flags.DEFINE_string("output", None, "JSON file for the results.", **define)
    flags.DEFINE_integer("rounds", 30, "Timed rounds over all frames.", 1, **define)


def make_frames(folder):
    """Renders frames; returns uint16 [n, 480, 640], mm."""
    import numpy as np

    from data_prep import nyu_frames, nyu_source
    from tests.data_prep import nyu_layout

    nyu_layout.write_split(folder / "train", 4, seed=3)
    split = nyu_source.open_split(folder, "train")
    frames = [nyu_frames.decode_views(*nyu_source.read_pictures(split, i)) for i in range(1, 5)]
    return np.concatenate(frames)


def prepare(model, folder):
    """Returns functions of (frame, its crop, its center) by name."""
    import tensorflow as tf

    from tfhand import estimator, inference
    from tfhand.geometry import camera
    from tfhand.models import exporting

    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)
    exporting.export_pose(network, folder / "1", spec.cube_mm)
    loaded = tf.saved_model.load(str(folder / "1"))
    intrinsics = tf.constant([camera.NYU_INTRINSICS])
    nowhere = tf.zeros([1, 3])
    crops, frames = loaded.signatures["serving_default"], loaded.signatures["frame_uint16"]
    once = estimator.PoseEstimator(network, refine=False)
    twice = estimator.PoseEstimator(network)

    def at(frame, center):
        return frames(depth_mm=frame, intrinsics=intrinsics, center_mm=center)

    return (
        {
            "network alone": lambda frame, crop, center: crops(depth_mm=crop),
            "frame, given center": lambda frame, crop, center: at(frame, center),
            "frame": lambda frame, crop, center: at(frame, nowhere),
            "PoseEstimator(refine=False)": lambda f, c, m: once(f[0], camera.NYU_INTRINSICS),
            "PoseEstimator": lambda f, c, m: twice(f[0], camera.NYU_INTRINSICS),
        },
        spec,
        loaded,
    )


def main(options):
    import tensorflow as tf

    from tfhand.geometry import camera, crop

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images = make_frames(folder / "frames")
        functions, spec, loaded = prepare(options.model, folder / "pose")
        inputs = []
        for image in images:
            frame = tf.constant(image[None])
            center = loaded.signatures["frame_uint16"](
                depth_mm=frame,
                intrinsics=tf.constant([camera.NYU_INTRINSICS]),
                center_mm=tf.zeros([1, 3]),
            )["center_mm"]
            crops = crop.crop_depth(frame, [camera.NYU_INTRINSICS], center, spec)
            inputs.append((frame, crops, center))
        times = {name: [] for name in functions}
        for i in range(options.rounds + 2):
            for arguments in inputs:
                for name, function in functions.items():
                    start = time.perf_counter()
                    function(*arguments)
                    if i >= 2:  # The first rounds trace.
                        times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    alone = medians["network alone"]
    print(f"load {os.getloadavg()[0]:.1f}; medians of {len(times['frame'])} calls")
    for name, value in medians.items():
        print(f"{name:<30}{value:8.2f} ms{value / alone:8.2f} x")
    for text, value, target in (
        ("ratio of frame", medians["frame"] / alone, TARGET_RATIO),
        ("ms of frame", medians["frame"], TARGET_MS),
    ):
        print(f"{text}: target {target}: {'reached' if value <= target else 'not reached'}")
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(medians, indent=2) + "\n")


if __name__ == "__main__":
    commands.run(main, define_flags)
