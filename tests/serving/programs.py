"""The client programs of `serving/`, and what they print."""

import dataclasses
import json
import pathlib

import numpy as np

from tests.serving import pictures
from tfhand.hand import skeleton

SERVING = pathlib.Path(__file__).resolve().parents[2] / "serving"
INTRINSICS = "--intrinsics=588,588,320,240"


@dataclasses.dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


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
