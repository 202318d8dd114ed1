"""Networks from damaged files: one clear error, in every command that loads one."""

import zipfile

import numpy as np
import pytest

from tests import any_records
from tfhand import commands, estimator, evaluate, export, inference, predict, view
from tfhand.models import pose_network


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Half a network, beside a depth image and records that it could be used with."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "pose.keras"
    small_network().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.save(folder / "depth.npy", np.full([48, 64], 700.0))
    any_records.write(folder / "data", image_size=32)
    return path


def small_network():
    config = pose_network.PoseNetworkConfig(32, 8, features=4, growth=2)
    return pose_network.build_inference_network(pose_network.build_pose_network(config))


def replace_part(path, name, change):
    """Puts another part into a `.keras` file, with a checksum that fits."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, change(data) if part == name else data)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_a_network(tmp_path, share):
    path = tmp_path / "pose.keras"
    small_network().save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"Keras model in .*pose\.keras, found none"):
        inference.load_network(path)


def test_a_changed_bit_of_a_network(tmp_path):
    path = tmp_path / "pose.keras"
    network = small_network()
    network.save(path)
    data = bytearray(path.read_bytes())
    # In the values of a weight, where Keras would take it.
    place = data.index(max(network.get_weights(), key=np.size).tobytes())
    data[place + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"pose\.keras.*model\.weights\.h5 in it is damaged"):
        inference.load_network(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda data: data[:-10]),
        ("config.json", lambda data: b"[]"),
        ("config.json", lambda data: b"\xff"),
        ("config.json", lambda data: data.replace(b'"Conv2D"', b'"Conv3D"')),
        ("config.json", lambda data: data.replace(b'"Functional"', b'"Functions"')),
        ("model.weights.h5", lambda data: data[: len(data) // 2]),
        ("model.weights.h5", lambda data: b""),
    ],
)
def test_a_network_of_damaged_parts(tmp_path, name, change):
    path = tmp_path / "pose.keras"
    small_network().save(path)
    replace_part(path, name, change)
    with pytest.raises(ValueError, match=r"pose\.keras") as refused:
        inference.load_network(path)
    assert len(str(refused.value)) < 1000


def test_a_network_that_inflates(tmp_path, monkeypatch):
    path = tmp_path / "pose.keras"
    small_network().save(path)
    monkeypatch.setattr(inference, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"pose\.keras.*at most 1000 bytes"):
        inference.load_network(path)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (predict, ["--depth={}/depth.npy"]),
        (evaluate, ["--data_dir={}/data"]),
        (export, ["--output_dir={}/export"]),
        (view, ["--depth={}/depth.npy"]),
        (view, ["--data_dir={}/data", "--split=test"]),
    ],
)
def test_commands_refuse_it_in_one_line(damaged, command, arguments, capsys):
    folder = damaged.parent
    argv = ["command", f"--model={damaged}", *(text.format(folder) for text in arguments)]
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        commands.run(command.main, command.define_flags, argv)
    assert stopped.value.code == 1
    assert sorted(folder.rglob("*")) == before
    error = capsys.readouterr().err
    assert error.startswith("command: Expected a Keras model in ") and error.count("\n") == 1


def test_the_estimator_refuses_it(damaged):
    with pytest.raises(ValueError, match=r"Keras model in .*pose\.keras"):
        estimator.PoseEstimator.load(damaged)
