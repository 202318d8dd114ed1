"""`tfhand.live` on folders of small frames, with a small untrained network."""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time

import numpy as np
import pytest

from tests.test_predict import INTRINSICS, ball_image
from tfhand import commands, estimator, live
from tfhand.cameras import frame_reader, interface
from tfhand.models import pose_network
from tfhand.viewer import live_app

SPEED = ("--camera=folder", "--frame_rate=0", "--noviewer", "--intrinsics=588,588,80,60",
         "--least_score=0")  # fmt: skip


@pytest.fixture(scope="module")
def small_estimator():
    config = pose_network.PoseNetworkConfig(image_size=32, heatmap_size=8, features=8, growth=4)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    return estimator.PoseEstimator(network)


@pytest.fixture(scope="module")
def frames_dir(tmp_path_factory):
    """Six frames of a ball that moves; the third is empty."""
    folder = tmp_path_factory.mktemp("frames")
    for number in range(6):
        image = ball_image(u=70.0 + 4.0 * number) if number != 2 else np.zeros((120, 160))
        np.save(folder / f"{number}.npy", image.astype(np.float32))
    return folder


@pytest.fixture
def run(small_estimator, frames_dir, monkeypatch):
    """A function that runs the command on the frames, with one network, which is compiled once."""

    def load(path, hand, fit):
        assert (path, hand, fit) == ("shipped", "right", False)
        return small_estimator

    monkeypatch.setattr(live.PoseEstimator, "load", load)

    def run_live(*arguments):
        arguments = ["live", *SPEED, f"--source={frames_dir}", *arguments]
        live.main(commands.parse(live.define_flags, arguments))

    return run_live


def test_every_frame_of_a_folder_becomes_a_line(run, small_estimator, frames_dir, tmp_path, capsys):
    run(f"--json={tmp_path / 'hands.jsonl'}")
    lines = [json.loads(line) for line in (tmp_path / "hands.jsonl").read_text().splitlines()]
    assert [line["found_hand"] for line in lines] == [True, True, False, True, True, True]
    assert [line["time_ms"] for line in lines] == pytest.approx(
        [1000.0 * i / 30.0 for i in range(6)], abs=1e-3
    )
    frames = [np.load(frames_dir / f"{number}.npy") for number in range(6)]
    hands = list(small_estimator.stream(frames, INTRINSICS, least_score=0.0))
    for line, hand in zip(lines, hands, strict=True):
        if hand is not None:
            expected = hand.joints["PALM_3"].mm
            np.testing.assert_allclose(line["joints"]["PALM_3"]["mm"], expected, atol=0.011)
            assert line["latency_ms"] > 0.0
    summary = capsys.readouterr().out.splitlines()[-1]
    assert summary.startswith("6 frames read, 0 dropped, 6 shown, 5 with a hand; latency ")


def test_json_on_the_output_leaves_it_to_json(run, capsys):
    run("--json=-")
    captured = capsys.readouterr()
    assert len([json.loads(line) for line in captured.out.splitlines()]) == 6
    assert "6 frames read" in captured.err


@pytest.fixture
def sigint():
    """SIGINT as at a terminal: what runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_the_counts(number, sigint, run, monkeypatch, capsys):
    shown = []

    def show(self, depth_mm, hand, text):
        shown.append(hand)
        if len(shown) == 8:
            signal.raise_signal(number)

    monkeypatch.setattr(live_app.NoPage, "show", show)
    handler = signal.getsignal(signal.SIGTERM)
    run("--loop")
    assert len(shown) == 8 and signal.getsignal(signal.SIGTERM) is handler
    assert "8 shown" in capsys.readouterr().out


def test_it_ends_when_nobody_reads_the_lines(run, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        run("--json=-", "--loop")


def test_programs_read_lines_from_a_websocket(run, needs, monkeypatch):
    needs("viser")
    connect = importlib.import_module("websockets.sync.client").connect
    open_server, ports, lines = live.line_server.open_line_server, queue.Queue(), []

    @contextlib.contextmanager
    def note_port(url):
        with open_server(url) as (send, port):
            ports.put(port)
            yield send, port

    def listen():
        with connect(f"ws://127.0.0.1:{ports.get()}") as connection:
            lines.extend(json.loads(connection.recv()) for _ in range(3))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(live.line_server, "open_line_server", note_port)
    listener = threading.Thread(target=listen)
    listener.start()
    run("--json=ws://127.0.0.1:0", "--loop")
    listener.join()
    times_ms = [line["time_ms"] for line in lines]
    assert times_ms == sorted(set(times_ms))
    assert {"found_hand", "latency_ms"} <= set(lines[0])


class Source(interface.Camera):
    """A camera of balls that is unplugged after some frames."""

    def __init__(self, count):
        super().__init__("test", "7", 30.0)
        self.intrinsics = np.array(INTRINSICS, np.float32)
        self.left = count

    def poll(self):
        time.sleep(0.001)
        self.left -= 1
        if self.left < 0:
            raise interface.CameraError("Expected frames of test camera 7, received none.")
        return interface.DepthFrame(ball_image(), 0.0)

    def _close(self):
        pass


def test_an_unplugged_camera_ends_it_with_the_counts(run, monkeypatch, capsys):
    monkeypatch.setattr(live.camera_flags, "open_from_flags", lambda *_: Source(5))
    with pytest.raises(interface.CameraError, match="test camera 7"):
        run()
    assert "5 frames read" in capsys.readouterr().out


def test_while_a_hand_is_estimated_older_frames_are_dropped():
    class Slow:
        fits = None

        def stream(self, frames, intrinsics, frame_rate, smoothing, least_score):
            assert frame_rate == 30.0 and smoothing and least_score == 0.2
            for _ in frames:
                time.sleep(0.05)
                yield None

    source = Source(100)
    with frame_reader.FrameReader(source) as reader:
        shown = []
        with pytest.raises(interface.CameraError):
            shown += live.estimate_hands(Slow(), source, reader, 0.2)
        assert reader.num_read == 100
        assert reader.num_dropped > 50


def test_a_line_a_second(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now_s[0])
    statistics, texts = live.Statistics(), []
    for _ in range(50):
        now_s[0] += 0.05
        if statistics.add(live.LiveHand(None, None, 12.0), num_dropped=3):
            texts.append(statistics.text)
    assert texts == ["20.0 frames/s, latency 12 ms, 3 dropped, no hand"] * 2
    assert statistics.summary(60, 10) == (
        "60 frames read, 10 dropped, 50 shown, 0 with a hand; latency 12.0 ms, 95th percentile "
        "12.0 ms"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--camera=folder", "--source=nowhere"], "found none"),
        (["--camera=kinect"], "kinect"),
        (["--camera=folder", "--source={frames}", "--json=ws://here"], "Expected ws://HOST:PORT"),
        (["--camera=folder", "--source={frames}", "--model=nowhere"], "trained network at nowhere"),
    ],
)
def test_bad_input_gives_one_line(arguments, expected, frames_dir, capsys):
    arguments = [argument.format(frames=frames_dir) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        commands.run(live.main, live.define_flags, ["live", "--noviewer", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("live: ") and expected in error
    assert error.count("\n") == 1
