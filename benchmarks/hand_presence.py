"""Whether a stream shows a hand where there is one and none where there is none; jitter and lag.

    python benchmarks/hand_presence.py [--hands=FRAMES@fx,fy,cx,cy@mm ...] [--no_hands=... ...]

FRAMES is what `--camera=folder` plays; intrinsics (those of the recording, or NYU's) and the factor
from stored values to mm (1) may be left out. Without --hands it renders some. Frames without a
hand are `empty_scenes`, the frames of --hands with the hand painted out, in which the arm stays,
and those of --no_hands.

Every frame is taken by itself. A stream shows a hand from the score `presence.LEAST_SCORE` on and
keeps it down to a third of that; targets: at least 98 % of the frames with a hand are kept, with at
most 1 % of the others one appears. For new weights set `presence.LARGE_BADNESS` between the two
numbers of the third table; where the lower is above the higher, there is none that reaches both.

Jitter: a frame with new sensor noise each time. Lag: the frame is moved sideways, back and forth,
at up to a meter a second; it is the delay at which the estimates follow the motion best.
"""

import pathlib
import tempfile

import empty_scenes
import frame
import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands, presence
from tfhand.cameras import folder
from tfhand.estimator import PoseEstimator
from tfhand.geometry import camera
from tfhand.models import package_weights
from tfhand.smoothing import OneEuroFilter
from tfhand.synthesis import sensor

LEAST_KEPT, MOST_SHOWN = 98.0, 1.0
SCORES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
RATE = 30.0
# Of the sideways motion: half its width, mm, and frames of one way and back.
SWING_MM, PERIOD = 120.0, 24


def define_flags(flag_values):
    define = {"flag_values": flag_values}
    measure.define_flags(flag_values, rounds=1)
    flags.DEFINE_multi_string("hands", [], "Frames with a hand.", **define)
    flags.DEFINE_multi_string("no_hands", [], "Frames without a hand.", **define)
    flags.DEFINE_string("model", package_weights.NAME, "pose.keras.", **define)
    flags.DEFINE_integer("frames", 60, "Frames of each kind at most.", 8, **define)
    flags.DEFINE_integer("seed", 1, "Seed of the scenes.", **define)


def read_frames(text, count):
    """Returns (name, frames spread over FRAMES@intrinsics@mm, intrinsics)."""
    source, *rest = text.split("@")
    intrinsics = camera.parse_intrinsics(rest[0].split(",")) if rest else None
    scale = float(rest[1]) if len(rest) > 1 else 1.0
    with folder.FolderCamera(source, intrinsics, scale) as opened:
        frames = [read.depth_mm for read in opened]
        path = pathlib.Path(source)
        name = path.parent.name if "*" in path.name or "?" in path.name else path.name
        index = np.unique(np.linspace(0, len(frames) - 1, count).astype(int))
        return name, [frames[i] for i in index], opened.intrinsics


def render_frames(count):
    with tempfile.TemporaryDirectory() as name:
        frames = frame.make_frames(pathlib.Path(name) / "made")
    return "rendered", list(frames)[:count], np.float32(camera.NYU_INTRINSICS)


def estimate(estimator, frames, intrinsics):
    """Returns a `Hand`, or None without a candidate, for each frame by itself."""
    return [estimator(depth_mm[np.newaxis], intrinsics)[0] for depth_mm in frames]


def badness_of(hands):
    """Returns the badness of each hand, infinite where there is no candidate."""
    return np.array(
        [np.inf if h is None else presence.badness_of(h.spheres_mm, h.confidence) for h in hands]
    )


def shares_of(name, badness):
    """Returns a row: frames, and the share in % that is shown, by the least score."""
    # score >= s where badness <= most.
    most = [presence.badness_at(score) for score in SCORES]
    return [name, len(badness), *(100.0 * float((badness <= limit).mean()) for limit in most)]


