"""The judge of where hands are: the package's network, which has seen no recording and no label."""

import functools

import tensorflow as tf

from data_prep.records import dataset_info
from tfhand.models import frame_model

__all__ = ["checksum", "judge_of"]


def judge_of(depth_mm, intrinsics, is_left=False):
    """Returns the judge for `hand_center`, see `frame_model.judge_of`.

    Args:
        depth_mm: float32 or uint16 [B, H, W], mm along the camera axis; 0: no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        is_left: Whether left hands are seen.
    """
    # The graph that asks for it may be the first to do so.
    with tf.init_scope():
        network, spec = _load()
    return frame_model.judge_of(network, depth_mm, intrinsics, spec, is_left)


def checksum():
    """Returns the SHA-256 of the network's weights, which centers depend on."""
    from tfhand.models import package_weights

    return dataset_info.compute_sha256(package_weights.FOLDER / "init" / "pose.weights.h5")


@functools.lru_cache(maxsize=1)
def _load():
    """Returns the network and the `crop.CropSpec` of its crops."""
    # Keras is slow to import.
    from tfhand import inference

    network = inference.load_network("shipped")
    return network, inference.crop_spec_of(network)
