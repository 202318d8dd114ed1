"""SavedModels: their signatures, run by a process that cannot import this package."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import exporting, pose_network, pose_prior

CUBE_MM = 280.0
# The same float32 operations, fused differently, in mm.
FLOAT_TOLERANCE_MM = 2e-3
# A reading on the edge of a crop pixel may round to either side of it.
CROP_TOLERANCE_MM = 0.3


def _run_without_package(program, directory):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    checks = "\nimport sys\nassert not any(m.split('.')[0] == 'tfhand' for m in sys.modules)\n"
    subprocess.run(
        [sys.executable, "-c", program + checks], cwd=directory, env=environment, check=True
    )


def _inference_network(**fields):
    config = pose_network.PoseNetworkConfig(
        **{"features": 8, "growth": 0, "depth": 1, "cube_mm": CUBE_MM, **fields}
    )
    return pose_network.build_inference_network(pose_network.build_pose_network(config))


def _frame():
    """A camera image of a slanted plate, 600 to 700 mm away, with holes."""
    rows, columns = np.mgrid[:60, :80]
    depth_mm = (600 + rows + 0.5 * columns).astype(np.float32)
    depth_mm[:, :35] = 0.0
    depth_mm[25, 50] = np.nan
    intrinsics = np.array([80.0, 80.0, 40.0, 30.0], np.float32)
    return depth_mm[np.newaxis], intrinsics[np.newaxis], np.array([[10.0, 0, 650]], np.float32)


def test_pose_signatures(tmp_path):
    network = _inference_network()
    depth_mm, intrinsics, center_mm = _frame()
    spec = crop.CropSpec(64, CUBE_MM)
    crop_mm = crop.crop_depth(depth_mm, intrinsics, center_mm, spec)
    assert 0.05 < np.mean(crop.foreground_mask(crop_mm, CUBE_MM)) < 1.0
    spheres_mm = network(crop.normalize(crop_mm, CUBE_MM))["spheres_mm"].numpy()

    exporting.export_pose(network, tmp_path / "pose" / "1", CUBE_MM)
    assert sorted(os.listdir(tmp_path / "pose")) == ["1"]
    np.savez(
        tmp_path / "data.npz",
        depth_mm=depth_mm,
        intrinsics=intrinsics,
        center_mm=center_mm,
        crop_mm=crop_mm,
        spheres_mm=spheres_mm,
        joints_mm=spheres_mm[:, skeleton.SPHERE_FROM_JOINT],
        evaluation_joints_mm=spheres_mm[:, skeleton.EVALUATION_SPHERES],
        tolerance=FLOAT_TOLERANCE_MM,
        crop_tolerance=CROP_TOLERANCE_MM,
    )
    program = """
import numpy as np
import tensorflow as tf

data = np.load("data.npz")
signatures = tf.saved_model.load("pose/1").signatures
assert set(signatures) == {"serving_default", "frame"}, set(signatures)
two = np.concatenate([data["crop_mm"]] * 2)
from_crop = signatures["serving_default"](depth_mm=tf.constant(two))
from_frame = signatures["frame"](
    depth_mm=tf.constant(data["depth_mm"]),
    intrinsics=tf.constant(data["intrinsics"]),
    center_mm=tf.constant(data["center_mm"]),
)
assert from_crop["spread_mm"].shape == (2, 41)
for name in ("spheres_mm", "joints_mm", "evaluation_joints_mm"):
    assert from_crop[name].dtype == tf.float32
    expected = data[name]
    for sample in from_crop[name]:
        np.testing.assert_allclose(sample, expected[0], atol=float(data["tolerance"]))
    np.testing.assert_allclose(
        from_frame[name], expected + data["center_mm"], atol=float(data["crop_tolerance"])
    )
"""
    _run_without_package(program, tmp_path)


def test_prior_signatures(tmp_path, rng):
    palm_mm = rng.uniform(-40, 40, (11, 3))
    prior = pose_prior.PosePrior(
        pose_prior.PosePriorConfig(reference_palm_mm=palm_mm, latent_size=4, hidden_size=16)
    )
    spheres_mm = rng.uniform(-60, 60, (3, 41, 3)).astype(np.float32)
    exporting.export_prior(prior, tmp_path / "prior" / "1")
    np.savez(
        tmp_path / "data.npz",
        spheres_mm=spheres_mm,
        reconstructed_mm=prior.reconstruct(spheres_mm),
        elbo=-np.mean([prior.negative_elbo(spheres_mm) for _ in range(20)], axis=0),
    )
    program = """
import numpy as np
import tensorflow as tf

data = np.load("data.npz")
signatures = tf.saved_model.load("prior/1").signatures
assert set(signatures) == {"elbo", "reconstruct", "sample"}, set(signatures)
spheres_mm = tf.constant(data["spheres_mm"])
elbo = signatures["elbo"](spheres_mm=spheres_mm)["elbo"]
# One sample of the latent against the mean over twenty.
np.testing.assert_allclose(elbo, data["elbo"], rtol=0.1)
reconstructed_mm = signatures["reconstruct"](spheres_mm=spheres_mm)["spheres_mm"]
np.testing.assert_allclose(reconstructed_mm, data["reconstructed_mm"], atol=1e-2)
assert signatures["sample"](num_hands=tf.constant(5))["spheres_mm"].shape == (5, 41, 3)
"""
    _run_without_package(program, tmp_path)


def test_replaces_an_older_export(tmp_path):
    directory = tmp_path / "1"
    directory.mkdir()
    (directory / "stale").touch()
    exporting.export_pose(_inference_network(), directory, CUBE_MM)
    assert not (directory / "stale").exists()
    assert tf.saved_model.contains_saved_model(str(directory))


def test_rejects_networks_of_other_hands(tmp_path):
    with pytest.raises(ValueError, match=r"41 spheres.*7 spheres"):
        exporting.export_pose(_inference_network(num_spheres=7), tmp_path / "1", CUBE_MM)
    assert not (tmp_path / "1").exists()
