"""SavedModels: their signatures, run by a process that cannot import this package."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfhand import inference
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import exporting, pose_network, pose_prior

CUBE_MM = 280.0
# The same float32 operations, fused differently, in mm.
FLOAT_TOLERANCE_MM = 2e-3
# A reading on the edge of a crop pixel may round to either side of it.
CROP_TOLERANCE_MM = 0.3
# Two float32 paths through a division by the depth, px.
FLOAT_TOLERANCE_PX = 1e-2
SIGNATURES = {"serving_default", "frame", "frame_uint16", "frames", "frames_uint16"}


BALL_INTRINSICS = (588.0, 588.0, 80.0, 60.0)


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


def _ball(u=90.0, v=60.0, radius_mm=45.0):
    """A ball as large as a fist 700 mm away, float32 [120, 160], mm; 0 where there is none."""
    rows, columns = np.mgrid[:120, :160].astype(np.float64)
    side = np.hypot(columns - u, rows - v) * 700.0 / BALL_INTRINSICS[0]
    half_chord = np.sqrt(np.maximum(radius_mm**2 - side**2, 0.0))
    return np.where(side < radius_mm, 700.0 - half_chord, 0.0).astype(np.float32)


@pytest.fixture(scope="module")
def pose(tmp_path_factory):
    """An exported pose network, in the place of an older export: signatures, network, folder."""
    directory = tmp_path_factory.mktemp("export") / "pose" / "1"
    directory.mkdir(parents=True)
    (directory / "stale").touch()
    network = _inference_network()
    exporting.export_pose(network, directory, CUBE_MM)
    # With the module: signatures do not keep its variables.
    loaded = tf.saved_model.load(str(directory))
    return loaded, network, directory


POSE_PROGRAM = """
import numpy as np
import tensorflow as tf

data = np.load("pose.npz")
signatures = tf.saved_model.load(str(data["saved_model"])).signatures
assert set(signatures) == set(data["signatures"].tolist()), set(signatures)
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

PRIOR_PROGRAM = """
data = np.load("prior.npz")
signatures = tf.saved_model.load("prior/1").signatures
assert set(signatures) == {"elbo", "reconstruct", "sample"}, set(signatures)
spheres_mm = tf.constant(data["spheres_mm"])
elbo = signatures["elbo"](spheres_mm=spheres_mm)["elbo"]
# One sample of the latent against the mean over twenty.
np.testing.assert_allclose(elbo, data["elbo"], rtol=0.1)
reconstructed_mm = signatures["reconstruct"](spheres_mm=spheres_mm)["spheres_mm"]
np.testing.assert_allclose(reconstructed_mm, data["reconstructed_mm"], atol=1e-2)
assert signatures["sample"](num_hands=tf.constant(5))["spheres_mm"].shape == (5, 41, 3)
for name, request in (
    ("elbo", {"spheres_mm": spheres_mm * np.nan}),
    ("reconstruct", {"spheres_mm": spheres_mm * np.nan}),
    ("elbo", {"spheres_mm": spheres_mm * 1e18}),
    ("elbo", {"spheres_mm": spheres_mm[:0]}),
    ("reconstruct", {"spheres_mm": spheres_mm[:0]}),
    ("sample", {"num_hands": tf.constant(0)}),
):
    try:
        signatures[name](**request)
    except tf.errors.InvalidArgumentError as error:
        assert list(request)[0] + ": expected" in error.message, error.message
    else:
        raise AssertionError(name)
"""


def write_pose_data(pose, path):
    """Writes a frame and what the network answers."""
    _, network, directory = pose
    depth_mm, intrinsics, center_mm = _frame()
    spec = crop.CropSpec(64, CUBE_MM)
    crop_mm = crop.crop_depth(depth_mm, intrinsics, center_mm, spec)
    assert 0.05 < np.mean(crop.foreground_mask(crop_mm, CUBE_MM)) < 1.0
    spheres_mm = network(crop.normalize(crop_mm, CUBE_MM))["spheres_mm"].numpy()

    np.savez(
        path,
        saved_model=str(directory),
        depth_mm=depth_mm,
        intrinsics=intrinsics,
        center_mm=center_mm,
        crop_mm=crop_mm,
        spheres_mm=spheres_mm,
        joints_mm=spheres_mm[:, skeleton.SPHERE_FROM_JOINT],
        evaluation_joints_mm=spheres_mm[:, skeleton.EVALUATION_SPHERES],
        signatures=sorted(SIGNATURES),
        tolerance=FLOAT_TOLERANCE_MM,
        crop_tolerance=CROP_TOLERANCE_MM,
    )


