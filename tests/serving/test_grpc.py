"""Predict requests to the exported models, in a process that has only TensorFlow.

Over gRPC, and by the client programs of `serving/`: one file, since a server takes long to start.
"""

import os
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.serving import pictures, programs
from tfhand.geometry import crop
from tfhand.hand import skeleton

# The same float32 operations, fused differently, in mm.
FLOAT_TOLERANCE_MM = 0.02
# A reading on the edge of a crop pixel may round to either side of it.
CROP_TOLERANCE_MM = 0.5
PIXEL_TOLERANCE = 0.01
# PNG holds whole mm.
ROUNDING_MM = 3.0
ALL_FRAME_SIGNATURES = ("frame", "frame_uint16", "frames", "frames_uint16")
STRICT = ("frame", "frame_uint16")


@pytest.fixture(scope="module")
def predict(server):
    """Function of (model, signature, inputs) to a dict of arrays."""
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    # The loopback is never behind a proxy.
    channel = grpc.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def call(model, signature, inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = stub.Predict(request, timeout=60)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    with channel:
        yield call


def frame_inputs(signature, images, center_mm=None, intrinsics=pictures.INTRINSICS):
    dtype = np.uint16 if signature.endswith("uint16") else np.float32
    inputs = {
        "depth_mm": np.stack(images).astype(dtype),
        "intrinsics": np.tile(np.float32(intrinsics), (len(images), 1)),
    }
    if center_mm is not None:
        inputs["center_mm"] = np.float32(center_mm)
    return inputs


def assert_refused(predict, model, signature, inputs, field, code=None):
    """The request is refused with one message that names the field; the next one is answered."""
    with pytest.raises(grpc.RpcError) as raised:
        predict(model, signature, inputs)
    assert raised.value.code() == (code or grpc.StatusCode.INVALID_ARGUMENT), raised.value.details()
    assert field in raised.value.details()
    spheres_mm = np.zeros([1, 41, 3], np.float32)
    good = {"depth_mm": np.full([1, 64, 64], pictures.CUBE_MM / 2, np.float32)}
    good["depth_mm"][:, 20:40, 20:40] = 0.0
    if model == "prior":
        assert predict("prior", "reconstruct", {"spheres_mm": spheres_mm})["spheres_mm"].size
    else:
        assert predict("pose", "serving_default", good)["spheres_mm"].shape == (1, 41, 3)


def network_at(network, images, intrinsics, center_mm):
    """What the network itself says of crops at a center: (spheres in camera mm, their spread)."""
    crops = crop.crop_depth(
        np.stack(images), intrinsics, center_mm, crop.CropSpec(64, pictures.CUBE_MM)
    )
    assert 0.02 < np.mean(crop.foreground_mask(crops, pictures.CUBE_MM)) < 0.5
    outputs = network(crop.normalize(crops, pictures.CUBE_MM), training=False)
    return outputs["spheres_mm"].numpy() + center_mm[:, np.newaxis], outputs["spread_mm"].numpy()


def test_crops_give_what_the_network_gives(predict, network):
    center_mm = np.float32([pictures.BALL_MM, (10.0, -30.0, 690.0)])
    crops = crop.crop_depth(
        np.stack([pictures.ball()] * 2),
        np.float32([pictures.INTRINSICS] * 2),
        center_mm,
        crop.CropSpec(64, pictures.CUBE_MM),
    ).numpy()
    expected = network(crop.normalize(crops, pictures.CUBE_MM), training=False)
    outputs = predict("pose", "serving_default", {"depth_mm": crops})
    assert set(outputs) == {"spheres_mm", "joints_mm", "evaluation_joints_mm", "spread_mm"}
    spheres_mm = expected["spheres_mm"].numpy()
    # Otherwise any order of spheres, and any picture, would do.
    assert np.ptp(spheres_mm[..., :2], axis=1).min() > 10.0
    assert np.abs(spheres_mm[0] - spheres_mm[1]).max() > 1.0
    for name, value in (
        ("spheres_mm", spheres_mm),
        ("joints_mm", spheres_mm[:, skeleton.SPHERE_FROM_JOINT]),
        ("evaluation_joints_mm", spheres_mm[:, skeleton.EVALUATION_SPHERES]),
        ("spread_mm", expected["spread_mm"].numpy()),
    ):
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], value, atol=FLOAT_TOLERANCE_MM, err_msg=name)


