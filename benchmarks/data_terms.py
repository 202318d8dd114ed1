r"""Renderer and data terms, forward and backward: plain TensorFlow against the fused programs.

Run as

    python benchmarks/data_terms.py --output=data_terms.json

Each case renders `samples x views x views` sets of random spheres at 64 x 64 pixels and evaluates
equations 5 and 9 with gradients to the sphere centers. Time is the median over runs, and the CPU
time of all threads, which other load on the machine disturbs less. Memory (Linux) is the peak of
the resident set during the runs, after compilation, above its level before the first of them.
"""

import ctypes
import json
import multiprocessing
import pathlib
import statistics
import time

from absl import app, flags

_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed runs of each case.", lower_bound=1)
_CASES = flags.DEFINE_list(
    "cases", ["25x3x41", "8x3x160"], "Cases to run: samples x views x spheres."
)

CUBE_MM = 300.0
SIZE = 64
CLAMP_MM = 50.0
VARIANTS = ("naive", "fused")


def make_problem(samples, views, count):
    """Random hands of spheres, and the depth of slightly moved ones."""
    import numpy as np
    import tensorflow as tf

    from tfhand.rendering import spheres

    rng = np.random.default_rng(0)
    shape = [samples, views, views, count, 3]
    centers = (rng.normal(size=shape) * [35.0, 35.0, 25.0]).astype(np.float32)
    radii = rng.uniform(8.0, 14.0, size=[count]).astype(np.float32)
    moved = (centers[:, 0] + 4.0).reshape([-1, count, 3])
    depth = spheres.render_depth(moved, radii, image_size=SIZE, cube_mm=CUBE_MM)
    depth = tf.reshape(depth, [samples, views, SIZE, SIZE])
    return tf.constant(centers), tf.constant(radii), depth


def naive_terms(centers, radii, depth):
    """Equations 5-11 with a plane for each sphere, as one would write them down."""
    import tensorflow as tf

    from tfhand.geometry import crop

    spec = crop.CropSpec(SIZE, CUBE_MM)
    rays = crop.pixel_centers_mm(spec)
    surface = crop.foreground_mask(depth, CUBE_MM)[:, tf.newaxis]
    x, y, z = tf.unstack(centers[..., tf.newaxis, tf.newaxis, :], axis=-1)
    r = radii[:, tf.newaxis, tf.newaxis]
    q = tf.square(r) - tf.square(x - rays) - tf.square(y - rays[:, tf.newaxis])
    planes = tf.where(q > 0.0, z - tf.sqrt(tf.where(q > 0.0, q, 1.0)), spec.far_mm)
    rendered = tf.minimum(tf.reduce_min(planes, axis=3), spec.far_mm)
    drawn = crop.foreground_mask(rendered, CUBE_MM)
    difference = tf.minimum(tf.abs(rendered - depth[:, tf.newaxis]), CLAMP_MM)
    difference = tf.where(
        drawn & surface, difference, CLAMP_MM * tf.cast(drawn | surface, "float32")
    )
    pixels = tf.reduce_sum(tf.cast(drawn | surface, tf.float32), axis=[3, 4])
    m2d = tf.reduce_mean(tf.reduce_sum(difference, axis=[3, 4]) / pixels, axis=[1, 2])

    keep = tf.reshape(surface, [tf.shape(depth)[0], 1, -1, SIZE**2])
    points = crop.points_from_crop(depth, spec)[:, tf.newaxis]
    points = tf.broadcast_to(points, [*centers.shape[:3], SIZE**2, 3])
    points = tf.reshape(points, [-1, 1, SIZE**2, 3])
    folded = tf.reshape(centers, [-1, centers.shape[3], 1, 3])
    # One coordinate at a time: the [..., 3] differences would take three times the memory.
    squared = tf.add_n([tf.square(points[..., k] - folded[..., k]) for k in range(3)])
    distances = tf.abs(tf.sqrt(squared + 1e-6) - radii[:, tf.newaxis])
    distances = tf.reshape(tf.reduce_min(distances, axis=1), [*centers.shape[:3], SIZE**2])
    keep = tf.cast(keep, tf.float32)
    clamped = tf.minimum(distances, CLAMP_MM) * keep
    d2m = tf.reduce_mean(tf.reduce_sum(clamped, -1) / tf.reduce_sum(keep, -1), axis=[1, 2])
    return m2d, d2m


def fused_terms(centers, radii, depth):
    """The terms of the library."""
    from tfhand.losses import data_terms

    return (
        data_terms.model_to_data(centers, radii, depth, cube_mm=CUBE_MM, clamp_mm=CLAMP_MM),
        data_terms.data_to_model(centers, radii, depth, cube_mm=CUBE_MM, clamp_mm=CLAMP_MM),
    )


def measure(variant, case, repeats, pipe):
    """Runs in a process of its own, so that variants do not share memory."""
    import tensorflow as tf

    centers, radii, depth = make_problem(*case)
    terms = {"naive": naive_terms, "fused": fused_terms}[variant]

    @tf.function(autograph=False)
    def step(centers):
        with tf.GradientTape() as tape:
            tape.watch(centers)
            m2d, d2m = terms(centers, radii, depth)
            total = tf.reduce_sum(m2d + d2m)
        return m2d, d2m, tape.gradient(total, centers)

    before = _status_mb("VmRSS")
    start = time.perf_counter()
    m2d, d2m, _ = (x.numpy() for x in step(centers))
    first = time.perf_counter() - start
    resettable = _reset_peak()
    times, cpu = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        step(centers)[2].numpy()
        times.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / repeats
    peak = _status_mb("VmHWM") - before if resettable else None
    pipe.send(
        {
            "variant": variant,
            "seconds": statistics.median(times),
            "fastest_seconds": min(times),
            "cpu_seconds": cpu,
            "first_call_seconds": first,
            "peak_extra_mb": peak,
            "model_to_data_mm": float(m2d.mean()),
            "data_to_model_mm": float(d2m.mean()),
        }
    )


def _status_mb(field):
    """A field of /proc/self/status in MB, None where there is no such file."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def _reset_peak():
    """Gives freed memory back and sets the peak to the present level, where the system can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def run_case(case, variant, repeats):
    """Measures one variant in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(variant, case, repeats, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    results = []
    columns = ("case", "renders", "variant", "ms", "CPU ms", "peak MB", "m2d mm", "d2m mm")
    print(" ".join(f"{column:>9}" for column in columns))
    for name in _CASES.value:
        case = tuple(int(number) for number in name.split("x"))
        if len(case) != 3:
            raise app.UsageError(f"Expected cases as samples x views x spheres, received {name}")
        for variant in VARIANTS:
            result = {"case": name, **run_case(case, variant, _REPEATS.value)}
            result["renders"] = case[0] * case[1] ** 2
            results.append(result)
            memory = result["peak_extra_mb"]
            values = (
                name,
                result["renders"],
                variant,
                f"{1e3 * result['seconds']:.1f}",
                f"{1e3 * result['cpu_seconds']:.1f}",
                "-" if memory is None else f"{memory:.0f}",
                f"{result['model_to_data_mm']:.3f}",
                f"{result['data_to_model_mm']:.3f}",
            )
            print(" ".join(f"{value:>9}" for value in values), flush=True)
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
