"""Size, answer and batch-1 latency of a trained network in each runtime on the CPU.

Run as

    python benchmarks/runtimes.py --model=runs/selfsup/pose.keras --output=runtimes.json

It exports the network (extra `runtimes`) and times one depth crop of 64 x 64 in mm to spheres and
joints. Runtimes take turns, round by round, so that other load meets all of them alike; the table
shows the median over all calls, and the fastest round's median, which other load disturbs least.
`difference` is the largest of any sphere's coordinate from the Keras call's.
"""

import itertools
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time

from absl import flags

from tfhand import commands


def define_flags(flag_values):
    flags.DEFINE_string("model", None, "pose.keras.", required=True, flag_values=flag_values)
    flags.DEFINE_integer("threads", 1, "Threads of a runtime.", 1, flag_values=flag_values)
    flags.DEFINE_integer("rounds", 5, "Timed rounds.", 1, flag_values=flag_values)
    flags.DEFINE_integer("calls", 100, "Calls a round and runtime.", 1, flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def main(options):
    import numpy as np
    import tensorflow as tf

    from tfhand import inference
    from tfhand.models import exporting, runtimes

    for name in runtimes.FILE_NAMES:
        runtimes.check_exporter(name)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = inference.load_network(options.model)
    spec = inference.crop_spec_of(network)
    crops_mm = _crops(spec, 8)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        exporting.export_pose(network, folder / "1", spec.cube_mm)
        for name, file in runtimes.FILE_NAMES.items():
            runtimes.export_file(network, folder / file, spec.cube_mm, name)
        calls = {
            "Keras call": lambda crop: exporting.estimate_from_crop(network, crop, spec.cube_mm),
            "SavedModel": _saved_model(folder / "1"),
            "ONNX Runtime": _onnx(folder / runtimes.FILE_NAMES["onnx"], options.threads),
            "LiteRT": _litert(folder / runtimes.FILE_NAMES["litert"], options.threads),
        }
        sizes = {
            "Keras call": os.path.getsize(options.model),
            "SavedModel": sum(p.stat().st_size for p in (folder / "1").rglob("*") if p.is_file()),
            "ONNX Runtime": (folder / runtimes.FILE_NAMES["onnx"]).stat().st_size,
            "LiteRT": (folder / runtimes.FILE_NAMES["litert"]).stat().st_size,
        }
        seconds = _time(calls, crops_mm, options.rounds, options.calls)
        answers = {
            name: np.concatenate([np.asarray(call(c[None])["spheres_mm"]) for c in crops_mm])
            for name, call in calls.items()
        }
    rows = [
        {
            "runtime": name,
            "megabytes": sizes[name] / 1e6,
            "median_ms": 1e3 * statistics.median(itertools.chain(*rounds)),
            "fastest_round_ms": 1e3 * min(map(statistics.median, rounds)),
            "difference_mm": float(np.abs(answers[name] - answers["Keras call"]).max()),
        }
        for name, rounds in seconds.items()
    ]
    load = (load_before, os.getloadavg()[0])
    print(
        f"{options.model}, {network.count_params():,} parameters; {options.threads} thread(s) of "
        f"{os.cpu_count()} cores, load {load[0]:.1f} before, {load[1]:.1f} after"
    )
    print(f"{'':<14}{'MB':>8}{'median ms':>12}{'fastest ms':>12}{'difference mm':>15}")
    for row in rows:
        print(
            f"{row['runtime']:<14}{row['megabytes']:>8.2f}{row['median_ms']:>12.2f}"
            f"{row['fastest_round_ms']:>12.2f}{row['difference_mm']:>15.5f}"
        )
    if options.output:
        results = {
            "parameters": network.count_params(),
            "threads": options.threads,
            "machine": platform.processor() or platform.machine(),
            "load": load,
            "runtimes": rows,
        }
        pathlib.Path(options.output).write_text(json.dumps(results, indent=2) + "\n")


def _crops(spec, count):
    """Synthetic hands, float32 `[count, S, S]`, mm from the crop's center."""
    import tensorflow as tf

    from tfhand.synthesis import samples

    rng = tf.random.Generator.from_seed(0)
    return samples.sample_batch(rng, count, spec)["depth_mm"].numpy()


def _saved_model(folder):
    import tensorflow as tf

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


def _time(calls, crops_mm, rounds, repeats):
    """Returns, for each name, a list of rounds, each the seconds of its calls."""
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            timed = []
            for i in range(repeats):
                crop_mm = crops_mm[i % len(crops_mm)][None]
                start = time.perf_counter()
                outputs = call(crop_mm)
                outputs["spheres_mm"].__array__()
                timed.append(time.perf_counter() - start)
            # The first round warms up.
            if number:
                seconds[name].append(timed)
    return seconds


if __name__ == "__main__":
    commands.run(main, define_flags)
