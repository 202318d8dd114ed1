"""`pose.keras` without this package: other backends of Keras, fine-tuning, what the file holds."""

import json
import os
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tfhand.models import pose_network

BACKENDS = ("tensorflow", "jax", "torch")
# The same float32 operations, summed in another order.
TOLERANCE_MM = 0.01
# Small networks with every kind of layer and operation.
NETWORKS = {
    "softmax": {"decoder": "softmax"},
    "normalized": {"decoder": "normalized", "num_stacks": 2, "normalization": "group"},
    "bottleneck": {"normalization": "batch", "block": "bottleneck"},
}
PREAMBLE = """
import keras
import numpy as np

data = np.load("data.npz")

def estimate(network, crops):
    # Traced as a whole: JAX would compile one operation after the other.
    return network.predict(crops, verbose=0)
"""
CHECKS = """
import os
import sys

assert keras.backend.backend() == os.environ["KERAS_BACKEND"], keras.backend.backend()
assert "tfhand" not in {name.split(".")[0] for name in sys.modules}
"""


def run_elsewhere(program, directory, backend):
    """Runs a program in a process that neither has this package nor finds it in its folder."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        # The networks are small, and compiling them takes longest.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", PREAMBLE + program + CHECKS],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a network a decoder, crops, and what the networks here answer to them."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(1)
    # A near plate before the background, elsewhere in each crop.
    crops = np.ones((4, 64, 64, 1), np.float32)
    for crop, (row, column) in zip(crops, rng.integers(0, 30, (4, 2)), strict=True):
        crop[row : row + 30, column : column + 30] = rng.uniform(-1, 1, (30, 30, 1))
    arrays = {"crops": crops, "tolerance_mm": TOLERANCE_MM}
    for name, fields in NETWORKS.items():
        config = pose_network.PoseNetworkConfig(features=8, growth=2, depth=1, **fields)
        network = pose_network.build_inference_network(pose_network.build_pose_network(config))
        for variable in network.variables:
            # Biases and the small weights of the heads too: every layer counts in the answer.
            variable.assign(variable + rng.normal(0, 0.05, variable.shape))
        network.save(folder / f"{name}.keras")
        for key, value in network(crops).items():
            arrays[f"{name}_{key}"] = value.numpy()
    np.savez(folder / "data.npz", **arrays)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_depend_on_the_crop_and_differ_between_spheres(folder, name):
    spheres_mm = np.load(folder / "data.npz")[f"{name}_spheres_mm"]
    assert 10 < np.abs(spheres_mm).max() < 1000
    assert np.median(np.std(spheres_mm, axis=0)) > 100 * TOLERANCE_MM
    assert np.median(np.std(spheres_mm, axis=1)) > 100 * TOLERANCE_MM


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_the_same_spheres_and_can_fine_tune(folder, backend, needs, tmp_path):
    needs(backend)
    program = f"""
import sys

# The first network comes last, and is fine-tuned.
for name in {tuple(reversed(NETWORKS))}:
    network = keras.models.load_model(f"{{name}}.keras")
    found = estimate(network, data["crops"])
    for key in ("spheres_mm", "spread_mm"):
        expected = data[f"{{name}}_{{key}}"]
        assert found[key].shape == expected.shape
        np.testing.assert_allclose(found[key], expected, rtol=0, atol=float(data["tolerance_mm"]))

# TensorFlow itself brings parts of JAX; the others bring nothing of each other to estimate.
if keras.backend.backend() != "tensorflow":
    others = {{"tensorflow", "jax", "torch"}} - {{keras.backend.backend()}}
    assert not others & set(sys.modules), others & set(sys.modules)

before = found["spheres_mm"]
targets = {{"spheres_mm": before[::-1] + np.float32([10, -20, 30])}}
network.compile(keras.optimizers.Adam(3e-3), loss={{"spheres_mm": "mean_absolute_error"}})
history = network.fit(data["crops"], targets, batch_size=4, epochs=60, verbose=0)
losses = history.history["loss"]
assert losses[-1] < 0.5 * losses[0], losses
network.save({str(tmp_path / "tuned.keras")!r})
after = estimate(network, data["crops"])
loaded = estimate(keras.models.load_model({str(tmp_path / "tuned.keras")!r}), data["crops"])
for key in after:
    np.testing.assert_allclose(loaded[key], after[key], rtol=0, atol=1e-3)
assert np.abs(after["spheres_mm"] - before).max() > 5
"""
    run_elsewhere(program, folder, backend)


def objects_of(config):
    """Yields every object of a Keras configuration, however deep: dicts with a class name."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from objects_of(value)


def foreign_objects(config):
    """Returns the objects of a Keras configuration that Keras alone cannot be trusted to make."""
    return [
        found
        for found in objects_of(config)
        if (found.get("module") or "keras").split(".")[0] != "keras"
        or found.get("registered_name") not in (None, found["class_name"])
        # Functions and Lambda layers hold marshaled code.
        or found["class_name"] in ("Lambda", "function", "__lambda__", "__bytes__")
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_holds_no_code(folder, name):
    with zipfile.ZipFile(folder / f"{name}.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
        config = json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as file, h5py.File(file) as weights:
            kinds = []
            weights.visititems(
                lambda _, item: kinds.append(item.dtype.kind) if hasattr(item, "dtype") else None
            )
    assert set(kinds) == {"f"}
    assert len(list(objects_of(config))) > 20
    assert not foreign_objects(config)


def test_code_in_a_file_is_found():
    inputs = keras.Input((2,))
    outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
    config = keras.saving.serialize_keras_object(keras.Model(inputs, outputs))
    assert {found["class_name"] for found in foreign_objects(config)} == {"Lambda", "__lambda__"}
    own = {"class_name": "Crop", "module": "tfhand.models", "registered_name": "Crop"}
    registered = {"class_name": "Crop", "module": None, "registered_name": "tfhand>Crop"}
    assert foreign_objects([{"config": own}, registered]) == [own, registered]


def test_required_packages_fail_instead_of_being_skipped(needs, monkeypatch):
    needs("numpy")
    with pytest.raises(pytest.skip.Exception, match="not_a_package is not installed"):
        needs("not_a_package")
    monkeypatch.setenv("TFHAND_REQUIRE", "jax,not_a_package")
    with pytest.raises(pytest.fail.Exception, match="not_a_package"):
        needs("not_a_package")


def test_required_packages_are_installed(needs):
    """What continuous integration requires, another backend among it, is there."""
    required = os.environ.get("TFHAND_REQUIRE")
    if not required:
        pytest.skip("TFHAND_REQUIRE is not set")
    for package in required.split(","):
        needs(package)
    assert {"jax", "torch"} & set(required.split(","))
