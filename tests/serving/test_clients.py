"""The client programs of `serving/`, against a server."""

import dataclasses
import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from tests.serving import pictures
from tfhand.hand import skeleton

SERVING = pathlib.Path(__file__).resolve().parents[2] / "serving"
INTRINSICS = "--intrinsics=588,588,320,240"
# PNG holds whole mm.
ROUNDING_MM = 3.0


@dataclasses.dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_client(monkeypatch, capsys):
    """Runs a client's file as the main program of this process, which has TensorFlow already."""
    monkeypatch.syspath_prepend(SERVING)
    set_no_proxy(monkeypatch.setenv)

    def run(name, *arguments):
        program = str(SERVING / f"client_{name}.py")
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capsys.readouterr()
        message = None
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as end:
            message = end.code
        printed = capsys.readouterr()
        # What Python does with `sys.exit("text")`.
        return Result(int(message is not None), printed.out, printed.err + (message or ""))

    return run


def set_no_proxy(set_variable):
    """The loopback is never behind a proxy."""
    set_variable("no_proxy", "127.0.0.1")
    set_variable("no_grpc_proxy", "127.0.0.1")


def assert_hand(result):
    assert result.returncode == 0, result.stderr
    hand = json.loads(result.stdout)
    assert [joint["name"] for joint in hand["joints"]] == list(skeleton.EVALUATION_JOINT_NAMES)
    fx, fy, cx, cy = pictures.INTRINSICS
    for joint in hand["joints"]:
        x, y, z = joint["mm"]
        np.testing.assert_allclose(joint["px"], [fx * x / z + cx, fy * y / z + cy], atol=0.05)
        assert np.linalg.norm(np.subtract(joint["mm"], pictures.BALL_MM)) < 150.0
        assert 0 < joint["confidence"] < 1
    return np.array([joint["mm"] for joint in hand["joints"]])


def assert_one_line(result, *parts):
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Names of one ball's picture in all forms, and of an empty one."""
    folder = tmp_path_factory.mktemp("pictures")
    depth_mm = pictures.ball()
    np.save(folder / "ball.npy", depth_mm)
    whole_mm = np.round(depth_mm).astype(np.uint16)
    PIL.Image.fromarray(whole_mm).save(folder / "gray.png")
    red = np.full(whole_mm.shape, 7, np.uint16)
    rgb = np.stack([red, whole_mm >> 8, whole_mm & 255], axis=-1).astype(np.uint8)
    PIL.Image.fromarray(rgb).save(folder / "nyu.png")
    np.save(folder / "empty.npy", pictures.empty())
    PIL.Image.fromarray(rgb[..., 2]).save(folder / "photo.png")
    # More pixels than Pillow reads.
    PIL.Image.new("1", (14000, 14000)).save(folder / "bomb.png")
    return folder


@pytest.fixture(params=["grpc", "rest"])
def client(request, server):
    """(its name, its --server)."""
    return request.param, f"--server={getattr(server, request.param)}"


def test_all_kinds_of_pictures_give_one_hand(run_client, client, files):
    name, address = client
    hands = [
        assert_hand(run_client(name, address, f"--depth={files / file}", INTRINSICS))
        for file in ("ball.npy", "gray.png", "nyu.png")
    ]
    # Both PNGs hold the same whole mm.
    np.testing.assert_allclose(hands[1], hands[2], atol=0.01)
    np.testing.assert_allclose(hands[0], hands[1], atol=ROUNDING_MM)


def test_programs(client, files):
    name, address = client
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    set_no_proxy(environment.__setitem__)
    result = subprocess.run(
        [sys.executable, f"client_{name}.py", address, f"--depth={files}/gray.png", INTRINSICS],
        cwd=SERVING,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert_hand(result)


def test_errors_of_the_server_are_one_line(run_client, client, files):
    name, address = client
    arguments = (address, f"--depth={files / 'empty.npy'}", INTRINSICS)
    assert_one_line(run_client(name, *arguments), "No hand found")
    code = {"grpc": "INVALID_ARGUMENT", "rest": "HTTP 400"}[name]
    assert_one_line(run_client(name, *arguments, "--strict"), code, "depth_mm")


def test_a_server_that_is_not_there(run_client, serving_api, files):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for name in ("grpc", "rest"):
            arguments = (f"--server={address}", f"--depth={files / 'ball.npy'}", INTRINSICS)
            assert_one_line(run_client(name, *arguments, "--timeout=5"), "No answer from", address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--depth=none.png", INTRINSICS), "none.png, found none"),
        (("--depth={files}/photo.png", INTRINSICS), "found mode L"),
        (("--depth={files}/ball.npy", "--intrinsics=0,588,320,240"), "positive focal lengths"),
        (("--depth={files}/ball.npy", "--intrinsics=588,nan,320,240"), "positive focal lengths"),
        (("--depth={files}/bomb.png", INTRINSICS), "depth picture in"),
        (
            ("--depth={files}/ball.npy", INTRINSICS, "--server=127.0.0.1:notaport"),
            "Expected --server=http://HOST:PORT",
        ),
        (
            ("--depth={files}/ball.npy", INTRINSICS, "--server=ftp://127.0.0.1:1"),
            "Expected --server=http://HOST:PORT",
        ),
    ],
)
def test_bad_arguments(run_client, files, arguments, message):
    arguments = [argument.format(files=files) for argument in arguments]
    assert_one_line(run_client("rest", "--server=127.0.0.1:1", *arguments), message)


def test_the_rest_client_needs_no_tensorflow():
    program = (
        "import sys, client_rest\n"
        "assert not {'tensorflow', 'tfhand', 'grpc'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=SERVING, check=True)
