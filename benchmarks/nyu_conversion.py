"""Conversion of a recording in NYU's layout against decoding the same pictures alone.

Run as

    python benchmarks/nyu_conversion.py --output=nyu_conversion.json

It writes a small recording (three 640 x 480 PNG a frame) and times, in the same process and with
the same number of threads, decoding all pictures and converting all frames, in turns. The target
is a ratio of at most 1.5.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tfhand import commands

TARGET_RATIO = 1.5


def decode_all(folder, frames, workers):
    """Decodes every picture; returns seconds."""
    from data_prep import nyu_frames, nyu_source

    split = nyu_source.open_split(folder, "train")
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(
            lambda f: nyu_frames.decode_views(*nyu_source.read_pictures(split, f)), frames
        ):
            pass
    return time.perf_counter() - start


def convert_all(folder, output_dir, workers):
    """Converts the recording; returns seconds."""
    from data_prep import nyu

    arguments = [
        "nyu", f"--nyu_dir={folder}", f"--output_dir={output_dir}", "--splits=train",
        f"--workers={workers}", "--num_shards=1",
    ]  # fmt: skip
    options = commands.parse(nyu.define_flags, arguments)
    start = time.perf_counter()
    nyu.main(options)
    return time.perf_counter() - start


def define_flags(flag_values):
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)
    flags.DEFINE_integer("frames", 150, "Frames of the recording.", 1, flag_values=flag_values)
    flags.DEFINE_integer("rounds", 3, "Timed rounds.", 1, flag_values=flag_values)


def main(options):
    from data_prep import records
    from tests.data_prep import nyu_layout

    workers = os.cpu_count() or 1
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for first in range(0, options.frames, 25):
            # A few frames at a time: all of them at once take much memory.
            count = min(25, options.frames - first)
            part = nyu_layout.write_split(folder / f"part{first}", count, seed=1)
            (folder / "train").mkdir(exist_ok=True)
            for view in (1, 2, 3):
                for i in range(count):
                    shutil.move(
                        part.folder / f"depth_{view}_{i + 1:07d}.png",
                        folder / "train" / f"depth_{view}_{first + i + 1:07d}.png",
                    )
            shutil.move(part.folder / "joint_data.mat", folder / "train" / "joint_data.mat")
        frames = range(1, options.frames + 1)
        for i in range(options.rounds + 1):
            decode = decode_all(folder, frames, workers)
            convert = convert_all(folder, folder / f"out{i}", workers)
            if i:  # The first round traces and compiles.
                rows.append({"decode_seconds": decode, "convert_seconds": convert})
        folder_info = records.read_info(folder / "out0")
    ratio = statistics.median(r["convert_seconds"] / r["decode_seconds"] for r in rows)
    decode, convert = (
        1e3 * statistics.median(r[name] for r in rows) / options.frames
        for name in ("decode_seconds", "convert_seconds")
    )
    print(f"decoding {decode:.1f} ms a frame, converting {convert:.1f} ms, ratio {ratio:.2f}")
    extra = folder_info.splits["train"].extra
    print(
        f"centers: median {extra['median_center_to_palm_mm']} mm from PALM_3, those of the views "
        f"{extra['median_center_disagreement_mm']} mm from the common one"
    )
    print(f"target {TARGET_RATIO}: {'reached' if ratio <= TARGET_RATIO else 'not reached'}")
    if options.output:
        result = {"decode_ms": decode, "convert_ms": convert, "ratio": ratio, "rounds": rows}
        pathlib.Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    import tensorflow as tf

    # As `data_prep.nyu` does.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    commands.run(main, define_flags)
