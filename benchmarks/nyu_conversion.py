"""Conversion of a recording in NYU's layout against decoding the same pictures alone.

Run as

    python benchmarks/nyu_conversion.py --output=nyu_conversion.json

It writes a small recording (three 640 x 480 PNG a frame) and times, in the same process and with
the same number of threads, decoding all pictures and converting all frames, interleaved. The
target is a ratio of at most 1.5. Converting one frame measures what is spent once: calibrating the
cameras and writing what surrounds the records.
"""

import concurrent.futures
import os
import pathlib
import shutil
import tempfile

import measure
from absl import flags

from data_prep import records
from data_prep.nyu import command, frame_crops, recording_files
from tests.data_prep import nyu_layout
from tfhand import commands

TARGET_RATIO = 1.5
DECODE, CONVERT, CONVERT_ONE = "decoding", "converting", "converting one frame"


def decode_all(folder, frames, workers):
    """Decodes every picture."""
    split = recording_files.open_split(folder, "train")

    def decode(frame):
        frame_crops.decode_views(*recording_files.read_pictures(split, frame))

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(decode, frames):
            pass


def convert(folder, workers, every=1):
    """Converts every n-th frame of the recording."""
    # A finished conversion is not done again.
    shutil.rmtree(folder / "records", ignore_errors=True)
    arguments = [
        "nyu", f"--nyu_dir={folder}", f"--output_dir={folder / 'records'}", "--splits=train",
        f"--workers={workers}", "--num_shards=1", f"--every={every}",
    ]  # fmt: skip
    command.main(commands.parse(command.define_flags, arguments))


def write_recording(folder, frames):
    """Writes a recording of so many frames in NYU's layout."""
    target = folder / "train"
    target.mkdir()
    # A few frames at a time: all of them at once take much memory.
    for first in range(0, frames, 25):
        count = min(25, frames - first)
        part = nyu_layout.write_split(folder / f"part{first}", count, seed=1, compression=6)
        for view in (1, 2, 3):
            for i in range(1, count + 1):
                name = f"depth_{view}_%07d.png"
                shutil.move(part.folder / (name % i), target / (name % (first + i)))
        shutil.move(part.folder / "joint_data.mat", target / "joint_data.mat")


def build(folder, frames):
    """Returns the versions by name."""
    measure.set_threads(1)
    workers = os.cpu_count() or 1
    return {
        DECODE: lambda: decode_all(folder, range(1, frames + 1), workers),
        # After one frame, so that the records of all stay.
        CONVERT_ONE: lambda: convert(folder, workers, every=frames),
        CONVERT: lambda: convert(folder, workers),
    }


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=6)
    flags.DEFINE_integer("frames", 150, "Frames of the recording.", 1, flag_values=flag_values)


def main(flag_values):
    # As `data_prep.nyu` does.
    measure.set_threads(1)
    report = measure.Report(__file__, "Conversion of NYU's layout")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_recording(folder, flag_values.frames)
        cases = measure.compare(
            build, folder, flag_values.frames, rounds=flag_values.rounds, warmups=1
        )
        extra = records.read_info(folder / "records").splits["train"].extra
    report.cases(f"{flag_values.frames} frames of three views", cases, relative_to=DECODE)
    decoding, once, converting = (case.seconds for case in cases)
    frames = flag_values.frames
    rows = [
        (DECODE, 1e3 * decoding / frames),
        (CONVERT, 1e3 * converting / frames),
        ("converting, without what is spent once", 1e3 * (converting - once) / max(frames - 1, 1)),
    ]
    report.table("A frame", ["version", "ms"], rows)
    names = ("median_center_to_palm_mm", "median_center_disagreement_mm")
    report.table("Centers found", ["median", "mm"], [(name, extra[name]) for name in names])
    report.target("converting / decoding", converting / decoding, most=TARGET_RATIO)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
