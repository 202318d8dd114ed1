r"""Renderer and data terms, forward and backward: plain TensorFlow against the fused programs.

Run as

    python benchmarks/data_terms.py --output=data_terms.json

A case renders `samples x views x views` sets of random spheres and evaluates equations 5 and 9 with
gradients to the sphere centers, written down as one would, with a plane for each sphere, and as
the library does. The target, at 225 renders of 41 spheres at 64 x 64 pixels, is 3 times the speed
of plain TensorFlow with at most 200 MB of further memory. Two more tables show how the library's
terms scale with the side of the picture and with the number of renders.
"""

import functools

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.geometry import crop
from tfhand.losses import data_terms
from tfhand.losses.observation import observe
from tfhand.rendering import spheres

CUBE_MM = 300.0
CLAMP_MM = 50.0
SPHERES = 41
SIDE = 64
# 25 samples of 3 views.
SAMPLES = 25
PLAIN, FUSED = "plain TensorFlow", "fused"
TARGET_SPEEDUP, TARGET_MB = 3.0, 200.0


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=7)
    flags.DEFINE_list(
        "sides",
        ["64", "96", "128", "192", "256"],
        "Pictures to scale to, px.",
        flag_values=flag_values,
    )
    flags.DEFINE_list(
        "renders", ["1", "9", "45", "225", "504"], "Renders to scale to: 1, or times nine.",
        flag_values=flag_values,
    )  # fmt: skip


def make_problem(samples, views, count, side):
    """Random hands of spheres, and the depth of slightly moved ones."""
    rng = np.random.default_rng(0)
    shape = [samples, views, views, count, 3]
    centers = (rng.normal(size=shape) * [35.0, 35.0, 25.0]).astype(np.float32)
    radii = rng.uniform(8.0, 14.0, size=[count]).astype(np.float32)
    moved = (centers[:, 0] + 4.0).reshape([-1, count, 3])
    depth = spheres.render_depth(moved, radii, image_size=side, cube_mm=CUBE_MM)
    depth = tf.reshape(depth, [samples, views, side, side])
    return tf.constant(centers), tf.constant(radii), depth


def naive_terms(centers, radii, depth):
    """Equations 5-11 with a plane for each sphere, as one would write them down."""
    side = depth.shape[-1]
    spec = crop.CropSpec(side, CUBE_MM)
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

    keep = tf.reshape(surface, [tf.shape(depth)[0], 1, -1, side**2])
    points = crop.points_from_crop(depth, spec)[:, tf.newaxis]
    points = tf.broadcast_to(points, [*centers.shape[:3], side**2, 3])
    points = tf.reshape(points, [-1, 1, side**2, 3])
    folded = tf.reshape(centers, [-1, centers.shape[3], 1, 3])
    # One coordinate at a time: the [..., 3] differences would take three times the memory.
    squared = tf.add_n([tf.square(points[..., k] - folded[..., k]) for k in range(3)])
    distances = tf.abs(tf.sqrt(squared + 1e-6) - radii[:, tf.newaxis])
    distances = tf.reshape(tf.reduce_min(distances, axis=1), [*centers.shape[:3], side**2])
    keep = tf.cast(keep, tf.float32)
    clamped = tf.minimum(distances, CLAMP_MM) * keep
    d2m = tf.reduce_mean(tf.reduce_sum(clamped, -1) / tf.reduce_sum(keep, -1), axis=[1, 2])
    return m2d, d2m


def fused_terms(centers, radii, depth):
    """The terms of the library."""
    spec = crop.CropSpec(depth.shape[-1], CUBE_MM)
    observation = observe(depth, spec, clamp_mm=CLAMP_MM)
    return (
        data_terms.model_to_data(centers, radii, observation),
        data_terms.data_to_model(centers, radii, observation),
    )


def make_step(terms, problem):
    """Returns a function that evaluates the terms and their gradient."""
    centers, radii, depth = problem

    @tf.function(autograph=False)
    def step(centers):
        with tf.GradientTape() as tape:
            tape.watch(centers)
            m2d, d2m = terms(centers, radii, depth)
            total = tf.reduce_sum(m2d + d2m)
        return m2d, d2m, tape.gradient(total, centers)

    return lambda: [value.numpy() for value in step(centers)]


def load_compiler():
    """Uses XLA once: that maps some 60 MB of its code, which is no memory of the terms."""
    tf.function(tf.sort, jit_compile=True, autograph=False)(tf.ones([8])).numpy()


def build(samples, views, count, side, names):
    """Returns the named steps on one problem."""
    load_compiler()
    problem = make_problem(samples, views, count, side)
    terms = {PLAIN: naive_terms, FUSED: fused_terms}
    return {name: make_step(terms[name], problem) for name in names}


def main(flag_values):
    report = measure.Report(__file__, "Renderer and data terms, forward and backward")
    compare = functools.partial(measure.compare, build, rounds=flag_values.rounds)
    both = compare(SAMPLES, 3, SPHERES, SIDE, (PLAIN, FUSED))
    renders = 9 * SAMPLES
    report.cases(
        f"{renders} renders of {SPHERES} spheres, {SIDE} x {SIDE} px", both, relative_to=PLAIN
    )
    plain, fused = both
    report.target("speed-up over plain TensorFlow", plain.seconds / fused.seconds,
                  least=TARGET_SPEEDUP)  # fmt: skip
    if fused.peak_extra_mb is not None:
        report.target("extra memory, MB", fused.peak_extra_mb, most=TARGET_MB)
    many = compare(8, 3, 160, SIDE, (PLAIN, FUSED))
    report.cases("72 renders of 160 spheres", many, relative_to=PLAIN)
    scaled = [compare(SAMPLES, 3, SPHERES, int(side), (FUSED,))[0] for side in flag_values.sides]
    report.table(*scaling(f"{renders} renders, by side", "px", flag_values.sides, scaled))
    scaled = []
    for count in map(int, flag_values.renders):
        views = 3 if count % 9 == 0 else 1
        scaled += compare(count // views**2, views, SPHERES, SIDE, (FUSED,))
    report.table(
        *scaling(f"{SIDE} x {SIDE} px, by renders", "renders", flag_values.renders, scaled)
    )
    report.write(flag_values.output)


def scaling(title, name, sizes, cases):
    """Returns title, columns and rows of a table of one case a size."""
    rows = [
        (size, 1e3 * case.seconds, 1e3 * case.cpu_seconds, case.memory_text())
        for size, case in zip(sizes, cases)
    ]
    return title, [name, "ms", "CPU ms", "peak extra MB"], rows


if __name__ == "__main__":
    commands.run(main, define_flags)
