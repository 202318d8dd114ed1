"""A stream of 640 x 480 depth frames to hands, as `tfhand.live` does it.

Run as

    python benchmarks/live.py --output=live.json

It renders a few frames of a hand before a wall and plays them as a folder: as fast as hands are
estimated, for frames a second and memory, and at 30 frames a second, for the latency from the
arrival of a frame to its joints. Decoding the pictures, which a camera spares, is part of the CPU
time and also given alone. Targets: 30 frames a second, 40 ms (95th percentile), steady memory.
"""

import itertools
import json
import os
import pathlib
import tempfile
import time

import frame
import measure
import numpy as np
from absl import flags
from PIL import Image

from tfhand import commands, live
from tfhand.cameras import frame_reader, kinds
from tfhand.estimator import PoseEstimator
from tfhand.models import package_weights

LEAST_RATE, MOST_MS, MOST_GROWTH_MB = 30.0, 40.0, 20.0
CAMERA_RATE = 30.0
# Compiled, and the memory that a stream keeps is taken.
WARM_UP = 100


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=1)
    flags.DEFINE_integer("frames", 10_000, "Frames of the stream.", 1000, flag_values=flag_values)
    flags.DEFINE_string(
        "model", package_weights.NAME, "Trained network, pose.keras.", flag_values=flag_values
    )


def resident_mb():
    """Returns the resident memory of this process (Linux)."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def play(estimator, folder, num_frames, frame_rate):
    """Streams frames of a folder to JSON; returns a dict of numbers."""
    source = kinds.open_camera("folder", str(folder), frame_rate=frame_rate, loops=True)
    statistics = live.Statistics()
    with source, frame_reader.FrameReader(source) as reader, open(os.devnull, "w") as nowhere:
        hands = live.estimate_hands(estimator, source, reader)
        for _ in itertools.islice(hands, WARM_UP):
            pass
        start_s, cpu_s, start_mb = time.monotonic(), time.process_time(), resident_mb()
        dropped, latencies_ms = reader.num_dropped, []
        for hand in itertools.islice(hands, num_frames):
            statistics.add(hand, reader.num_dropped)
            latencies_ms.append(hand.latency_ms)
            print(json.dumps({} if hand.hand is None else hand.hand.to_dict()), file=nowhere)
        seconds = time.monotonic() - start_s
        return {
            "rate": num_frames / seconds,
            "cpu_ms": 1e3 * (time.process_time() - cpu_s) / num_frames,
            "growth_mb": resident_mb() - start_mb,
            "dropped": reader.num_dropped - dropped,
            "median_ms": float(np.median(latencies_ms)),
            "high_ms": float(np.percentile(latencies_ms, 95)),
        }


def decode_cpu_ms(folder, num_frames):
    """Returns the CPU time of reading a frame alone."""
    source = kinds.open_camera("folder", str(folder), loops=True)
    cpu_s = time.process_time()
    for _ in itertools.islice(source, num_frames):
        pass
    return 1e3 * (time.process_time() - cpu_s) / num_frames


def main(flag_values):
    report = measure.Report(__file__, "A stream of 640 x 480 frames")
    estimator = PoseEstimator.load(flag_values.model)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, depth_mm in enumerate(frame.make_frames(folder / "made")):
            Image.fromarray(depth_mm).save(folder / f"{number}.png")
        fast = play(estimator, folder, flag_values.frames, frame_rate=0.0)
        paced = play(estimator, folder, flag_values.frames // 10, CAMERA_RATE)
        decoding_ms = decode_cpu_ms(folder, 200)
    rows = [
        (title, *(run[key] for key in ("rate", "median_ms", "high_ms", "dropped", "cpu_ms")))
        for title, run in (("as fast as it goes", fast), ("30 frames a second", paced))
    ]
    columns = ["stream", "frames/s", "latency ms", "95th percentile ms", "dropped", "CPU ms"]
    report.table(f"{flag_values.frames:,} frames; decoding {decoding_ms:.1f} ms CPU", columns, rows)
    report.target("frames a second", fast["rate"], least=LEAST_RATE)
    report.target("latency, 95th percentile, ms", paced["high_ms"], most=MOST_MS)
    report.target("growth of the memory, MB", fast["growth_mb"], most=MOST_GROWTH_MB)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