def write_prior(folder, rng):
    """Exports a prior, and writes what it answers."""
    palm_mm = rng.uniform(-40, 40, (11, 3))
    prior = pose_prior.PosePrior(
        pose_prior.PosePriorConfig(reference_palm_mm=palm_mm, latent_size=4, hidden_size=16)
    )
    spheres_mm = rng.uniform(-60, 60, (3, 41, 3)).astype(np.float32)
    exporting.export_prior(prior, folder / "prior" / "1")
    np.savez(
        folder / "prior.npz",
        spheres_mm=spheres_mm,
        reconstructed_mm=prior.reconstruct(spheres_mm),
        elbo=-np.mean([prior.negative_elbo(spheres_mm) for _ in range(20)], axis=0),
    )


def test_signatures_run_without_this_package(pose, tmp_path, rng):
    write_pose_data(pose, tmp_path / "pose.npz")
    write_prior(tmp_path, rng)
    _run_without_package(POSE_PROGRAM + PRIOR_PROGRAM, tmp_path)


@pytest.mark.parametrize("name", sorted(SIGNATURES - {"serving_default"}))
def test_frames_are_found_cropped_and_estimated(pose, name):
    loaded, network, _ = pose
    signature = loaded.signatures[name]
    frames = np.stack([_ball(), _ball(u=40.0, v=70.0)])
    dtype = tf.uint16 if name.endswith("uint16") else tf.float32
    intrinsics = np.tile(np.float32(BALL_INTRINSICS), (2, 1))
    results = signature(
        depth_mm=tf.cast(np.round(frames), dtype),
        intrinsics=tf.constant(intrinsics),
        center_mm=tf.zeros([1, 3]),
    )
    expected = inference.estimate_hands(network, np.round(frames), intrinsics, refine=False)
    assert results["found"].numpy().tolist() == [True, True]
    for key in ("center_mm", "spheres_mm", "spheres_px", "confidence"):
        tolerance = FLOAT_TOLERANCE_PX if key == "spheres_px" else FLOAT_TOLERANCE_MM
        np.testing.assert_allclose(results[key], getattr(expected, key), atol=tolerance)
    for points, indices in (
        ("joints", skeleton.SPHERE_FROM_JOINT),
        ("evaluation_joints", skeleton.EVALUATION_SPHERES),
    ):
        for unit, of in (("mm", "spheres_mm"), ("px", "spheres_px"), ("confidence", "confidence")):
            np.testing.assert_array_equal(
                results[f"{points}_{unit}"], tf.gather(results[of], indices, axis=1)
            )
    # At a given center the depth is not searched.
    given = signature(
        depth_mm=tf.cast(np.round(frames), dtype),
        intrinsics=tf.constant(intrinsics),
        center_mm=tf.constant([[10.0, 0.0, 720.0], [0.0, 0.0, 0.0]]),
    )
    np.testing.assert_allclose(
        given["center_mm"], [[10.0, 0.0, 720.0], results["center_mm"][1]], atol=FLOAT_TOLERANCE_MM
    )


