"""Exported models, and a server of them in another process."""

import dataclasses
import json
import os
import pathlib
import runpy
import subprocess
import sys
import threading

import keras
import numpy as np
import PIL.Image
import pytest

from tests.serving import pictures, programs
from tfhand.models import exporting, pose_network, pose_prior

STARTUP_SECONDS = 300


@pytest.fixture(scope="session")
def serving_api(needs):
    """Skips tests where tensorflow-serving-api is not installed, unless it has to be."""
    needs("tensorflow_serving")


@pytest.fixture(scope="session")
def network():
    """A small pose network whose untrained spheres are not all in one place."""
    keras.utils.set_random_seed(1)
    config = pose_network.PoseNetworkConfig(features=8, growth=0, depth=1, cube_mm=pictures.CUBE_MM)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    for variable in network.trainable_variables:
        if variable.path.endswith("_heatmaps/kernel"):
            variable.assign(100.0 * variable)
    return network


@pytest.fixture(scope="session")
def prior():
    keras.utils.set_random_seed(1)
    palm_mm = np.random.default_rng(1).uniform(-40, 40, (11, 3))
    return pose_prior.PosePrior(
        pose_prior.PosePriorConfig(reference_palm_mm=palm_mm, latent_size=4, hidden_size=16)
    )


@dataclasses.dataclass(frozen=True)
class Server:
    """Where the server listens, and the warm-up requests it ran: names of signatures by model."""

    grpc: str
    rest: str
    warmed_up: dict


@pytest.fixture(scope="session")
def exports(network, prior, tmp_path_factory):
    """Directory with `pose/1` and `prior/1`."""
    directory = tmp_path_factory.mktemp("export")
    exporting.export_pose(network, directory / "pose" / "1", pictures.CUBE_MM)
    exporting.export_prior(prior, directory / "prior" / "1")
    return directory


@pytest.fixture(scope="session")
def server(serving_api, exports):
    """A running `server.py`."""
    program = pathlib.Path(__file__).with_name("server.py")
    process = subprocess.Popen(
        [sys.executable, str(program), "pose=pose/1", "prior=prior/1"],
        cwd=exports,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # A server that hangs must not hang the tests.
    watchdog = threading.Timer(STARTUP_SECONDS, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise RuntimeError(f"{program} ended with status {process.wait()}")
        ready = json.loads(line)
        yield Server(
            f"127.0.0.1:{ready['grpc']}", f"http://127.0.0.1:{ready['rest']}", ready["warmed_up"]
        )
        assert process.poll() is None, "the server did not live to the end of the tests"
    finally:
        watchdog.cancel()
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@pytest.fixture
def run_client(monkeypatch, capsys):
    """Runs a client's file as the main program of this process, which has TensorFlow already."""
    monkeypatch.syspath_prepend(programs.SERVING)
    programs.set_no_proxy(monkeypatch.setenv)

    def run(name, *arguments):
        program = str(programs.SERVING / f"client_{name}.py")
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capsys.readouterr()
        message = None
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as end:
            message = end.code
        printed = capsys.readouterr()
        # What Python does with `sys.exit("text")`.
        return programs.Result(int(message is not None), printed.out, printed.err + (message or ""))

    return run


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
