"""Records depth cameras, one or several at once, in the layout that `data_prep.nyu` reads.

    python -m data_prep.record --cameras=SERIAL,SERIAL,SERIAL --output_dir=rig [--split=train]

A sample is one picture of each camera, `rig/train/depth_{1,2,3}_{0000001...}.png`, 16-bit, mm. When
each was taken is in `times.csv` beside them, serial numbers and intrinsics in `rig/cameras.json`,
and the newest sample to look at in `rig/preview.png`. Ctrl-C ends it; the same command goes on with
the next number. Killed at any moment, every picture is whole, and a sample without all of its
pictures is left out when the recording is converted.
"""

import contextlib
import pathlib
import re
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from PIL import Image

from tfhand import commands, files
from tfhand.cameras import camera_flags, frame_reader
from tfhand.cameras.folder import CAMERAS_FILE
from tfhand.cameras.interface import Camera, DepthFrame

__all__ = ["FrameMatcher", "SampleWriter", "define_flags", "main"]

_PICTURE = re.compile(r"depth_[0-9]+_([0-9]{7})\.png")
# Frames of a camera that wait for those of the others.
_MOST_WAITING = 8
# The preview shows readings up to so far, from white to black, each picture in so many px.
_PREVIEW_MM, _PREVIEW_SIZE = 1500.0, (320, 240)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    camera_flags.define_flags(flag_values)
    text = "Serial numbers, or folders that play, in the order of the views."
    flags.DEFINE_list("cameras", None, text, required=True, **define)
    flags.DEFINE_string("output_dir", None, "Folder of the recording.", required=True, **define)
    flags.DEFINE_string("split", "train", "Folder in it: train or test.", **define)
    text = "Samples a second at most; 0: all that come."
    flags.DEFINE_float("frame_rate", 10.0, text, 0.0, **define)
    text = "Frames of a sample are taken within so many ms; half of 1/30 s by default."
    flags.DEFINE_float("max_apart_ms", 17.0, text, 0.0, **define)
    flags.DEFINE_integer("countdown", 3, "Seconds before it starts.", 0, **define)
    flags.DEFINE_integer("num_samples", 0, "Ends after so many; 0: at Ctrl-C.", 0, **define)


