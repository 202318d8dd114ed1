"""Trained models: `pose.keras`, `.weights.h5`, the folder of a prior; and the hand's asset."""

import functools
import io
import json
import zipfile

import h5py
import numpy as np

from tests.fuzz import mutator
from tests.fuzz.case import Format
from tfhand import inference
from tfhand.hand import asset, spheres, surface
from tfhand.models import pose_network, pose_prior, weights

__all__ = ["FORMATS"]

_CONFIG = pose_network.PoseNetworkConfig(image_size=32, heatmap_size=8, features=4, growth=2)


@functools.cache
def _network():
    return pose_network.build_pose_network(_CONFIG)


def _make_keras(folder):
    pose_network.build_inference_network(_network()).save(folder / "whole.keras")
    return (folder / "whole.keras").read_bytes()


def _read_keras(data, folder):
    (folder / "pose.keras").write_bytes(data)
    network = inference.load_network(folder / "pose.keras")
    return inference.crop_spec_of(network), network.get_weights()


def _check_same_weights(found, reference):
    (spec, values), (expected_spec, expected) = found, reference
    assert spec == expected_spec, spec
    for a, b in zip(values, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def _check_network(found, reference):
    """A network with fitting checksums is taken for what it says: any crops, any weights."""
    spec, values = found
    assert spec.image_size > 0 and 0 < spec.cube_mm < float("inf"), spec
    assert [v.shape for v in values] == [v.shape for v in reference[1]]


def _parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(parts):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return stream.getvalue()


def _mutate_part(data, rng):
    """Damages one part of the archive, and gives it a checksum that fits."""
    parts = _parts(data)
    name = sorted(parts)[int(rng.integers(len(parts)))]
    return _archive(parts | {name: mutator.mutate(parts[name], rng)})


def _empty_weights(shape):
    with h5py.File("bomb", "w", driver="core", backing_store=False) as file:
        layers = file.create_group("layers")
        chunks = tuple(min(64, n) for n in shape)
        for i in range(4):
            group = layers.create_group(f"conv2d_{i}" if i else "conv2d").create_group("vars")
            group.create_dataset("0", shape, np.float32, chunks=chunks, compression="gzip")
        file.flush()
        return file.id.get_file_image()


def _keras_with_giant_weights(data):
    return _archive(_parts(data) | {"model.weights.h5": _empty_weights((10**5, 10**5))})


def _keras_that_inflates(data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in _parts(data).items():
            archive.writestr(name, part)
        with archive.open("assets/zeros", "w", force_zip64=True) as file:
            for _ in range(1100):
                file.write(bytes(1 << 20))
    return stream.getvalue()


def _make_weights(folder):
    weights.save_weights(_network(), folder / "whole.weights.h5")
    return (folder / "whole.weights.h5").read_bytes()


def _read_weights(data, folder):
    (folder / "pose.weights.h5").write_bytes(data)
    network = _network()
    network.set_weights([np.zeros_like(value) for value in network.get_weights()])
    weights.load_weights(network, folder / "pose.weights.h5")
    return None, network.get_weights()


def _make_prior(name):
    def make(folder):
        palm = spheres.load().centers_mm[:11].tolist()
        config = pose_prior.PosePriorConfig(palm, latent_size=4, hidden_size=8)
        pose_prior.save_prior(pose_prior.PosePrior(config), folder)
        return (folder / name).read_bytes()

    return make


def _read_prior(name):
    def read(data, folder):
        (folder / name).write_bytes(data)
        prior = pose_prior.load_prior(folder)
        return None, [np.array(prior.pose_config.reference_palm_mm), *prior.get_weights()]

    return read


def _check_prior(found, reference):
    assert [v.shape for v in found[1]] == [v.shape for v in reference[1]]
    assert all(np.isfinite(v).all() for v in found[1])


def _with(**changes):
    return lambda data: json.dumps(json.loads(data) | changes).encode()


def _make_asset(_):
    return asset.PATH.read_bytes()


def _read_asset(data, folder):
    path = folder / "hand.h5"
    path.write_bytes(data)
    whole, asset.PATH = asset.PATH, path
    try:
        skin, model = surface.load_mesh.__wrapped__(), spheres.load.__wrapped__()
    finally:
        asset.PATH = whole
    return None, [*vars(skin).values(), *vars(model).values()]


FORMATS = {
    "keras": Format(
        400, _make_keras, _read_keras, _check_same_weights, "pose.keras",
        bombs={
            "giant weights": _keras_with_giant_weights,
            "inflates": _keras_that_inflates,
            "nothing": lambda _: b"",
        },
    ),
    "keras resealed": Format(
        150, _make_keras, _read_keras, _check_network, "pose.keras", mutate=_mutate_part
    ),
    "weights": Format(
        800, _make_weights, _read_weights, _check_same_weights, "pose.weights.h5",
        bombs={"giant": lambda _: _empty_weights((10**5, 10**5))},
    ),
    "prior weights": Format(
        500, _make_prior("prior.weights.h5"), _read_prior("prior.weights.h5"),
        _check_same_weights, "prior.weights.h5",
    ),
    "prior config": Format(
        400, _make_prior("prior.json"), _read_prior("prior.json"), _check_prior, "prior.",
        bombs={
            "nested": lambda _: b"[" * 200000,
            "a list": lambda _: b"[]",
            "giant layers": _with(hidden_size=10**8),
            "giant latent": _with(latent_size=10**9),
            "not a number": _with(reference_palm_mm=[[float("nan")] * 3] * 11),
        },
    ),
    "hand asset": Format(
        400, _make_asset, _read_asset, _check_same_weights, "hand.h5"
    ),
}  # fmt: skip
