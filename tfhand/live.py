"""Shows the hand before a depth camera: in the browser, in the terminal, and as JSON lines.

    python -m tfhand.live --camera=realsense [--source=SERIAL]
    python -m tfhand.live --camera=folder --source=FRAMES [--frame_rate=30] [--loop]

Frames that come while a hand is estimated are dropped, all but the newest. Ctrl-C ends it. The page
needs the extra `viewer`, a camera the extra of its kind; without --model it is the network that
comes with the package.
"""

import collections
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator

import numpy as np
from absl import flags

from tfhand import commands, files, presence
from tfhand.cameras import camera_flags, frame_reader, interface
from tfhand.estimator import PoseEstimator
from tfhand.hands import HANDS, Hand
from tfhand.models import package_weights
from tfhand.viewer import line_server, live_app, server

__all__ = ["LiveHand", "Statistics", "define_flags", "estimate_hands", "main"]

# Latencies that are kept, so that memory stays as it is.
_MOST_LATENCIES = 100_000
_SOMEWHERE_MM = (0.0, 0.0, 600.0)


@dataclasses.dataclass(frozen=True)
class LiveHand:
    """A frame and the hand in it.

    Attributes:
        frame: The frame.
        hand: The hand; None: the frame shows none.
        latency_ms: From the arrival of the frame to the hand.
    """

    frame: interface.DepthFrame
    hand: Hand | None
    latency_ms: float


class Statistics:
    """Counts of a stream, and a line about its last second."""

    def __init__(self):
        """Starts with nothing."""
        self.num_frames = self.num_hands = 0
        self._latencies_ms = collections.deque(maxlen=_MOST_LATENCIES)
        self._start_s, self._since = None, 1
        self.text = ""

    def add(self, live: LiveHand, num_dropped: int) -> bool:
        """Counts a frame; returns True, with a new `text`, if a second is over."""
        self.num_frames += 1
        self.num_hands += live.hand is not None
        self._latencies_ms.append(live.latency_ms)
        now_s = time.monotonic()
        # From the first frame on: what was before it is the start of the program.
        self._start_s = self._start_s or now_s
        if now_s - self._start_s < 1.0:
            return False
        count = self.num_frames - self._since
        rate = count / (now_s - self._start_s)
        where = "no hand"
        if live.hand is not None:
            side = "left" if live.hand.is_left else "right"
            where = side + " hand at ({:.0f}, {:.0f}, {:.0f}) mm".format(
                *live.hand.spheres_mm.mean(axis=0)
            )
        recent_ms = np.median([self._latencies_ms[-i] for i in range(1, 1 + min(count, 100))])
        self.text = (
            f"{rate:.1f} frames/s, latency {recent_ms:.0f} ms, {num_dropped} dropped, {where}"
        )
        self._start_s, self._since = now_s, self.num_frames
        return True

    def summary(self, num_read: int, num_dropped: int) -> str:
        """Returns counts and latencies of all frames."""
        median, high = np.percentile(self._latencies_ms or [np.nan], [50, 95])
        return (
            f"{num_read} frames read, {num_dropped} dropped, {self.num_frames} shown, "
            f"{self.num_hands} with a hand; latency {median:.1f} ms, 95th percentile {high:.1f} ms"
        )


def estimate_hands(
    estimator: PoseEstimator,
    camera: interface.Camera,
    reader: frame_reader.FrameReader,
    least_score: float = presence.LEAST_SCORE,
) -> Iterator[LiveHand]:
    """Estimates the hand in the newest frame, again and again, to the last.

    Args:
        estimator: `PoseEstimator`.
        camera: The camera that is read.
        reader: Its reader.
        least_score: See `PoseEstimator.stream`.

    Yields:
        `LiveHand`.

    Raises:
        CameraError: If the camera is gone.
    """
    newest = None

    def depths():
        nonlocal newest
        for newest in reader:
            yield newest.frame.depth_mm

    # Fits are half a second apart: too far to smooth.
    is_smooth = estimator.fits is None
    stream = estimator.stream(
        depths(),
        camera.intrinsics,
        frame_rate=camera.frame_rate,
        smoothing=is_smooth,
        least_score=least_score,
    )
    for hand in stream:
        yield LiveHand(newest.frame, hand, 1e3 * (time.monotonic() - newest.arrival_s))


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    camera_flags.define_flags(flag_values)
    text = "Serial number, or a folder, pattern or recorded file to play; none: the first camera."
    flags.DEFINE_string("source", None, text, **define)
    text = "Frames a second of folder; 0: each waits until the hand before it is estimated."
    flags.DEFINE_float("frame_rate", 30.0, text, 0.0, **define)
    flags.DEFINE_boolean("loop", False, "Play a folder again and again.", **define)
    text = "Trained network, pose.keras; shipped: that of the package."
    flags.DEFINE_string("model", package_weights.NAME, text, **define)
    text = "The hand before the camera; auto: looked at, while it is seen."
    flags.DEFINE_enum("hand", "right", HANDS, text, **define)
    text = (
        "Score with which a hand appears; it stays down to a third of it. 0: whatever could be one."
    )
    flags.DEFINE_float("least_score", presence.LEAST_SCORE, text, 0.0, 1.0, **define)
    text = "Fit a hand to the depth of each frame: more accurate, two frames a second."
    flags.DEFINE_boolean("fit", False, text, **define)
    text = "File for a line of JSON a frame; -: the output; ws://HOST:PORT: a WebSocket."
    flags.DEFINE_string("json", None, text, **define)
    flags.DEFINE_boolean("viewer", True, "Show a page in the browser (extra viewer).", **define)
    flags.DEFINE_string("host", "127.0.0.1", "Address of the page.", **define)
    bounds = {"lower_bound": 0, "upper_bound": 65535}
    flags.DEFINE_integer("port", 8080, "Port of the page; 0: any that is free.", **bounds, **define)