@pytest.mark.parametrize("signature", ALL_FRAME_SIGNATURES)
@pytest.mark.parametrize("given", [True, False])
def test_frames_give_what_the_network_gives(predict, network, signature, given):
    images = [pictures.ball(), pictures.ball(u=250.0)]
    if signature.endswith("uint16"):
        images = [np.floor(image) for image in images]
    centers = np.float32([pictures.BALL_MM, pictures.BALL_MM]) + [[0, 0, -5], [-90, 5, 0]]
    inputs = frame_inputs(signature, images, centers if given else None)
    outputs = predict("pose", signature, inputs)

    assert outputs["found"].dtype == bool
    assert outputs["found"].tolist() == [True, True]
    center_mm = outputs["center_mm"]
    if given:
        np.testing.assert_allclose(center_mm, centers, atol=FLOAT_TOLERANCE_MM)
    else:
        middle = np.float32([pictures.BALL_MM] * 2)
        middle[1, 0] += (250.0 - 340.0) * 700.0 / pictures.FOCAL_PX
        # The surface, which is what is found, lies before the middle of the ball.
        assert np.linalg.norm(center_mm - middle, axis=1).max() < 60.0
    spheres_mm, spread_mm = network_at(network, images, inputs["intrinsics"], center_mm)
    np.testing.assert_allclose(outputs["spheres_mm"], spheres_mm, atol=CROP_TOLERANCE_MM)

    served_mm = outputs["spheres_mm"]
    fx, fy, cx, cy = pictures.INTRINSICS
    served_px = served_mm[..., :2] / served_mm[..., 2:] * [fx, fy] + [cx, cy]
    np.testing.assert_allclose(outputs["spheres_px"], served_px, atol=PIXEL_TOLERANCE)
    confidence = outputs["confidence"]
    assert ((confidence > 0) & (confidence < 1)).all()
    # The wider the heatmap, the lower the confidence.
    assert np.corrcoef(confidence.ravel(), spread_mm.ravel())[0, 1] < -0.9
    for prefix, index in (
        ("joints", skeleton.SPHERE_FROM_JOINT),
        ("evaluation_joints", skeleton.EVALUATION_SPHERES),
    ):
        np.testing.assert_array_equal(outputs[f"{prefix}_mm"], served_mm[:, index])
        np.testing.assert_array_equal(outputs[f"{prefix}_px"], outputs["spheres_px"][:, index])
        np.testing.assert_array_equal(outputs[f"{prefix}_confidence"], confidence[:, index])


def test_zero_and_not_finite_centers_mean_find_the_hand(predict):
    images = [pictures.ball()]
    found = predict("pose", "frame", frame_inputs("frame", images))["center_mm"]
    for center in ((0.0, 0.0, 0.0), (5.0, 5.0, -1.0), (np.nan, np.nan, np.nan)):
        outputs = predict("pose", "frame", frame_inputs("frame", images, [center]))
        np.testing.assert_allclose(outputs["center_mm"], found, atol=FLOAT_TOLERANCE_MM)


def test_a_frame_of_a_batch_does_not_change_the_others(predict):
    alone = predict("pose", "frames", frame_inputs("frames", [pictures.ball()]))
    images = [pictures.empty(), pictures.ball(), pictures.wall()]
    outputs = predict("pose", "frames", frame_inputs("frames", images))
    assert outputs["found"].tolist() == [False, True, False]
    for name, value in outputs.items():
        assert np.isfinite(value).all(), name
        assert not value[[0, 2]].any(), name
        np.testing.assert_allclose(value[1], alone[name][0], atol=FLOAT_TOLERANCE_MM, err_msg=name)


@pytest.mark.parametrize("signature", STRICT)
@pytest.mark.parametrize("image", [pictures.empty, pictures.pebble, pictures.wall])
def test_strict_signatures_refuse_frames_without_a_hand(predict, signature, image):
    inputs = frame_inputs(signature, [pictures.ball(), image()])
    assert_refused(predict, "pose", signature, inputs, "depth_mm")


