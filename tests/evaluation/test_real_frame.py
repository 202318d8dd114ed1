"""The real frame: found where it is, estimated, scored and drawn."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.evaluation import published, real_frame
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import package_weights, pose_network

LABELS = "nyu_test_groundtruth_label.txt"
SPEC = crop.CropSpec(image_size=64, cube_mm=300.0)


@pytest.fixture
def folder():
    found = real_frame.find_folder()
    if found is None:
        pytest.skip("the public NYU frame is neither in ../shared/nyu nor $TFHAND_NYU_RESULTS")
    return found


def test_absent_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHAND_NYU_RESULTS", str(tmp_path))
    assert real_frame.find_folder() is None


def test_folder_is_found_by_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHAND_NYU_RESULTS", str(tmp_path))
    (tmp_path / "depth_1_0000001.png").touch()
    assert real_frame.find_folder() is None
    (tmp_path / "nyu_test_groundtruth_label.txt").touch()
    assert real_frame.find_folder() == tmp_path


def check(score, picture):
    assert score["found_hand"] is True
    per_joint = score["per_joint_error_mm"]
    assert tuple(per_joint) == tuple(skeleton.EVALUATION_JOINT_NAMES)
    assert score["mean_joint_error_mm"] == pytest.approx(np.mean(list(per_joint.values())))
    image = tf.io.decode_png(picture.read_bytes()).numpy()
    assert min(image.shape[:2]) > 100
    assert image[..., :3].std() > 10


def test_an_untrained_network_is_scored_and_drawn(folder, tmp_path):
    keras.utils.set_random_seed(1)
    network = pose_network.build_pose_network(
        pose_network.PoseNetworkConfig(features=8, growth=4, depth=1)
    )
    picture = tmp_path / "frame.png"
    score = real_frame.score_real_frame(network, folder, SPEC, picture)
    check(score, picture)
    # It puts every sphere in the middle of the crop: joints of a hand are 20 to 150 mm from there.
    assert 20.0 < score["mean_joint_error_mm"] < 150.0


def test_the_label_scores_zero(folder, tmp_path):
    """A "network" that always answers with the label, relative to wherever the crop is."""
    label = published.xyz_from_uvd(published.read_joints_uvd(folder / LABELS)[0])
    shape = label - label.mean(axis=0)
    spheres = np.zeros([41, 3], np.float32)
    spheres[skeleton.EVALUATION_SPHERES] = shape
    network = pose_network.build_inference_network(
        pose_network.build_pose_network(
            pose_network.PoseNetworkConfig(features=8, growth=4, depth=1)
        )
    )
    constant = keras.ops.reshape(keras.ops.convert_to_tensor(spheres), [1, 41, 3])
    # Sure of itself: the first end that is looked at is taken.
    outputs = {
        "spheres_mm": 0.0 * network.output["spheres_mm"] + constant,
        "spread_mm": 0.0 * network.output["spread_mm"] + 10.0,
    }
    network = keras.Model(network.input, outputs)

    score = real_frame.score_real_frame(network, folder, SPEC, tmp_path / "frame.png")
    check(score, tmp_path / "frame.png")
    # What remains is one shift for all joints: how far the crop's center is off the label's.
    errors = np.array(list(score["per_joint_error_mm"].values()))
    assert errors.max() < 80.0
    np.testing.assert_allclose(errors, errors[0], atol=0.01)


def test_the_estimate_and_a_fitted_hand_are_near_the_label(folder, tmp_path):
    network = package_weights.load_pose_network()
    score = real_frame.score_real_frame(network, folder, SPEC, tmp_path / "frame.png", True)
    check(score, tmp_path / "frame.png")
    # 8.77 and 8.75 mm; one frame tells no more.
    assert score["mean_joint_error_mm"] < 12.0 and score["fitted_mean_joint_error_mm"] < 12.0


def test_damaged_frame_is_an_error(folder, tmp_path):
    for name in ("depth_1_0000001.png", LABELS):
        shutil.copy(folder / name, tmp_path / name)
    frame = tmp_path / "depth_1_0000001.png"
    frame.chmod(0o644)
    frame.write_bytes(frame.read_bytes()[:5000])
    with pytest.raises(ValueError, match="depth_1_0000001"):
        real_frame.score_real_frame(None, tmp_path, SPEC, tmp_path / "frame.png")
