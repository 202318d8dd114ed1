"""Exported models, and a server of them in another process."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from tests.serving.pictures import CUBE_MM
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
    config = pose_network.PoseNetworkConfig(features=8, growth=0, depth=1, cube_mm=CUBE_MM)
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
    exporting.export_pose(network, directory / "pose" / "1", CUBE_MM)
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