@pytest.mark.parametrize("signature", STRICT)
@pytest.mark.parametrize(
    "intrinsics",
    [
        (np.nan, 588.0, 320.0, 240.0),
        (588.0, 588.0, np.inf, 240.0),
        (0.0, 588.0, 320.0, 240.0),
        (588.0, -588.0, 320.0, 240.0),
    ],
)
def test_bad_intrinsics(predict, signature, intrinsics):
    inputs = frame_inputs(signature, [pictures.ball()], intrinsics=intrinsics)
    assert_refused(predict, "pose", signature, inputs, "intrinsics")


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "field"),
    [
        ("pose", "serving_default", {"depth_mm": np.zeros([1, 32, 64], np.float32)}, "depth_mm"),
        ("pose", "serving_default", {"depth_mm": np.zeros([64, 64], np.float32)}, "depth_mm"),
        ("pose", "serving_default", {"depth_mm": np.zeros([1, 64, 64])}, "depth_mm"),
        ("pose", "serving_default", {}, "depth_mm"),
        (
            "pose",
            "serving_default",
            {"depth_mm": np.full([1, 64, 64], 150, np.float32)},
            "depth_mm",
        ),
        (
            "pose",
            "serving_default",
            {"depth_mm": np.full([1, 64, 64], np.nan, np.float32)},
            "depth_mm",
        ),
        ("prior", "elbo", {"spheres_mm": np.zeros([1, 40, 3], np.float32)}, "spheres_mm"),
        ("prior", "reconstruct", {"spheres_mm": np.zeros([41, 3], np.float32)}, "spheres_mm"),
        ("prior", "sample", {"num_hands": np.int32([2, 3])}, "num_hands"),
        ("prior", "sample", {"num_hands": np.int32(0)}, "num_hands"),
        ("prior", "elbo", {"spheres_mm": np.zeros([1, 41, 3], np.int32)}, "spheres_mm"),
        ("prior", "sample", {}, "num_hands"),
    ],
)
def test_bad_inputs(predict, model, signature, inputs, field):
    assert_refused(predict, model, signature, inputs, field)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth_mm", pictures.ball()),
        ("depth_mm", pictures.ball()[None].astype(np.uint16)),
        ("depth_mm", None),
        ("intrinsics", np.float32(pictures.INTRINSICS)),
        ("intrinsics", np.float32([pictures.INTRINSICS[:3]])),
        ("intrinsics", np.float32([pictures.INTRINSICS] * 3)),
        ("center_mm", np.zeros([1, 3], np.int32)),
        ("centre_mm", np.zeros([1, 3], np.float32)),
    ],
    ids=lambda value: value if isinstance(value, str) else str(getattr(value, "shape", value)),
)
def test_bad_inputs_of_frames(predict, name, value):
    inputs = frame_inputs("frame", [pictures.ball()])
    inputs.pop(name, None)
    if value is not None:
        inputs[name] = value
    assert_refused(predict, "pose", "frame", inputs, name)


def test_unknown_names(predict):
    inputs = {"depth_mm": np.zeros([1, 64, 64], np.float32)}
    # These codes are TensorFlow Serving's own.
    code = grpc.StatusCode.FAILED_PRECONDITION
    assert_refused(predict, "pose", "no_such", inputs, "no_such", code)
    assert_refused(predict, "hand", "frame", inputs, "hand", grpc.StatusCode.NOT_FOUND)


def test_prior(predict, prior, rng):
    spheres_mm = rng.uniform(-60, 60, (3, 41, 3)).astype(np.float32)
    served = predict("prior", "reconstruct", {"spheres_mm": spheres_mm})["spheres_mm"]
    np.testing.assert_allclose(served, prior.reconstruct(spheres_mm), atol=1e-2)
    elbo = predict("prior", "elbo", {"spheres_mm": spheres_mm})["elbo"]
    expected = -np.mean([prior.negative_elbo(spheres_mm) for _ in range(20)], axis=0)
    # One sample of the latent against the mean over twenty.
    np.testing.assert_allclose(elbo, expected, rtol=0.1)
    sampled = predict("prior", "sample", {"num_hands": np.int32(5)})["spheres_mm"]
    assert sampled.shape == (5, 41, 3)
    assert np.isfinite(sampled).all()


def test_the_server_ran_the_warm_up_requests(server):
    assert set(server.warmed_up["pose"]) == {"serving_default", *ALL_FRAME_SIGNATURES}
    assert set(server.warmed_up["prior"]) == {"elbo", "reconstruct", "sample"}


@pytest.fixture(params=["grpc", "rest"])
def client(request, server):
    """(its name, its --server)."""
    return request.param, f"--server={getattr(server, request.param)}"


def test_all_kinds_of_pictures_give_one_hand(run_client, client, files):
    name, address = client
    hands = [
        programs.assert_hand(
            run_client(name, address, f"--depth={files / file}", programs.INTRINSICS)
        )
        for file in ("ball.npy", "gray.png", "nyu.png")
    ]
    # Both PNGs hold the same whole mm.
    np.testing.assert_allclose(hands[1], hands[2], atol=0.01)
    np.testing.assert_allclose(hands[0], hands[1], atol=ROUNDING_MM)


def test_programs(client, files):
    name, address = client
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    programs.set_no_proxy(environment.__setitem__)
    result = subprocess.run(
        [
            sys.executable,
            f"client_{name}.py",
            address,
            f"--depth={files}/gray.png",
            programs.INTRINSICS,
        ],
        cwd=programs.SERVING,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    programs.assert_hand(result)


def test_errors_of_the_server_are_one_line(run_client, client, files):
    name, address = client
    arguments = (address, f"--depth={files / 'empty.npy'}", programs.INTRINSICS)
    programs.assert_one_line(run_client(name, *arguments), "No hand found")
    code = {"grpc": "INVALID_ARGUMENT", "rest": "HTTP 400"}[name]
    programs.assert_one_line(run_client(name, *arguments, "--strict"), code, "depth_mm")