def test_the_center_may_be_left_out_of_a_request(pose):
    saved = saved_model_pb2.SavedModel.FromString((pose[2] / "saved_model.pb").read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    for name in SIGNATURES - {"serving_default"}:
        (default,) = definitions[name].defaults.items()
        assert default[0] == "center_mm"
        np.testing.assert_array_equal(tf.make_ndarray(default[1]), np.zeros([1, 3]))


def test_one_frame_without_a_hand_does_not_fail_the_others(pose):
    frames = np.stack([_ball(), np.zeros([120, 160], np.float32)])
    request = {
        "depth_mm": tf.constant(frames),
        "intrinsics": tf.constant(np.tile(np.float32(BALL_INTRINSICS), (2, 1))),
        "center_mm": tf.zeros([1, 3]),
    }
    results = pose[0].signatures["frames"](**request)
    assert results["found"].numpy().tolist() == [True, False]
    alone = pose[0].signatures["frame"](**{k: v[:1] for k, v in request.items()})
    for name, value in results.items():
        np.testing.assert_allclose(value[:1], alone[name], atol=FLOAT_TOLERANCE_PX, err_msg=name)
        np.testing.assert_array_equal(value[1], np.zeros_like(value[1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"no hand found in frames\] \[1\]"):
        pose[0].signatures["frame"](**request)


def test_a_bad_camera_does_not_fail_the_others(pose):
    request = {
        "depth_mm": tf.constant(np.stack([_ball()] * 3)),
        "intrinsics": tf.constant([[0.0] * 4, BALL_INTRINSICS, [np.nan] * 4], tf.float32),
        "center_mm": tf.zeros([1, 3]),
    }
    results = pose[0].signatures["frames"](**request)
    assert results["found"].numpy().tolist() == [False, True, False]
    alone = pose[0].signatures["frame"](
        **{k: v[1:2] for k, v in request.items() if k != "center_mm"}, center_mm=tf.zeros([1, 3])
    )
    for name, value in results.items():
        np.testing.assert_allclose(value[1:2], alone[name], atol=FLOAT_TOLERANCE_PX, err_msg=name)
        np.testing.assert_array_equal(value[::2], np.zeros_like(value[::2]))
    request["intrinsics"] = tf.zeros([3, 4])
    with pytest.raises(tf.errors.InvalidArgumentError, match="intrinsics: expected finite"):
        pose[0].signatures["frames"](**request)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": [[14.0, 588.0, 80.0, 60.0]]}, "a tenth of width and height"),
        ({"intrinsics": np.zeros([1, 4])}, "intrinsics: expected finite .* positive fx"),
        ({"intrinsics": np.full([1, 4], np.nan)}, "intrinsics: expected finite"),
        ({"intrinsics": np.ones([2, 4])}, "intrinsics: expected a row for each"),
        ({"center_mm": np.ones([3, 3])}, "center_mm: expected a row for each"),
        ({"depth_mm": np.zeros([1, 0, 0])}, "depth_mm: expected frames of at least"),
        ({"intrinsics": [[588.0, 588.0, 1e38, 60.0]]}, "intrinsics: expected finite"),
        (
            {"depth_mm": np.zeros([0, 120, 160]), "intrinsics": np.ones([0, 4])},
            "depth_mm: expected at least one frame",
        ),
        ({"depth_mm": np.full([1, 120, 160], np.nan)}, "depth_mm: no hand found"),
        ({"depth_mm": np.zeros([1, 120, 160])}, "depth_mm: no hand found"),
    ],
)
def test_bad_frames_are_invalid_arguments(pose, change, message):
    request = {
        "depth_mm": _ball()[None], "intrinsics": [BALL_INTRINSICS], "center_mm": np.zeros([1, 3]),
        **change,
    }  # fmt: skip
    request = {name: tf.constant(value, tf.float32) for name, value in request.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        pose[0].signatures["frame"](**request)


def test_bad_crops_are_invalid_arguments(pose):
    serve = pose[0].signatures["serving_default"]
    good = np.full([2, 64, 64], CUBE_MM / 2, np.float32)
    good[:, 20:40, 20:40] = 0.0
    assert serve(depth_mm=tf.constant(good))["spheres_mm"].shape == (2, 41, 3)
    empty, broken = good.copy(), good.copy()
    empty[1] = CUBE_MM / 2
    broken[0, 3, 3] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"background only in crops\] \[1\]"):
        serve(depth_mm=tf.constant(empty))
    with pytest.raises(tf.errors.InvalidArgumentError, match="depth_mm: expected finite"):
        serve(depth_mm=tf.constant(broken))
    # A camera's depth with the sign of a distance, or a crop of a larger cube.
    outside = good.copy()
    outside[1, 3, 3] = -CUBE_MM / 2 - 2.0
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"-140 or more, .* crops\] \[1\]"):
        serve(depth_mm=tf.constant(outside))


def test_replaces_an_older_export(pose):
    directory = pose[2]
    assert not (directory / "stale").exists()
    assert os.listdir(directory.parent) == ["1"]
    assert (directory / "batching_params.pbtxt").is_file()


def test_rejects_networks_of_other_hands(tmp_path):
    with pytest.raises(ValueError, match=r"spheres_mm \[B, 41, 3\].*None, 7, 3"):
        exporting.export_pose(_inference_network(num_spheres=7), tmp_path / "1", CUBE_MM)
    assert not (tmp_path / "1").exists()
