"""Reading of records: bytes alone, parsed samples, and a whole split into memory.

Run as

    python benchmarks/record_reading.py --output=record_reading.json

It writes a few hundred samples of three views and reads them back. Reading and parsing may not
hold up a train step: the target is at least 10 times the samples that a self-supervised step of
16 samples takes in 250 ms.
"""

import pathlib
import tempfile

import measure
import tensorflow as tf
from absl import flags

from data_prep import records
from data_prep.synthetic import embedded
from tfhand import commands
from tfhand.data import recordings
from tfhand.geometry import crop

BYTES, PARSED, IN_MEMORY = "bytes alone", "parsed", "read_recording"
TARGET_SAMPLES_PER_SECOND = 640


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=10)
    flags.DEFINE_integer("samples", 400, "Samples of both splits.", 10, flag_values=flag_values)


def build(folder):
    """Returns functions that read the split, by name."""

    def count(dataset):
        return sum(1 for _ in dataset)

    paths = records.list_shards(folder, "train")
    return {
        BYTES: lambda: count(tf.data.TFRecordDataset(paths)),
        PARSED: lambda: count(records.load_dataset(folder, "train").batch(16)),
        IN_MEMORY: lambda: len(recordings.read_recording(records.load_dataset(folder, "train"))),
    }


def main(flag_values):
    report = measure.Report(__file__, "Reading of records")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "records"
        recording = embedded.RecordingOptions(flag_values.samples, crop.CropSpec())
        samples = embedded.write(folder, recording)["train"]
        cases = measure.compare(build, folder, rounds=flag_values.rounds)
        report.cases(f"{samples} samples of three 64 x 64 views", cases)
    rates = {case.name: samples / case.seconds for case in cases}
    report.table("Rates", ["version", "samples/s"], list(rates.items()))
    report.target("parsed samples/s", rates[PARSED], least=TARGET_SAMPLES_PER_SECOND)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
