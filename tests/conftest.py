"""Settings and fixtures that every test shares.

Two logical CPUs are configured here because TensorFlow takes that setting only before its first
op: distribution tests use "CPU:0" and "CPU:1", every other test runs on "CPU:0" as usual.
"""

import functools
import importlib.util
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import random

import numpy as np
import pytest
import tensorflow as tf

SEED = 20190617


def _configure_two_logical_cpus() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


_configure_two_logical_cpus()

# Files whose tests take long, the longest first; begun last, they would leave the other test
# processes idle.
_LONG = (
    "end_to_end/test_train",
    "end_to_end/",
    "training/test_",
    "viewer/test_browser",
    "fitting/test_",
    "data_prep/test_",
    "runs/test_",
    "models/test_",
    "losses/test_",
)


def pytest_collection_modifyitems(items):
    """Puts the long files first; `make test` hands files to its processes in this order."""

    def rank(item):
        return next((i for i, name in enumerate(_LONG) if name in item.nodeid), len(_LONG))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Seeds Python, NumPy and TensorFlow before each test, so that tests do not depend on order."""
    random.seed(SEED)
    np.random.seed(SEED)
    tf.random.set_seed(SEED)


@pytest.fixture
def eagerly():
    """Runs functions operation by operation: what XLA compiles is not, which takes seconds each."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def compiled(eagerly):
    """Compiles functions, in a test of a module whose other tests run them eagerly."""
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def needs():
    """Returns a function that skips a test without an optional package, or fails it.

    It fails where TFHAND_REQUIRE, names with commas between them, lists the package: there the
    tests are known to have it.
    """

    def check(package: str) -> None:
        if importlib.util.find_spec(package) is not None:
            return
        if package in os.environ.get("TFHAND_REQUIRE", "").split(","):
            pytest.fail(f"TFHAND_REQUIRE names {package}, which is not installed")
        pytest.skip(f"{package} is not installed")

    return check


@pytest.fixture(scope="module")
def loaded_once():
    """Loads a network file once in a module, so that its graphs are traced once."""
    from tfhand import inference

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "load_network", functools.cache(inference.load_network))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Returns a NumPy generator with a fixed seed."""
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def read_curves():
    """Returns a function from a folder of event files to {tag: [(step, value), ...]} by step.

    A point that a restarted training wrote again must be the same as before. Pictures come as
    tuples of bytes; a record that was cut off ends its file.
    """

    def read(folder):
        curves = {}
        for path in sorted(folder.rglob("events.out.tfevents.*")):
            for record in records_of(path):
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    content = tf.make_ndarray(value.tensor)
                    content = content.item() if content.shape == () else tuple(content.tolist())
                    points = curves.setdefault(value.tag, {})
                    assert points.setdefault(event.step, content) == content
        return {tag: sorted(points.items()) for tag, points in curves.items()}

    def records_of(path):
        try:
            yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        except tf.errors.DataLossError:
            return

    return read


@pytest.fixture(scope="session")
def replicas():
    """Returns a function from 1 or 2 to the one `tf.distribute.MirroredStrategy` on as many CPUs.

    Each strategy numbers its reductions from the same start, and TensorFlow remembers by device and
    number what shape was reduced: two strategies on the same devices would disturb each other.
    """
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(names) < 2:
        raise RuntimeError(f"expected two logical CPUs, found {names}")
    return functools.cache(lambda count: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"][:count]))
