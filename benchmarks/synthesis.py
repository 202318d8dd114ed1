"""Synthetic depth maps a second, clean and with the sensor's faults.

Run as

    python benchmarks/synthesis.py --output=synthesis.json

The target is 3,000 clean maps/s at 64 px on two free cores.
"""

import measure
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.geometry import crop
from tfhand.synthesis import samples

TARGET_MAPS_PER_SECOND = 3000
CLEAN, FAULTY = "clean", "with the sensor's faults"


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=10)
    flags.DEFINE_integer("image_size", 64, "Side of the maps, px.", 8, flag_values=flag_values)
    flags.DEFINE_integer("batch", 256, "Maps drawn at once.", 1, flag_values=flag_values)


def build(image_size, batch):
    """Returns functions that draw a batch, by name."""
    rng = tf.random.Generator.from_seed(0)
    spec = crop.CropSpec(image_size=image_size)

    def make(noise):
        config = samples.SyntheticConfig(noise=noise)
        draw = tf.function(lambda: samples.sample_batch(rng, batch, spec, config), autograph=False)
        return lambda: draw()["depth_mm"].numpy()

    return {CLEAN: make("none"), FAULTY: make("sensor")}


def main(flag_values):
    report = measure.Report(__file__, "Synthetic depth")
    cases = measure.compare(
        build, flag_values.image_size, flag_values.batch, rounds=flag_values.rounds, calls=5
    )
    title = f"{flag_values.image_size} px, batches of {flag_values.batch}"
    report.cases(title, cases)
    rows = [
        (
            case.name,
            flag_values.batch / case.seconds,
            flag_values.batch / case.fastest_seconds,
            1e3 * case.cpu_seconds / flag_values.batch,
        )
        for case in cases
    ]
    report.table("Rates", ["version", "maps/s", "fastest maps/s", "CPU ms/map"], rows)
    report.target("clean maps/s", rows[0][1], least=TARGET_MAPS_PER_SECOND)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
