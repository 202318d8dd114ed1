"""A small recording and a small untrained network for the viewer's tests."""

import numpy as np
import pytest

from data_prep import records
from tfhand.geometry import crop
from tfhand.hand import skeleton, template
from tfhand.models import pose_network
from tfhand.viewer import posing

SPEC = crop.CropSpec(image_size=32)
CENTER_MM = np.array([[10.0, -20.0, 700.0], [-30.0, 40.0, 650.0]], np.float32)
AZIMUTHS_DEG = (0.0, 50.0)
FRAMES = (70, 81, 92)


def make_sample(frame):
    """One posed hand seen by two cameras, as records hold it, and its spheres in crop frames."""
    state = posing.PoseState.rest()
    state.angles_rad[template.angle_index("INDEX_1_FLEX")] = np.radians(frame - 70)
    views = [(azimuth, 0.0, 0.0) for azimuth in AZIMUTHS_DEG]
    hands = [
        posing.pose_hand(posing.PoseState(state.angles_rad, state.shape, v), SPEC) for v in views
    ]
    first, second = (posing.camera_from_hand(*view) for view in views)
    # p_0 = R_0 R_1^T (p_1 - c_1) + c_0: both cameras look at the mean of the spheres.
    ref_from_view = np.stack([np.eye(4, dtype=np.float32)] * 2)
    ref_from_view[1, :3, :3] = first @ second.T
    ref_from_view[1, :3, 3] = CENTER_MM[0] - first @ second.T @ CENTER_MM[1]
    spheres_mm = np.stack([hand.spheres_mm for hand in hands])
    sample = {
        "depth_mm": np.stack([hand.depth_mm for hand in hands]),
        "center_mm": CENTER_MM,
        "intrinsics": np.array([[588.0, 587.0, 320.0, 240.0]] * 2, np.float32),
        "ref_from_view": ref_from_view,
        "subject": "anna",
        "frame": frame,
        "joints_mm": spheres_mm[:, skeleton.SPHERE_FROM_JOINT] + CENTER_MM[:, None],
        "joint_mask": np.ones((2, len(skeleton.JOINT_NAMES)), np.int64),
    }
    return sample, spheres_mm


@pytest.fixture(scope="session")
def sample():
    """Returns (sample, spheres_mm float32 [2, 41, 3] in crop frames)."""
    return make_sample(FRAMES[0])


@pytest.fixture(scope="session")
def recording_dir(tmp_path_factory):
    """A folder of records with one split, `test`."""
    path = tmp_path_factory.mktemp("records") / "data"
    plan = records.SplitPlan(path, "test", 1, "a test", SPEC, num_views=2)
    with records.ShardWriter(plan) as writer:
        for frame in FRAMES:
            writer.write(make_sample(frame)[0])
    return path


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """An untrained network for its crops."""
    config = pose_network.PoseNetworkConfig(image_size=32, heatmap_size=8, features=8, growth=4)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    path = tmp_path_factory.mktemp("model") / "pose.keras"
    network.save(path)
    return path
