"""A small recording of known hands, and a small network, for the tests of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhand.data import batches, recordings
from tfhand.geometry import crop, rigid
from tfhand.hand import skeleton, spheres, statistics
from tfhand.models import pose_network
from tfhand.rendering import spheres as sphere_rendering
from tfhand.training import trainer

SAMPLES, VIEWS = 4, 3


@pytest.fixture(scope="session")
def spec():
    return crop.CropSpec(image_size=32, cube_mm=300.0)


@pytest.fixture(scope="session")
def hands_mm():
    """Sphere centers of four hands around the origin of the reference frame, [4, 41, 3]."""
    hands = statistics.sample_spheres(tf.random.Generator.from_seed(11), SAMPLES).numpy()
    return hands - hands.mean(axis=1, keepdims=True)


@pytest.fixture(scope="session")
def recording(spec, hands_mm):
    """The hands seen from three sides without noise, with labels; two samples a subject."""
    turns = np.array([[0.0, 0.0, 0.0], [0.0, 0.9, 0.0], [0.2, -0.8, 0.3]], np.float32)
    rotations = rigid.rotation_from_axis_angle(turns)
    # Crop centers a few mm off the hand, different in every view.
    shifts = np.random.default_rng(3).uniform(-8.0, 8.0, (SAMPLES, VIEWS, 3)).astype(np.float32)
    ref_from_crop = rigid.from_rotation_translation(rotations[None], shifts).numpy()
    in_crops = rigid.apply(rigid.inverse(ref_from_crop), hands_mm[:, None])
    centers, radii = spheres.dense_spheres(in_crops, spheres.load().radii_mm)
    depth = sphere_rendering.render_depth(
        tf.reshape(centers, [SAMPLES * VIEWS, -1, 3]),
        radii,
        image_size=spec.image_size,
        cube_mm=spec.cube_mm,
    )
    joints = in_crops.numpy()[:, :, skeleton.SPHERE_FROM_JOINT]
    return recordings.RecordedSamples(
        depth_mm=depth.numpy().reshape(SAMPLES, VIEWS, spec.image_size, spec.image_size),
        ref_from_crop=ref_from_crop,
        joints_mm=joints,
        joint_mask=np.ones(joints.shape[:-1], np.float32),
        group=np.array([0, 0, 1, 1]),
        frame=np.arange(SAMPLES),
        is_multi_view=np.ones(SAMPLES, bool),
    )


@pytest.fixture(scope="session")
def batch(recording):
    """The whole recording as one batch with its labels as targets."""
    target_mm, target_mask = batches.label_targets(recording)
    arrays = {
        "depth_mm": recording.depth_mm,
        "ref_from_crop": recording.ref_from_crop,
        "target_mm": target_mm,
        "target_mask": target_mask,
    }
    return {name: tf.constant(array) for name, array in arrays.items()}


@pytest.fixture
def make_network():
    """Builds the same small network on every call."""

    def make():
        keras.utils.set_random_seed(5)
        return pose_network.build_pose_network(
            pose_network.PoseNetworkConfig(
                image_size=32, heatmap_size=8, features=8, growth=4, depth=1
            )
        )

    return make


@pytest.fixture
def graphs(monkeypatch):
    """The graphs of the steps that are traced from now on, a list that grows."""
    graphs = []
    original = trainer.Trainer.train_step

    def train_step(self, batch):
        graphs.append(tf.compat.v1.get_default_graph())
        return original(self, batch)

    monkeypatch.setattr(trainer.Trainer, "train_step", train_step)
    return graphs
