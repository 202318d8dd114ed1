"""The command `tfhand.view`: bad input, and the server's address."""

import importlib
import socket

import numpy as np
import pytest

from tfhand import commands, view
from tfhand.models import pose_network
from tfhand.viewer import controls, scene_app, server, sources

pytestmark = pytest.mark.usefixtures("loaded_once")


def run_view(*arguments):
    with pytest.raises(SystemExit) as stopped:
        commands.run(view.main, view.define_flags, ["tfhand/view.py", *arguments])
    return stopped.value.code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data_dir=nowhere"], "nowhere"),
        (["--data_dir={records}", "--split=valid"], "No split 'valid'"),
        (["--data_dir={records}", "--model=nowhere.keras"], "nowhere.keras"),
        (["--data_dir={records}", "--depth=a.png"], "received both"),
        (["--depth={empty}", "--model={model}"], "Expected depth images (.png, .npy)"),
        (["--depth=nowhere.png", "--model={model}"], "nowhere.png"),
        (["--depth=nowhere.png"], "nowhere.png"),
        (["--depth=a.png", "--model={model}", "--intrinsics=1,2"], "fx,fy,cx,cy"),
        (
            ["--depth={records}/dataset_info.json", "--model={model}", "--depth_scale=0"],
            "received 0",
        ),
        (["--model={model}"], "received neither"),
        (["--port=70000"], "70000"),
    ],
)
def test_bad_input_gives_one_line(arguments, expected, recording_dir, model_path, tmp_path, capsys):
    places = {"records": recording_dir, "model": model_path, "empty": tmp_path}
    assert run_view(*(argument.format(**places) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert error.startswith("view: ") and expected in error
    assert error.count("\n") == 1


def test_records_of_another_size_are_refused(recording_dir, tmp_path, capsys):
    config = pose_network.PoseNetworkConfig(image_size=64, heatmap_size=16, features=8, growth=4)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    network.save(tmp_path / "pose.keras")
    assert run_view(f"--data_dir={recording_dir}", f"--model={tmp_path / 'pose.keras'}") == 1
    assert "Expected records of 64 x 64 pixels" in capsys.readouterr().err


def test_a_missing_package_names_the_extra(monkeypatch, capsys):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    assert run_view("--port=0") == 1
    error = capsys.readouterr().err
    assert error.startswith("view: Expected the package viser, found none")
    assert "'.[viewer]'" in error and error.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_gives_one_line(host, monkeypatch, capsys):
    monkeypatch.setattr(server, "import_library", lambda: None)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no address {host}")
    with taken:
        port = taken.getsockname()[1]
        assert run_view(f"--port={port}", f"--host={host}") == 1
    error = capsys.readouterr().err
    assert error == f"view: Expected a free port at {host}:{port}, found: Address already in use.\n"


def test_urls():
    assert server.url_of("127.0.0.1", 8080) == "http://127.0.0.1:8080"
    assert server.url_of("0.0.0.0", 80) == "http://localhost:80"
    assert server.url_of("::1", 80) == "http://[::1]:80"


def test_requests_in_the_meantime_make_one_drawing():
    drawn = []

    def draw():
        drawn.append(len(drawn))
        if len(drawn) == 1:
            for _ in range(5):
                redraw.request()
        elif len(drawn) == 2:
            raise KeyboardInterrupt

    redraw = controls.Redraw(draw)
    with pytest.raises(KeyboardInterrupt):
        redraw.run()
    assert drawn == [0, 1]


def test_a_bad_first_image_does_not_stop_a_folder(model_path, tmp_path):
    for name, depth_mm in (("a", 0.0), ("b", 700.0)):
        image = np.zeros((120, 160), np.float32)
        image[40:80, 60:100] = depth_mm
        np.save(tmp_path / f"{name}.npy", image)
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    frames = sources.Frames(paths, model_path, (588.0, 588.0, 80.0, 60.0))
    index, shown = scene_app.first_scene(frames)
    assert index == 1 and shown.title == "b.npy"
    with pytest.raises(ValueError, match="Expected a hand"):
        scene_app.first_scene(sources.Frames(paths[:1], model_path, (588.0, 588.0, 80.0, 60.0)))
