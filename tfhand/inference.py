"""From camera depth images to hands in camera coordinates: center, crop, network, decoding."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfhand.geometry import camera, crop, hand_center
from tfhand.hand import skeleton
from tfhand.models import pose_network

__all__ = ["Hands", "crop_spec_of", "estimate_hands", "load_network"]

# The crop is centered on the first estimate's middle once more.
_REFINEMENTS = 1
# A heatmap that spreads over this much is worth half of a sharp one, mm.
_HALF_CONFIDENCE_MM = 25.0


@dataclasses.dataclass(frozen=True)
class Hands:
    """Estimates for a batch of depth images, NumPy.

    Attributes:
        found: bool [B], False where no hand was found: everything else is NaN there.
        center_mm: float32 [B, 3], crop center, camera frame.
        spheres_mm: float32 [B, 41, 3], camera frame.
        spheres_px: float32 [B, 41, 2], u right and v down.
        confidence: float32 [B, 41], in (0, 1), from the spread of the heatmaps; not calibrated.
    """

    found: np.ndarray
    center_mm: np.ndarray
    spheres_mm: np.ndarray
    spheres_px: np.ndarray
    confidence: np.ndarray

    def joints(self, sphere_indices=skeleton.EVALUATION_SPHERES):
        """Returns (mm [B, J, 3], px [B, J, 2], confidence [B, J]) of some of the spheres."""
        index = np.asarray(sphere_indices)
        return self.spheres_mm[:, index], self.spheres_px[:, index], self.confidence[:, index]


def load_network(path, cube_mm=None):
    """Loads `pose.keras`.

    Args:
        path: The file.
        cube_mm: Side of the crops it will see, mm, if it is already known;
            `pose_network.cube_mm_of` tells that of a network.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no pose network, or one for other crops.
    """
    if not tf.io.gfile.exists(str(path)):
        raise FileNotFoundError(f"Expected a trained network at {path}, found none.")
    try:
        network = keras.models.load_model(str(path), compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"Expected a Keras model in {path}, found none: {error}") from error
    outputs = network.output if isinstance(network.output, dict) else {}
    if not {"spheres_mm", "spread_mm"} <= set(outputs):
        raise ValueError(
            f"Expected a pose network with outputs spheres_mm and spread_mm in {path}, "
            f"found {sorted(outputs) or 'none'}."
        )
    found_mm = pose_network.cube_mm_of(network)
    if cube_mm is not None and cube_mm != found_mm:
        raise ValueError(
            f"Expected a network for crops of {cube_mm:g} mm in {path}, found {found_mm:g} mm."
        )
    return network


def crop_spec_of(network):
    """Returns the `crop.CropSpec` of the crops that a pose network takes."""
    return crop.CropSpec(network.input_shape[1], pose_network.cube_mm_of(network))


def _mirror(depth_mm, intrinsics):
    """Flips images left to right: a left hand becomes a right one."""
    width = depth_mm.shape[2]
    fx, fy, cx, cy = np.moveaxis(intrinsics, -1, 0)
    return depth_mm[:, :, ::-1], np.stack([fx, fy, width - 1 - cx, cy], axis=-1)


def estimate_hands(network, depth_mm, intrinsics, spec, center_mm=None, left_hand=False):
    """Estimates hands in depth images.

    Args:
        network: Pose network: normalized crops to a dict of `spheres_mm` and `spread_mm`.
        depth_mm: float [B, H, W], mm along the camera axis, 0 or not finite: no reading.
        intrinsics: float [4] or [B, 4], fx, fy, cx, cy in px.
        spec: `crop.CropSpec` that the network was trained with.
        center_mm: Optional float [B, 3], crop centers in the camera frame; found in the depth
            where not given.
        left_hand: Whether the images show left hands; the network knows right ones.

    Returns:
        `Hands`.

    Raises:
        ValueError: If shapes do not fit, or a focal length is not positive.
    """
    depth_mm = np.asarray(depth_mm, np.float32)
    if depth_mm.ndim != 3:
        raise ValueError(f"Expected depth of shape [B, H, W], received {list(depth_mm.shape)}.")
    intrinsics = np.broadcast_to(np.asarray(intrinsics, np.float32), (len(depth_mm), 4))
    if not (np.isfinite(intrinsics).all() and (intrinsics[:, :2] > 0).all()):
        raise ValueError(f"Expected intrinsics with positive fx and fy, received {intrinsics[0]}.")
    flip = np.array([-1.0 if left_hand else 1.0, 1.0, 1.0], np.float32)
    seen, seen_intrinsics = depth_mm, intrinsics
    if left_hand:
        seen, seen_intrinsics = _mirror(depth_mm, intrinsics)
    if center_mm is None:
        center, found = hand_center.find_hand_center(
            tf.constant(seen), tf.constant(seen_intrinsics)
        )
        refinements = _REFINEMENTS
    else:
        center = tf.constant(np.asarray(center_mm, np.float32) * flip)
        found, refinements = tf.ones([len(depth_mm)], tf.bool), 0
    for i in range(refinements + 1):
        crops = crop.crop_depth(seen, seen_intrinsics, center, spec)
        output = network(crop.normalize(crops, spec.cube_mm), training=False)
        used = center
        if i < refinements:
            center = center + tf.reduce_mean(output["spheres_mm"], axis=1)
    found = found.numpy() & tf.reduce_any(crop.foreground_mask(crops, spec.cube_mm), [1, 2]).numpy()
    blank = np.where(found, 1.0, np.nan).astype(np.float32)
    spheres = (output["spheres_mm"] + used[:, None]).numpy() * flip * blank[:, None, None]
    pixels = camera.project(spheres, intrinsics).numpy()[..., :2]
    spread = np.asarray(output["spread_mm"])
    confidence = _HALF_CONFIDENCE_MM / (_HALF_CONFIDENCE_MM + spread) * blank[:, None]
    return Hands(found, used.numpy() * flip * blank[:, None], spheres, pixels, confidence)
