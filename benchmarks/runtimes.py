"""Size, answer and batch-1 latency of a trained network in each runtime on the CPU.

Run as

    python benchmarks/runtimes.py --model=runs/selfsup/pose.keras --output=runtimes.json

It exports the network (extra `runtimes`) and times one depth crop of 64 x 64 in mm to spheres and
joints. `difference` is the largest of any sphere's coordinate from the Keras call's.
"""

import itertools
import os
import pathlib
import tempfile

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands, inference
from tfhand.models import exporting, runtimes
from tfhand.synthesis import samples

KERAS, SAVED_MODEL, ONNX, LITERT = "Keras call", "SavedModel", "ONNX Runtime", "LiteRT"


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=10)
    flags.DEFINE_string("model", None, "pose.keras.", required=True, flag_values=flag_values)
    flags.DEFINE_integer("threads", 1, "Threads of a runtime.", 1, flag_values=flag_values)


def main(flag_values):
    measure.set_threads(flag_values.threads, 1)
    for name in runtimes.FILE_NAMES:
        runtimes.check_exporter(name)
    report = measure.Report(__file__, "Runtimes, one crop")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sizes = export_all(flag_values.model, folder)
        arguments = (flag_values.model, folder, flag_values.threads)
        cases = measure.compare(build, *arguments, rounds=flag_values.rounds, calls=50)
        answers = {name: call() for name, call in build(*arguments).items()}
    report.cases(f"Time, {flag_values.threads} thread(s)", cases)
    rows = [
        (name, sizes[name], float(np.abs(answers[name] - answers[KERAS]).max())) for name in answers
    ]
    report.table("Size and answer", ["version", "MB", "difference mm"], rows)
    report.write(flag_values.output)


def export_all(model, folder):
    """Exports a network to a folder; returns the sizes in MB by runtime."""
    network = inference.load_network(model)
    cube_mm = inference.crop_spec_of(network).cube_mm
    exporting.export_pose(network, folder / "1", cube_mm)
    for name, file in runtimes.FILE_NAMES.items():
        runtimes.export_file(network, folder / file, cube_mm, name)
    sizes = {
        KERAS: os.path.getsize(model),
        SAVED_MODEL: sum(p.stat().st_size for p in (folder / "1").rglob("*") if p.is_file()),
        ONNX: (folder / runtimes.FILE_NAMES["onnx"]).stat().st_size,
        LITERT: (folder / runtimes.FILE_NAMES["litert"]).stat().st_size,
    }
    return {name: size / 1e6 for name, size in sizes.items()}


def build(model, folder, threads):
    """Returns the runtimes, each a function of the next crop, by name."""
    measure.set_threads(threads, 1)
    network = inference.load_network(model)
    spec = inference.crop_spec_of(network)
    crops_mm = _crops(spec, 8)
    calls = {
        KERAS: lambda crop: exporting.estimate_from_crop(network, crop, spec.cube_mm),
        SAVED_MODEL: _saved_model(folder / "1"),
        ONNX: _onnx(folder / runtimes.FILE_NAMES["onnx"], threads),
        LITERT: _litert(folder / runtimes.FILE_NAMES["litert"], threads),
    }

    def over_crops(call):
        remaining = itertools.cycle(crops_mm)
        return lambda: np.asarray(call(next(remaining)[None])["spheres_mm"])

    return {name: over_crops(call) for name, call in calls.items()}


def _crops(spec, count):
    """Synthetic hands, float32 `[count, S, S]`, mm from the crop's center."""
    rng = tf.random.Generator.from_seed(0)
    return samples.sample_batch(rng, count, spec)["depth_mm"].numpy()


def _saved_model(folder):
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def call(crop_mm, keep=loaded):
        return signature(depth_mm=tf.constant(crop_mm))

    return call


def _onnx(path, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda crop_mm: dict(zip(names, session.run(names, {"depth_mm": crop_mm})))


def _litert(path, threads):
    from ai_edge_litert import interpreter

    runner = interpreter.Interpreter(str(path), num_threads=threads).get_signature_runner()
    return lambda crop_mm: runner(depth_mm=crop_mm)


if __name__ == "__main__":
    commands.run(main, define_flags)
