"""Synthetic depth maps a second, clean and with the sensor's faults.

Run as

    python benchmarks/synthesis.py --output=synthesis.json

The target is 3,000 clean maps/s at 64 px on two free cores. A case is timed in
rounds; the table shows the median and the fastest round, which other load disturbs least, and the
CPU time of all threads a map.
"""

import json
import pathlib
import statistics
import time

from absl import flags

from tfhand import commands

TARGET_MAPS_PER_SECOND = 3000


def measure(config, spec, batch, rounds, seconds):
    """Times one case; returns its row."""
    import tensorflow as tf

    from tfhand.synthesis import samples

    rng = tf.random.Generator.from_seed(0)

    @tf.function(autograph=False)
    def draw():
        return samples.sample_batch(rng, batch, spec, config)

    start = time.perf_counter()
    draw()["depth_mm"].numpy()
    first = time.perf_counter() - start
    rates, cpu, maps = [], time.process_time(), 0
    for _ in range(rounds):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            draw()["depth_mm"].numpy()
            count += batch
        rates.append(count / (time.perf_counter() - start))
        maps += count
    return {
        "faults": config.noise,
        "maps_per_second": statistics.median(rates),
        "fastest_maps_per_second": max(rates),
        "cpu_ms_per_map": 1e3 * (time.process_time() - cpu) / maps,
        "first_call_seconds": first,
    }


def define_flags(flag_values):
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)
    flags.DEFINE_integer("image_size", 64, "Side of the maps, px.", 8, flag_values=flag_values)
    flags.DEFINE_integer("batch", 256, "Maps drawn at once.", 1, flag_values=flag_values)
    flags.DEFINE_integer("rounds", 5, "Timed rounds a case.", 1, flag_values=flag_values)
    flags.DEFINE_float("seconds", 2.0, "Length of a round.", 0.1, flag_values=flag_values)


def main(options):
    from tfhand.geometry import crop
    from tfhand.synthesis import samples

    spec = crop.CropSpec(image_size=options.image_size)
    cases = [
        measure(
            samples.SyntheticConfig(noise=noise),
            spec,
            options.batch,
            options.rounds,
            options.seconds,
        )
        for noise in (False, True)
    ]
    print(f"{options.image_size} px, batches of {options.batch}")
    print(f"{'':<14}{'maps/s':>9}{'fastest':>9}{'CPU ms/map':>12}{'first call s':>14}")
    for case in cases:
        print(
            f"{'with faults' if case['faults'] else 'clean':<14}{case['maps_per_second']:>9.0f}"
            f"{case['fastest_maps_per_second']:>9.0f}{case['cpu_ms_per_map']:>12.2f}"
            f"{case['first_call_seconds']:>14.1f}"
        )
    reached = cases[0]["fastest_maps_per_second"] >= TARGET_MAPS_PER_SECOND
    verdict = "reached" if reached else "not reached"
    print(f"target {TARGET_MAPS_PER_SECOND} clean maps/s: {verdict}")
    if options.output:
        result = {"image_size": options.image_size, "batch": options.batch, "cases": cases}
        pathlib.Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    commands.run(main, define_flags)
