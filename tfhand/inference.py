"""Hands in camera coordinates from depth images: center, crop, network, decoding."""

import dataclasses
import functools
import zipfile

import keras
import numpy as np
import tensorflow as tf

from tfhand.geometry import camera
from tfhand.hand import skeleton
from tfhand.models import exporting, frame_model, package_weights, pose_network

__all__ = ["Hands", "crop_spec_of", "estimate_hands", "load_network"]

# A hundred times the size of the network that is trained by default.
_MOST_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Hands:
    """Estimates for a batch of depth images, NumPy.

    Attributes:
        found: bool [B], False where a frame shows no hand: everything else is NaN there.
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
        path: The file, or "shipped": the network that comes with the package.
        cube_mm: Side of the crops that the network has to take, mm; None: any.

    Returns:
        The Keras model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no pose network, or one for other crops.
    """
    if str(path) == package_weights.NAME:
        network = package_weights.load_pose_network()
    else:
        network = _load_archive(path)
    network_mm = crop_spec_of(network).cube_mm
    if cube_mm not in (None, network_mm):
        raise ValueError(
            f"Expected a network for crops of {cube_mm:g} mm in {path}, found {network_mm:g} mm."
        )
    return network


def _load_archive(path):
    if not tf.io.gfile.exists(str(path)):
        raise FileNotFoundError(f"Expected a trained network at {path}, found none.")
    try:
        _check_archive(path)
        network = keras.models.load_model(str(path), compile=False)
        outputs = network.output if isinstance(network.output, dict) else {}
    except Exception as error:  # Keras raises errors of many kinds on damaged or foreign files.
        # Keras may quote the whole configuration.
        reason = str(error).split("\n", 1)[0][:200]
        raise ValueError(f"Expected a Keras model in {path}, found none: {reason}") from error
    if not {"spheres_mm", "spread_mm"} <= set(outputs):
        raise ValueError(
            f"Expected a pose network with outputs spheres_mm and spread_mm in {path}, "
            f"found {sorted(outputs) or 'none'}."
        )
    return network


def _check_archive(path):
    """Compares every part of a `.keras` file with its checksum, which Keras does not."""
    with tf.io.gfile.GFile(str(path), "rb") as stream, zipfile.ZipFile(stream) as archive:
        num_bytes = sum(part.file_size for part in archive.infolist())
        if num_bytes > _MOST_BYTES:
            raise ValueError(f"expected at most {_MOST_BYTES} bytes in it, found {num_bytes}")
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{damaged} in it is damaged")


def crop_spec_of(network):
    """Returns the `crop.CropSpec` of the crops that a pose network takes.

    Raises:
        ValueError: If it is no network from depth crops to the hand's spheres.
    """
    if not isinstance(network, keras.Model):
        raise ValueError(
            f"Expected a Keras model, received {type(network).__name__}; load_network, or "
            "PoseEstimator.load, reads a file."
        )
    return exporting.crop_spec_for(network, pose_network.cube_mm_of(network))


def estimate_hands(network, depth_mm, intrinsics, center_mm=None, *, left_hand=False, refine=True):
    """Estimates hands in depth images.

    Args:
        network: Pose network: normalized crops to a dict of `spheres_mm` and `spread_mm`.
        depth_mm: float or uint16 [B, H, W], mm along the camera axis, 0 or not finite: no reading.
        intrinsics: float [4] or [B, 4], fx, fy, cx, cy in px.
        center_mm: float [B, 3], crop centers, camera frame, mm; None: from the depth.
        left_hand: True for images of left hands; the network knows right ones.
        refine: True to move a crop whose center is from the depth to the middle of the estimate,
            and to estimate once more: twice the time, and more accurate.

    Returns:
        `Hands`.

    Raises:
        ValueError: If shapes or types do not fit, or a value is impossible.
    """
    depth_mm = _checked_depth(depth_mm)
    intrinsics = camera.check_intrinsics(intrinsics, *depth_mm.shape)
    centers = _checked_centers(center_mm, len(depth_mm))
    # The mirror image of a left hand is a right one.
    flip = np.array([-1.0 if left_hand else 1.0, 1.0, 1.0], np.float32)
    right_depth_mm, right_intrinsics = depth_mm, intrinsics
    if left_hand:
        right_depth_mm, right_intrinsics = depth_mm[:, :, ::-1], intrinsics.copy()
        right_intrinsics[:, 2] = depth_mm.shape[2] - 1 - intrinsics[:, 2]
    run = _compile(network, refine and center_mm is None)
    results = run(right_depth_mm, right_intrinsics, centers * flip)
    results = {name: value.numpy() for name, value in results.items()}
    blank = np.where(results["found"], np.float32(1.0), np.float32(np.nan))
    pixels = results["spheres_px"] * blank[:, None, None]
    if left_hand:
        pixels[..., 0] = depth_mm.shape[2] - 1 - pixels[..., 0]
    return Hands(
        found=results["found"],
        center_mm=results["center_mm"] * flip * blank[:, None],
        spheres_mm=results["spheres_mm"] * flip * blank[:, None, None],
        spheres_px=pixels,
        confidence=results["confidence"] * blank[:, None],
    )


@functools.lru_cache(maxsize=8)
def _compile(network, refine):
    spec = crop_spec_of(network)

    @tf.function(reduce_retracing=True, autograph=False)
    def run(depth_mm, intrinsics, center_mm):
        return frame_model.estimate_frames(network, depth_mm, intrinsics, center_mm, spec, refine)

    return run


def _checked_depth(depth_mm):
    depth_mm = np.asarray(depth_mm)
    if depth_mm.ndim != 3 or not len(depth_mm):
        raise ValueError(
            f"Expected depth of shape [batch, height, width], received {list(depth_mm.shape)}."
        )
    if depth_mm.dtype.kind not in "iuf":
        raise ValueError(f"Expected numbers as depth, mm, received {depth_mm.dtype}.")
    if min(depth_mm.shape[1:]) < frame_model.MIN_FRAME_SIDE:
        raise ValueError(
            f"Expected depth images of at least {frame_model.MIN_FRAME_SIDE} pixels a side, "
            f"received {list(depth_mm.shape[1:])}."
        )
    return depth_mm if depth_mm.dtype == np.uint16 else depth_mm.astype(np.float32)


def _checked_centers(center_mm, batch):
    if center_mm is None:
        return np.zeros([batch, 3], np.float32)
    try:
        values = np.asarray(center_mm, np.float32)
    except (TypeError, ValueError):
        # Words, or rows of different lengths.
        values = np.full([1], np.nan)
    if values.shape != (batch, 3) or not np.isfinite(values).all() or (values[:, 2] <= 0).any():
        raise ValueError(
            f"Expected finite centers of shape {[batch, 3]} with positive z, mm, received "
            f"{center_mm!r}."
        )
    return values
