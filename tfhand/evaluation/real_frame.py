"""Score of a network on the one public frame of NYU, beside its label."""

import os
import pathlib

import numpy as np

from tfhand import inference
from tfhand.evaluation import published, qualitative, sheets
from tfhand.fitting import frame_fits
from tfhand.geometry import camera, crop, depth_image
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


def score_real_frame(network, folder, spec, picture, with_fit=False):
    """Estimates the first test frame of NYU's first camera and compares it with its label.

    The crop's center is found in the depth, see `inference.estimate_hands`.

    Args:
        network: Pose network: normalized crops to a dict of `spheres_mm` and `spread_mm`.
        folder: Folder of `find_folder`.
        spec: `crop.CropSpec`.
        picture: File to draw input, rendered spheres and overlay to.
        with_fit: True to score a hand fitted to the frame too, see `fitting.frame_fits`.

    Returns:
        Dict for `metrics.json`: the error of each evaluation joint and their mean, mm, and the mean
        of the fitted hand.
    """
    depth_mm = depth_image.read_depth(folder / _FRAME)[None]
    intrinsics = np.array([camera.NYU_INTRINSICS], np.float32)
    hands = inference.estimate_hands(network, depth_mm, intrinsics)
    if not hands.found[0]:
        return {"found_hand": False}
    # Community scoring flips no axis: u right, v down, so labels are in camera axes already.
    truth = published.xyz_from_uvd(published.read_joints_uvd(folder / _LABELS)[0])
    estimate = hands.joints()[0][0]
    error = np.linalg.norm(estimate - truth, axis=-1)
    crops = crop.crop_depth(depth_mm, intrinsics, hands.center_mm, spec).numpy()
    spheres_mm = (hands.spheres_mm - hands.center_mm[:, None])[:, None]
    rendered = qualitative.render_own_views(
        spheres_mm, image_size=spec.image_size, cube_mm=spec.cube_mm
    )
    estimate, truth = estimate - hands.center_mm[0], truth - hands.center_mm[0]
    sheets.draw_picture_sheet(
        sheets.Rows(crops[:, None], rendered, spec.cube_mm),
        picture,
        title=f"NYU test frame 1, camera 1: mean error {error.mean():.1f} mm",
        joints_mm=estimate[None, None],
        truth_mm=truth[None, None],
    )
    score = {
        "found_hand": True,
        "mean_joint_error_mm": float(error.mean()),
        "per_joint_error_mm": dict(zip(skeleton.EVALUATION_JOINT_NAMES, error.tolist())),
    }
    if with_fit:
        fits = frame_fits.FrameFits(spec, network=network)
        fitted = fits(depth_mm, intrinsics, hands.center_mm, hands.spheres_mm)[0]
        away = fitted[skeleton.EVALUATION_SPHERES] - hands.center_mm[0] - truth
        score["fitted_mean_joint_error_mm"] = float(np.linalg.norm(away, axis=-1).mean())
    return score
