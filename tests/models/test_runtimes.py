"""ONNX and LiteRT files, each run by its own runtime."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand import commands, export
from tfhand.models import exporting, pose_network, runtimes

CUBE_MM = 280.0
# The same float32 operations, summed in another order by kernels of other libraries.
TOLERANCE_MM = 0.05
NETWORKS = {
    "softmax": {"decoder": "softmax"},
    "normalized": {"decoder": "normalized", "num_stacks": 2},
}


def build_network(rng, **fields):
    config = pose_network.PoseNetworkConfig(
        **{"features": 8, "growth": 2, "depth": 1, "cube_mm": CUBE_MM, **fields}
    )
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    for variable in network.variables:
        variable.assign(variable + rng.normal(0, 0.05, variable.shape))
    return network


def make_crops(rng, count):
    """Crops in mm: a near plate, with readings missing or far away in all ways there are."""
    crops_mm = np.full((count, 64, 64), CUBE_MM / 2, np.float32)
    for crop_mm, (row, column) in zip(crops_mm, rng.integers(0, 30, (count, 2)), strict=True):
        crop_mm[row : row + 30, column : column + 30] = rng.uniform(-140, 140, (30, 30))
        crop_mm[row, column : column + 20] = np.nan
        crop_mm[row + 1, column : column + 20] = np.inf
        crop_mm[row + 2, column : column + 20] = 1e4
    return crops_mm


def run_onnx(path, crops_mm):
    """Returns what ONNX Runtime gives, as a dict."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert session.get_inputs()[0].shape == ["batch", 64, 64]
    return dict(zip(names, session.run(names, {"depth_mm": crops_mm}), strict=True))


def run_litert(path, crops_mm):
    """Returns what LiteRT gives, as a dict; without TensorFlow's operations."""
    from ai_edge_litert import interpreter

    runner = interpreter.Interpreter(str(path), num_threads=1).get_signature_runner()
    return {name: value.copy() for name, value in runner(depth_mm=crops_mm).items()}


RUNTIMES = {
    "onnx": (run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "litert": (run_litert, ("ai_edge_litert",)),
}


@pytest.fixture
def run(request, needs):
    """The runner of the format `name`, if the packages for it are there."""
    name = request.getfixturevalue("name")
    run, packages = RUNTIMES[name]
    for package in packages:
        needs(package)
    try:
        runtimes.check_exporter(name)
    except ValueError as error:
        pytest.skip(str(error))
    return run


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_answers_are_those_of_the_network(name, kind, run, rng, tmp_path):
    network = build_network(rng, **NETWORKS[kind])
    path = tmp_path / "new" / runtimes.FILE_NAMES[name]
    runtimes.export_file(network, path, CUBE_MM, name)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for count in (1, 3):
        crops_mm = make_crops(rng, count)
        expected = exporting.estimate_from_crop(network, crops_mm, CUBE_MM)
        assert np.median(np.std(expected["spheres_mm"], axis=1)) > 100 * TOLERANCE_MM
        found = run(path, crops_mm)
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert found[key].dtype == np.float32
            assert found[key].shape == value.shape
            np.testing.assert_allclose(found[key], value, rtol=0, atol=TOLERANCE_MM)


def can_run(name):
    try:
        runtimes.check_exporter(name)
    except ValueError:
        return False
    return all(importlib.util.find_spec(package) for package in RUNTIMES[name][1])


def test_command_writes_every_format(rng, tmp_path):
    names = [name for name in RUNTIMES if can_run(name)]
    network = build_network(rng)
    network.save(tmp_path / "pose.keras")
    output = tmp_path / "out"
    (output / "2").mkdir(parents=True)
    files = [output / runtimes.FILE_NAMES[name] for name in names]
    for file in files:
        file.write_text("an older export")
    export.main(_options(tmp_path, f"--formats={','.join(['saved_model', *names])}"))
    assert sorted(output.iterdir()) == sorted([output / "2", output / "3", *files])
    # The SavedModel refuses what is not finite; the files take it for background.
    crops_mm = make_crops(rng, 2)
    crops_mm = np.where(np.isfinite(crops_mm), crops_mm, CUBE_MM / 2).astype(np.float32)
    served = tf.saved_model.load(str(output / "3")).signatures["serving_default"]
    expected = served(depth_mm=tf.constant(crops_mm))
    for name, file in zip(names, files, strict=True):
        found = RUNTIMES[name][0](file, crops_mm)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=0, atol=TOLERANCE_MM)


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ("saved_model,tflite", r"among saved_model, onnx, litert, received 'tflite'"),
        ("", r"among saved_model, onnx, litert, received none"),
        ("saved_model,onnx", r"did not find onnx and tf2onnx: pip install 'tfhand\[runtimes\]'"),
        ("saved_model,litert", r"Expected Keras 3\.13 or newer .*, found Keras 3\.12\.4"),
    ],
)
def test_what_cannot_be_written_stops_before_anything_is(formats, message, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    absent = ("onnx", "tf2onnx")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *rest: None if n in absent else find_spec(n, *rest)
    )
    monkeypatch.setattr(keras, "__version__", "3.12.4")
    # No network is read either: there is none.
    with pytest.raises(ValueError, match=message):
        export.main(_options(tmp_path, f"--formats={formats}"))
    assert not list(tmp_path.iterdir())


def test_rejects_networks_of_other_hands(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "check_exporter", lambda name: None)
    network = build_network(rng, num_spheres=7)
    for name in runtimes.FILE_NAMES:
        with pytest.raises(ValueError, match=r"spheres_mm \[B, 41, 3\].*None, 7, 3"):
            runtimes.export_file(network, tmp_path / "pose", CUBE_MM, name)
    with pytest.raises(ValueError, match=r"among onnx, litert, received 'saved_model'"):
        runtimes.export_file(network, tmp_path / "pose", CUBE_MM, "saved_model")
    assert not list(tmp_path.iterdir())


def _options(folder, *arguments):
    paths = [f"--model={folder / 'pose.keras'}", f"--output_dir={folder / 'out'}"]
    return commands.parse(export.define_flags, ["export", *paths, *arguments])