def measure_presence(report, estimator, flag_values):
    """Adds the tables of shares; returns the first frames with a hand, intrinsics and the hand."""
    count, rng = flag_values.frames, np.random.default_rng(flag_values.seed)
    sources = [read_frames(text, count) for text in flag_values.hands]
    with_hand, without, first = {}, {}, None
    for name, frames, intrinsics in sources or [render_frames(count)]:
        hands = estimate(estimator, frames, intrinsics)
        with_hand[name] = badness_of(hands)
        pairs = [(f, hand) for f, hand in zip(frames, hands, strict=True) if hand is not None]
        first = first or (pairs[0][0], intrinsics, pairs[0][1])
        painted = [
            empty_scenes.paint_out(f, intrinsics, hand.spheres_mm.mean(axis=0)) for f, hand in pairs
        ]
        without[f"{name}, painted out"] = badness_of(estimate(estimator, painted, intrinsics))
    for name in empty_scenes.SCENES:
        frames = [empty_scenes.draw(name, rng) for _ in range(count)]
        without[name] = badness_of(estimate(estimator, frames, empty_scenes.INTRINSICS))
    for name, frames, intrinsics in (read_frames(text, count) for text in flag_values.no_hands):
        without[name] = badness_of(estimate(estimator, frames, intrinsics))
    columns = ["frames", "number", *(f">= {score}" for score in SCORES)]
    kept, shown = (np.concatenate(list(values.values())) for values in (with_hand, without))
    for title, values, every in (("With a hand", with_hand, kept), ("Without", without, shown)):
        rows = [shares_of(name, badness) for name, badness in values.items()]
        report.table(
            f"{title}: shown as one, %, by score", columns, [*rows, shares_of("all", every)]
        )
    appear, stay = (
        presence.badness_at(score)
        for score in (presence.LEAST_SCORE, presence.LEAST_SCORE * presence.STAYING_SHARE)
    )
    # The badness of these scores moves with the constant.
    least = np.percentile(kept, LEAST_KEPT, method="higher") + presence.LARGE_BADNESS - stay
    most = np.percentile(shown, MOST_SHOWN, method="lower") + presence.LARGE_BADNESS - appear
    rows = [
        ["now", presence.LARGE_BADNESS],
        [f"at least, to keep {LEAST_KEPT:g} % with a hand", float(least)],
        [f"at most, for {MOST_SHOWN:g} % without", float(most)],
    ]
    report.table("presence.LARGE_BADNESS", ["", "value"], rows)
    report.target("hands kept, %", 100.0 * float((kept <= stay).mean()), least=LEAST_KEPT)
    report.target("appear without, %", 100.0 * float((shown <= appear).mean()), most=MOST_SHOWN)
    return first


def with_noise(depth_mm, generator):
    """Returns the frame with new faults of a structured-light sensor."""
    image = tf.constant(depth_mm[np.newaxis], tf.float32)
    noisy = sensor.disparity_noise(sensor.edge_jitter(image, generator, 0.8), generator)
    return np.where(depth_mm > 0, noisy[0].numpy(), 0.0).astype(np.float32)


def spheres_of(estimator, frames, intrinsics):
    """Returns spheres [T, 41, 3] of a stream, not smoothed and smoothed."""
    options = {"frame_rate": RATE, "smoothing": False, "least_score": 0.0}
    hands = estimator.stream(frames, intrinsics, **options)
    plain_mm = np.array([hand.spheres_mm for hand in hands])
    smooth = OneEuroFilter(RATE)
    return plain_mm, np.array([smooth(spheres_mm) for spheres_mm in plain_mm])


def lag_of(x_mm, true_mm):
    """Returns (frames by which [T] follows [T] best, rms left then), offsets apart."""
    delays = np.arange(0.0, 8.0, 0.1)
    times = np.arange(len(x_mm))[8:]
    errors = [
        x_mm[8:] - np.interp(times - delay, np.arange(len(x_mm)), true_mm) for delay in delays
    ]
    rms = [error.std() for error in errors]
    return float(delays[np.argmin(rms)]), float(min(rms))


def measure_motion(report, estimator, depth_mm, intrinsics, hand, count):
    """Adds the table of jitter and lag of a frame."""
    generator = tf.random.Generator.from_seed(7)
    still = (with_noise(depth_mm, generator) for _ in range(count))
    mm_of_pixel = float(hand.spheres_mm[:, 2].mean() / intrinsics[0])
    swing = SWING_MM / mm_of_pixel * np.sin(2.0 * np.pi * np.arange(count) / PERIOD)
    # Whole pixels: no reading is made up.
    shifts = np.round(swing).astype(int)
    moving = (with_noise(np.roll(depth_mm, shift, axis=1), generator) for shift in shifts)
    resting_mm, moving_mm = (
        spheres_of(estimator, frames, intrinsics) for frames in (still, moving)
    )
    rows = []
    for name, rest_mm, move_mm in zip(("as estimated", "smoothed"), resting_mm, moving_mm):
        jitter_mm = float(np.linalg.norm(rest_mm[8:].std(axis=0), axis=-1).mean())
        lag, left_mm = lag_of(move_mm[..., 0].mean(axis=1), shifts * mm_of_pixel)
        rows.append([name, jitter_mm, lag, 1e3 * lag / RATE, left_mm])
    columns = ["stream", "jitter mm", "lag frames", "lag ms", "left mm"]
    report.table("A resting and a moving hand, 30 frames a second", columns, rows)


def main(flag_values):
    report = measure.Report(__file__, "Hand or no hand")
    estimator = PoseEstimator.load(flag_values.model, "auto")
    depth_mm, intrinsics, hand = measure_presence(report, estimator, flag_values)
    side = PoseEstimator(estimator.network, "left" if hand.is_left else "right")
    measure_motion(report, side, depth_mm, intrinsics, hand, max(flag_values.frames, 2 * PERIOD))
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
