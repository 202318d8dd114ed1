"""`tfhand.predict`, `tfhand.export` and `tfhand.inference` on a small untrained network."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand import commands, export, inference, predict
from tfhand.fitting import frame_fits
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import pose_network

pytestmark = pytest.mark.usefixtures("loaded_once")

INTRINSICS = (588.0, 588.0, 80.0, 60.0)
# Both paths crop with the same code, mirrored: a reading on the edge of two crop pixels may fall
# to either side.
MIRROR_TOLERANCE_MM = 0.5


@pytest.fixture(scope="module")
def network():
    config = pose_network.PoseNetworkConfig(image_size=32, heatmap_size=8, features=8, growth=4)
    return pose_network.build_inference_network(pose_network.build_pose_network(config))


@pytest.fixture(scope="module")
def model_path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "pose.keras"
    network.save(path)
    return path


def ball_image(u=90.0, v=60.0, depth_mm=700.0, radius_mm=45.0):
    """A ball as large as a fist, float32 [120, 160], mm, 0 where there is none."""
    rows, columns = np.mgrid[:120, :160].astype(np.float64)
    side = np.hypot(columns - u, rows - v) * depth_mm / INTRINSICS[0]
    half_chord = np.sqrt(np.maximum(radius_mm**2 - side**2, 0.0))
    return np.where(side < radius_mm, depth_mm - half_chord, 0.0).astype(np.float32)


def run_predict(*arguments):
    predict.main(commands.parse(predict.define_flags, ["predict", *arguments]))


def test_estimates_lie_at_the_ball(network):
    hands = inference.estimate_hands(network, ball_image()[None], INTRINSICS)
    # An untrained network puts all spheres in the middle of the crop, which is on the ball.
    assert hands.found[0]
    expected = np.array([(90.0 - 80.0) * 700.0 / 588.0, 0.0, 700.0])
    assert np.linalg.norm(hands.spheres_mm[0].mean(axis=0) - expected) < 60.0
    u = hands.spheres_mm[0, :, 0] * 588.0 / hands.spheres_mm[0, :, 2] + 80.0
    np.testing.assert_allclose(hands.spheres_px[0, :, 0], u, rtol=1e-4)
    assert ((hands.confidence > 0.0) & (hands.confidence < 1.0)).all()


def test_a_left_hand_is_the_mirror_image(network):
    right = inference.estimate_hands(network, ball_image(u=90.0)[None], INTRINSICS)
    mirrored = ball_image(u=90.0)[None, :, ::-1]
    intrinsics = (588.0, 588.0, 159.0 - 80.0, 60.0)
    left = inference.estimate_hands(network, mirrored, intrinsics, left_hand=True)
    np.testing.assert_allclose(
        left.spheres_mm * [-1.0, 1.0, 1.0], right.spheres_mm, atol=MIRROR_TOLERANCE_MM
    )


def test_an_empty_image_has_no_hand(network):
    hands = inference.estimate_hands(network, np.zeros([1, 120, 160]), INTRINSICS)
    assert not hands.found[0]
    assert np.isnan(hands.spheres_mm).all()


@pytest.mark.parametrize(
    ("depth", "intrinsics", "message"),
    [
        (np.zeros([120, 160]), INTRINSICS, "shape"),
        (np.zeros([1, 120, 160]), (0.0, 588.0, 80.0, 60.0), "positive fx"),
        (np.zeros([1, 120, 160]), (np.nan, 588.0, 80.0, 60.0), "positive fx"),
    ],
)
def test_bad_input(network, depth, intrinsics, message):
    with pytest.raises(ValueError, match=message):
        inference.estimate_hands(network, depth, intrinsics)


def test_command_writes_json_and_overlay(model_path, tmp_path):
    np.save(tmp_path / "frame.npy", ball_image() / 1000.0)
    output, overlay = tmp_path / "out.json", tmp_path / "overlay.png"
    run_predict(
        f"--model={model_path}",
        f"--depth={tmp_path}",
        "--depth_unit=m",
        "--intrinsics=588,588,80,60",
        f"--output={output}",
        f"--overlay={overlay}",
    )
    result = json.loads(output.read_text())["frame.npy"]
    assert set(result["spheres"]) == set(skeleton.SPHERE_NAMES)
    assert set(result["joints"]) == set(skeleton.EVALUATION_JOINT_NAMES)
    assert len(result["joints"]["PALM_3"]["mm"]) == 3
    assert overlay.read_bytes()[:4] == b"\x89PNG"


def test_a_folder_is_fitted_with_the_shape_of_its_person(model_path, tmp_path, monkeypatch):
    learned = []

    def learn_shape(self, depth_mm, intrinsics, center_mm, spheres_mm):
        learned.append(len(depth_mm))

    monkeypatch.setattr(frame_fits.FrameFits, "learn_shape", learn_shape)
    monkeypatch.setattr(
        frame_fits.FrameFits, "__call__", lambda self, *arguments: arguments[3] + 2.0
    )
    for i in range(9):
        np.save(tmp_path / f"{i}.npy", ball_image())
    # Another size, and no image: neither tells of the shape.
    np.save(tmp_path / "a.npy", ball_image()[:100])
    (tmp_path / "b.png").write_bytes(b"no picture")
    plain, fitted = tmp_path / "plain.json", tmp_path / "fitted.json"
    run_predict(f"--model={model_path}", f"--depth={tmp_path / '3.npy'}", f"--output={plain}")
    with pytest.raises(ValueError, match=r"b\.png"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path}", f"--output={fitted}", "--fit")
    assert learned == [9]
    plain_mm, fitted_mm = (
        json.loads(path.read_text())["3.npy"]["spheres"]["PALM_3"]["mm"] for path in (plain, fitted)
    )
    np.testing.assert_allclose(fitted_mm, np.add(plain_mm, 2.0), atol=0.011)


def test_command_names_images_without_a_hand(model_path, tmp_path):
    np.save(tmp_path / "empty.npy", np.zeros([120, 160], np.float32))
    with pytest.raises(ValueError, match=r"No hand found in 1 of 1 images.*empty\.npy"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path}")


def test_a_damaged_image_does_not_cost_the_others(model_path, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    np.save(tmp_path / "b.npy", ball_image())
    output = tmp_path / "out.json"
    with pytest.raises(ValueError, match=r"1 of 2 images.*a\.png"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path}", f"--output={output}")
    results = json.loads(output.read_text())
    assert "a.png" in results["a.png"]["error"]
    assert not results["a.png"]["found_hand"]
    assert results["b.npy"]["found_hand"]
    with pytest.raises(ValueError, match=r"depth image.*a\.png"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path / 'a.png'}")


def test_units_and_names(model_path, tmp_path):
    np.save(tmp_path / "depth_1.npy", ball_image() / 20.0)
    np.save(tmp_path / "rgb_1.npy", ball_image())
    output = tmp_path / "out.json"
    run_predict(
        f"--model={model_path}", f"--depth={tmp_path}", "--depth_unit=cm", "--depth_scale=2",
        f"--output={output}",
    )  # fmt: skip
    (result,) = json.loads(output.read_text()).values()
    assert abs(result["center_mm"][2] - 670.0) < 40.0
    with pytest.raises(ValueError, match="positive --depth_scale"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path}", "--depth_scale=0")


def test_the_network_knows_its_crops(tmp_path):
    config = pose_network.PoseNetworkConfig(32, 8, features=8, growth=4, cube_mm=240.0)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    network.save(tmp_path / "pose.keras")
    loaded = inference.load_network(tmp_path / "pose.keras", cube_mm=240.0)
    assert inference.crop_spec_of(loaded) == crop.CropSpec(32, 240.0)
    with pytest.raises(ValueError, match=r"crops of 300 mm .*found 240 mm"):
        inference.load_network(tmp_path / "pose.keras", cube_mm=300.0)


def test_files_that_hold_no_pose_network(tmp_path):
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(ValueError, match=r"Keras model in .*text\.keras"):
        inference.load_network(tmp_path / "text.keras")
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"outputs spheres_mm and spread_mm.*found none"):
        inference.load_network(tmp_path / "other.keras")


def test_missing_files(model_path, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_predict(f"--model={tmp_path}/nowhere.keras", f"--depth={model_path}")
    with pytest.raises(FileNotFoundError, match="depth images"):
        run_predict(f"--model={model_path}", f"--depth={tmp_path}")


def test_export_takes_the_next_version(model_path, tmp_path):
    (tmp_path / "3").mkdir()
    arguments = ["export", f"--model={model_path}", f"--output_dir={tmp_path}"]
    export.main(commands.parse(export.define_flags, arguments))
    assert tf.saved_model.contains_saved_model(str(tmp_path / "4"))
