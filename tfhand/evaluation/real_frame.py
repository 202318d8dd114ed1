"""The one real frame at hand, through a trained network and beside its label."""

import os
import pathlib

import numpy as np
import tensorflow as tf

from tfhand.evaluation import published, qualitative, sheets
from tfhand.geometry import camera, crop, depth_image, hand_center
from tfhand.hand import skeleton

__all__ = ["find_folder", "score_real_frame"]

_FRAME = "depth_1_0000001.png"
_LABELS = "nyu_test_groundtruth_label.txt"


def find_folder():
    """Returns the folder with the public NYU material, or None where it is absent.

    It is named by the environment variable `TFHAND_NYU_RESULTS`, or lies beside the checkout.
    """
    folder = pathlib.Path(os.environ.get("TFHAND_NYU_RESULTS", "../shared/nyu"))
    return folder if (folder / _FRAME).is_file() and (folder / _LABELS).is_file() else None


def score_real_frame(network, folder, spec, picture):
    """Estimates the first test frame of NYU's first camera and compares it with its label.

    The crop's center is found in the depth, then moved to the middle of the first estimate.

    Args:
        network: Pose network: normalized crops to a dict with `spheres_mm`.
        folder: Folder of `find_folder`.
        spec: `crop.CropSpec`.
        picture: File to draw input, rendered spheres and overlay to.

    Returns:
        Dict for `metrics.json`: the error of each evaluation joint and their mean, mm.
    """
    depth_mm = depth_image.read_depth(folder / _FRAME)[None]
    intrinsics = tf.constant([camera.NYU_INTRINSICS], tf.float32)
    center, found = hand_center.find_hand_center(tf.constant(depth_mm), intrinsics)
    if not bool(found[0]):
        return {"found_hand": False}
    for _ in range(2):
        crops = crop.crop_depth(depth_mm, intrinsics, center, spec)
        spheres = network(crop.normalize(crops, spec.cube_mm), training=False)["spheres_mm"]
        used, center = center, center + tf.reduce_mean(spheres, axis=1)
    label = published.xyz_from_uvd(published.read_joints_uvd(folder / _LABELS)[0])
    # Community scoring flips no axis: u right, v down, so labels are in camera axes already.
    truth = label - used.numpy()[0]
    estimate = tf.gather(spheres[0], skeleton.EVALUATION_SPHERES).numpy()
    error = np.linalg.norm(estimate - truth, axis=-1)
    rendered = qualitative.render_own_views(
        spheres.numpy()[:, None], image_size=spec.image_size, cube_mm=spec.cube_mm
    )
    sheets.draw_picture_sheet(
        crops.numpy()[:, None],
        rendered,
        picture,
        joints_mm=estimate[None, None],
        truth_mm=truth[None, None],
        cube_mm=spec.cube_mm,
        title=f"NYU test frame 1, camera 1: mean error {error.mean():.1f} mm",
    )
    return {
        "found_hand": True,
        "mean_joint_error_mm": float(error.mean()),
        "per_joint_error_mm": dict(
            zip(skeleton.EVALUATION_JOINT_NAMES, map(float, error), strict=True)
        ),
    }