def main(flag_values: flags.FlagValues) -> None:
    """Runs until the frames end, or Ctrl-C or SIGTERM."""
    # Lines for people leave the output to JSON.
    terminal = sys.stderr if flag_values.json == "-" else sys.stdout
    statistics = Statistics()
    with contextlib.ExitStack() as stack:
        stack.enter_context(commands.sigterm_as_interrupt())
        camera = stack.enter_context(
            camera_flags.open_from_flags(
                flag_values, flag_values.source, flag_values.frame_rate, flag_values.loop
            )
        )
        write_json = stack.enter_context(_open_json(flag_values.json, terminal))
        page = stack.enter_context(_open_page(flag_values, camera.intrinsics, terminal))
        estimator = PoseEstimator.load(flag_values.model, flag_values.hand, fit=flag_values.fit)
        first = next(iter(camera), None)
        if first is not None:
            # Compiles the search and the following, so that the first latency is like the others.
            for center_mm in (None, _SOMEWHERE_MM):
                estimator(first.depth_mm[np.newaxis], camera.intrinsics, center_mm)
        reader = stack.enter_context(frame_reader.FrameReader(camera, first=first))
        try:
            for live in estimate_hands(estimator, camera, reader, flag_values.least_score):
                if statistics.add(live, reader.num_dropped):
                    print(statistics.text, file=terminal, flush=True)
                write_json(live)
                page.show(live.frame.depth_mm, live.hand, statistics.text)
        except KeyboardInterrupt:
            pass
        finally:
            print(statistics.summary(reader.num_read, reader.num_dropped), file=terminal)


@contextlib.contextmanager
def _open_json(target, terminal):
    """Yields a function that writes a `LiveHand` as a line; without a target it does nothing."""
    if target is None:
        yield lambda live: None
    elif target.startswith(line_server.SCHEME):
        with line_server.open_line_server(target) as (send, port):
            print(f"JSON at {target.rpartition(':')[0]}:{port}", file=terminal, flush=True)
            yield lambda live: send(_line_of(live))
    else:
        with contextlib.ExitStack() as stack:
            file = sys.stdout
            if target != "-":
                stack.enter_context(files.writing(target))
                file = stack.enter_context(open(target, "w", encoding="utf-8"))
            try:
                # One line at a time, whole, for a program that reads along.
                yield lambda live: print(_line_of(live), file=file, flush=True)
            except BrokenPipeError:
                # The program that read along has ended, and so does this one.
                os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _line_of(live):
    values = {
        "time_ms": round(live.frame.time_ms, 3),
        "latency_ms": round(live.latency_ms, 2),
        "found_hand": live.hand is not None,
        **({} if live.hand is None else live.hand.to_dict()),
    }
    return json.dumps(values)


@contextlib.contextmanager
def _open_page(flag_values, intrinsics, terminal):
    """Yields the page, or something without one that takes the same calls."""
    if not flag_values.viewer:
        yield live_app.NoPage()
        return
    with server.open_server(flag_values.host, flag_values.port) as opened:
        url = server.url_of(flag_values.host, opened.get_port())
        print(f"{url} (Ctrl-C ends)", file=terminal, flush=True)
        yield live_app.LiveApp(opened, intrinsics)


if __name__ == "__main__":
    commands.run(main, define_flags)
