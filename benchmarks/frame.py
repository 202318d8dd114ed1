"""Whole camera frames against the network alone, one at a time and in batches.

Run as

    python benchmarks/frame.py --model=W/pose.keras --output=frame.json

It renders a few 640 x 480 frames of a hand before a wall, exports the network and times the
SavedModel's signatures `serving_default` (the network alone, on a crop) and `frame_uint16` (with
and without a known center), and `tfhand.PoseEstimator`. Targets for one frame: 1.3 times the
network alone, and 12 ms.
"""

import functools
import itertools
import pathlib
import tempfile

import measure
import numpy as np
import tensorflow as tf
from absl import flags

import tfhand
from data_prep.nyu import frame_crops, recording_files
from tests.data_prep import nyu_layout
from tfhand import commands, inference
from tfhand.geometry import camera, crop
from tfhand.models import exporting

TARGET_RATIO, TARGET_MS = 1.3, 12.0
NETWORK, CENTERED, FRAME = "network alone", "frame, given center", "frame"
BATCHES = (1, 4, 16, 64)

# Arguments of the estimators; a fit takes a hundred times as long.
WITHOUT_FIT = {"PoseEstimator(refine=False)": {"refine": False}, "PoseEstimator": {}}
WITH_FIT = {"PoseEstimator(fit=True)": {"fit": True}}


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=60)
    flags.DEFINE_string(
        "model", None, "Trained network, pose.keras.", required=True, flag_values=flag_values
    )


def make_frames(folder):
    """Renders frames; returns uint16 [n, 480, 640], mm."""
    nyu_layout.write_split(folder / "train", 4, seed=3)
    split = recording_files.open_split(folder, "train")
    frames = [
        frame_crops.decode_views(*recording_files.read_pictures(split, i)) for i in range(1, 5)
    ]
    return np.concatenate(frames)


def prepare(model, folder):
    """Exports the network and stores frames for it in a folder; returns its `crop.CropSpec`."""
    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)
    exporting.export_pose(network, folder / "1", spec.cube_mm)
    np.save(folder / "frames.npy", make_frames(folder / "frames"))
    return spec


def build_served(folder, spec, batch):
    """Returns the signatures, each a function of the next frames, by name."""
    loaded = tf.saved_model.load(str(folder / "1"))
    images = np.load(folder / "frames.npy")
    intrinsics = tf.constant([camera.NYU_INTRINSICS] * batch)
    crops = loaded.signatures["serving_default"]
    frames = functools.partial(loaded.signatures["frame_uint16"], intrinsics=intrinsics)
    nowhere = tf.zeros([batch, 3])
    inputs = []
    for start in range(len(images)):
        chosen = tf.constant(images[np.arange(start, start + batch) % len(images)])
        center = frames(depth_mm=chosen, center_mm=nowhere)["center_mm"]
        inputs.append((chosen, center, crop.crop_depth(chosen, intrinsics, center, spec)))

    def over_inputs(function):
        remaining = itertools.cycle(inputs)
        # The model is kept alive by what calls its signatures.
        return lambda keep=loaded: function(*next(remaining))["spheres_mm"].numpy()

    return {
        NETWORK: over_inputs(lambda depth, center, crop: crops(depth_mm=crop)),
        CENTERED: over_inputs(lambda depth, center, crop: frames(depth_mm=depth, center_mm=center)),
        FRAME: over_inputs(lambda depth, center, crop: frames(depth_mm=depth, center_mm=nowhere)),
    }


def build_estimators(folder, model, arguments):
    """Returns `tfhand.PoseEstimator`s of named arguments, each a function of the next frame."""
    images = np.load(folder / "frames.npy")

    def over_frames(estimator):
        remaining = itertools.cycle(images)
        return lambda: estimator(next(remaining), camera.NYU_INTRINSICS)

    return {
        name: over_frames(tfhand.PoseEstimator.load(model, **kwargs))
        for name, kwargs in arguments.items()
    }


def main(flag_values):
    report = measure.Report(__file__, "Frames of 640 x 480")
    compare = functools.partial(measure.compare, rounds=flag_values.rounds, calls=4)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        spec = prepare(flag_values.model, folder)
        one = compare(build_served, folder, spec, 1)
        report.cases("SavedModel, one frame", one, relative_to=NETWORK)
        by_name = {case.name: case.seconds for case in one}
        report.target("frame / network", by_name[FRAME] / by_name[NETWORK], most=TARGET_RATIO)
        report.target("ms of a frame", 1e3 * by_name[FRAME], most=TARGET_MS)
        report.cases(
            "Python, one frame", compare(build_estimators, folder, flag_values.model, WITHOUT_FIT)
        )
        fitting = measure.compare(
            build_estimators,
            folder,
            flag_values.model,
            WITH_FIT,
            rounds=max(3, flag_values.rounds // 10),
        )
        report.cases("Python, one frame, with a fit", fitting)
        rows = []
        for batch in BATCHES:
            rounds = max(3, flag_values.rounds // batch)
            cases = measure.compare(build_served, folder, spec, batch, rounds=rounds, memory=False)
            rows.append((batch, *(batch / case.seconds for case in cases)))
        columns = ["batch", *(case.name for case in cases)]
        report.table("SavedModel, frames a second", columns, rows)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