def main(flag_values: flags.FlagValues) -> None:
    """Records until the cameras end, or Ctrl-C or SIGTERM."""
    sources = flag_values.cameras
    if not sources or len(set(sources)) < len(sources):
        raise ValueError(f"Expected different --cameras, received {','.join(sources)!r}.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(commands.sigterm_as_interrupt())
        stack.enter_context(files.lock_folder(flag_values.output_dir, "recording to"))
        cameras = [
            stack.enter_context(camera_flags.open_from_flags(flag_values, source))
            for source in sources
        ]
        writer = SampleWriter(flag_values.output_dir, flag_values.split, cameras)
        _count_down(flag_values.countdown)
        readers = [
            stack.enter_context(frame_reader.FrameReader(camera, _MOST_WAITING))
            for camera in cameras
        ]
        matcher = FrameMatcher(readers, flag_values.max_apart_ms)
        with contextlib.suppress(KeyboardInterrupt):
            _record(flag_values, writer, matcher)
    if matcher.num_apart and not writer.num_samples:
        raise ValueError(
            f"Expected frames of all cameras within {flag_values.max_apart_ms:g} ms of each "
            f"other, found none; the last were {matcher.apart_ms:.0f} ms apart (--max_apart_ms)."
        )


def _count_down(seconds):
    for left in range(seconds, 0, -1):
        print(f"{left} ...", flush=True)
        time.sleep(1.0)


def _record(flag_values, writer, matcher):
    """Writes samples until the cameras end; shows one a second."""
    # Frames come now and then a little early.
    least_ms = 0.8e3 / flag_values.frame_rate if flag_values.frame_rate else 0.0
    last_ms, shown_s = -np.inf, time.monotonic()
    try:
        for frames in matcher:
            if frames[0].time_ms - last_ms < least_ms:
                continue
            last_ms = frames[0].time_ms
            writer.write(frames)
            if time.monotonic() - shown_s >= 1.0:
                shown_s = time.monotonic()
                print(_describe(writer, matcher, frames), flush=True)
                writer.write_preview(frames)
            if writer.num_samples == flag_values.num_samples:
                return
    finally:
        print(
            f"{writer.folder}: {writer.num_samples} samples; {matcher.num_read} frames read, "
            f"{matcher.num_apart} without partners and {matcher.num_late} too late dropped"
        )


def _describe(writer, matcher, frames):
    nearest = [
        np.percentile(depth_mm, 1) if (depth_mm := f.depth_mm[f.depth_mm > 0]).size else np.nan
        for f in frames
    ]
    return (
        f"{writer.num_samples} samples, {matcher.num_apart + matcher.num_late} frames dropped, "
        f"nearest at {', '.join(f'{value:.0f}' for value in nearest)} mm"
    )


class FrameMatcher:
    """Frames of several cameras that belong together in time; iterate over it for lists of them.

    Attributes:
        num_apart: Frames that were dropped because no other camera had one at their time.
        apart_ms: How far the last ones were apart.
    """

    def __init__(self, readers: Sequence[frame_reader.FrameReader], max_apart_ms: float):
        """Takes a reader a camera, and the longest time between frames of a sample."""
        self._readers, self._max_apart_ms = readers, max_apart_ms
        self.num_apart, self.apart_ms = 0, 0.0

    @property
    def num_read(self) -> int:
        """Frames that came from all cameras."""
        return sum(reader.num_read for reader in self._readers)

    @property
    def num_late(self) -> int:
        """Frames that were dropped because writing did not keep up."""
        return sum(reader.num_dropped for reader in self._readers)

    def __iter__(self) -> Iterator[list[DepthFrame]]:
        """Yields a frame of each camera until one of them ends.

        Raises:
            CameraError: If a camera is gone.
        """
        heads = [None] * len(self._readers)
        while True:
            for i, reader in enumerate(self._readers):
                heads[i] = heads[i] or reader.get()
            if None in heads:
                return
            times_ms = [head.frame.time_ms for head in heads]
            self.apart_ms = max(times_ms) - min(times_ms)
            if self.apart_ms <= self._max_apart_ms:
                yield [head.frame for head in heads]
                heads = [None] * len(heads)
            else:
                # All later frames of the others are farther from the oldest.
                heads[times_ms.index(min(times_ms))] = None
                self.num_apart += 1


class SampleWriter:
    """Writes samples into a split, after those that are there.

    Attributes:
        folder: `pathlib.Path` of the split.
        num_samples: Samples that were written.
    """

    def __init__(self, output_dir, split: str, cameras: Sequence[Camera]):
        """Writes the cameras, or compares them with those of an earlier recording.

        Raises:
            ValueError: If they are others.
            OSError: If the folder cannot be written.
        """
        output_dir = pathlib.Path(output_dir)
        self.folder, self.num_samples = output_dir / split, 0
        self._preview = output_dir / "preview.png"
        described = {
            "serials": [camera.serial for camera in cameras],
            "intrinsics": [
                np.round(camera.intrinsics.astype(float), 4).tolist() for camera in cameras
            ],
        }
        path = output_dir / CAMERAS_FILE
        if not path.is_file():
            files.write_json(path, described)
        before = files.read_json(path)
        if any(before.get(name) != value for name, value in described.items()):
            raise ValueError(
                f"Expected the cameras of {path}, {before.get('serials')}, in the same order and "
                f"with the same intrinsics, found {described['serials']}: record to another folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        matches = (_PICTURE.fullmatch(path.name) for path in self.folder.iterdir())
        self._number = max((int(match[1]) for match in matches if match), default=0)
        self._times = self.folder / "times.csv"
        if not self._times.exists():
            names = [f"time_ms_{view + 1}" for view in range(len(cameras))]
            files.write_text(self._times, ",".join(["frame", *names]) + "\n")

    def write(self, frames: Sequence[DepthFrame]) -> None:
        """Writes a frame of each camera; their times come last."""
        self._number += 1
        for view, frame in enumerate(frames, start=1):
            depth_mm = np.clip(np.rint(frame.depth_mm), 0, np.iinfo(np.uint16).max)
            picture = Image.fromarray(depth_mm.astype(np.uint16))
            with files.replacing(self.folder / f"depth_{view}_{self._number:07d}.png") as path:
                picture.save(path, compress_level=1)
        times = [f"{frame.time_ms:.3f}" for frame in frames]
        with files.writing(self._times), open(self._times, "a", encoding="utf-8") as file:
            file.write(",".join([str(self._number), *times]) + "\n")
        self.num_samples += 1

    def write_preview(self, frames: Sequence[DepthFrame]) -> None:
        """Draws the frames beside each other, near ones light."""
        pictures = []
        for frame in frames:
            near = np.where(frame.depth_mm > 0, 1.0 - frame.depth_mm / _PREVIEW_MM, 0.0)
            picture = Image.fromarray((255.0 * np.clip(near, 0.0, 1.0)).astype(np.uint8))
            pictures.append(np.asarray(picture.resize(_PREVIEW_SIZE)))
        with files.replacing(self._preview) as path:
            Image.fromarray(np.hstack(pictures)).save(path)


if __name__ == "__main__":
    commands.run(main, define_flags)
