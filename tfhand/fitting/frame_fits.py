"""Hands fitted to single depth frames of one person, starting from estimates. Not in the paper.

Until the person's shape is known, each frame has its own, which is far nearer to the truth than
the mean hand (docs/experiments/fits.md).
"""

import numpy as np
import tensorflow as tf

from tfhand.fitting import batched_fits, kinematic_fit, turned_crops
from tfhand.geometry import crop
from tfhand.hand import template

__all__ = ["FrameFits"]

# Frames that are fitted together where there are several.
_BATCH = 16


class FrameFits:
    """Fits the kinematic hand to what one camera sees, with the shape of one person.

    Args:
        spec: `crop.CropSpec` of the crops that are fitted.
        is_left: Whether frames show left hands.
        network: Inference network, whose estimates of turned crops the fits start from, see
            `turned_crops`; None: they start from the estimates that they are given.
        config: `kinematic_fit.FitConfig`; None: the default.

    Attributes:
        shape: float32 [P], see `hand.template.SHAPE_NAMES`; None, and one a frame, until
            `learn_shape` finds it.
    """

    def __init__(self, spec, is_left=False, network=None, config=None):
        self._spec, self._is_left = spec, is_left
        self._config = config or kinematic_fit.FitConfig()
        self._turned = None
        if network is not None:
            turned = turned_crops.TurnedNetwork(network, spec.cube_mm)
            self._turned = tf.function(turned, autograph=False, reduce_retracing=True)
        self.shape = None

    def __call__(self, depth_mm, intrinsics, center_mm, spheres_mm):
        """Fits a hand to each frame.

        Args:
            depth_mm: [B, H, W], mm along the camera axis, 0 where there is no reading.
            intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
            center_mm: float32 [B, 3], centers of the crops, camera frame.
            spheres_mm: float32 [B, 41, 3], estimates, camera frame.

        Returns:
            float32 [B, 41, 3], camera frame; the start stays where a fit does not explain the
            depth better.
        """
        crops, start = self._in_crops(depth_mm, intrinsics, center_mm, spheres_mm)
        batch = 1 if len(crops) == 1 else _BATCH
        each = np.arange(batch, dtype=np.int32)
        mean_hand = np.zeros([len(template.SHAPE_NAMES)], np.float32)
        shape = np.tile(mean_hand if self.shape is None else self.shape, (batch, 1))
        fitted = []
        for first in range(0, len(crops), batch):
            rows = np.resize(np.arange(first, min(first + batch, len(crops))), batch)
            samples = self._samples(crops[rows], each)
            fitter = kinematic_fit.compiled_fitter(batch, 1, batch, self._spec, self._config)
            fit = fitter.fit(start[rows], samples, shape, self.shape is None)
            fitted.append(np.where(fit.is_better[:, None, None], fit.spheres_mm, start[rows]))
        fitted = np.concatenate(fitted)[: len(crops)]
        return (self._mirrored(fitted) + center_mm[:, None]).astype(np.float32)

    def learn_shape(self, depth_mm, intrinsics, center_mm, spheres_mm):
        """Finds the shape of the person's hand from frames; more poses tell more.

        Args:
            depth_mm: As for a call.
            intrinsics: As for a call.
            center_mm: As for a call.
            spheres_mm: As for a call.
        """
        crops, start = self._in_crops(depth_mm, intrinsics, center_mm, spheres_mm)
        samples = self._samples(crops, np.zeros([len(crops)], np.int32))
        self.shape = batched_fits.find_shapes(start[:, None], samples, self._config)[0]

    def _in_crops(self, depth_mm, intrinsics, center_mm, spheres_mm):
        """Returns crops [B, S, S] and starts [B, 41, 3] in their frames, both of right hands."""
        depth_mm = np.nan_to_num(np.asarray(depth_mm, np.float32), posinf=0.0, neginf=0.0)
        crops = crop.crop_depth(depth_mm, intrinsics, center_mm, self._spec).numpy()
        if self._is_left:
            crops = crops[:, :, ::-1]
        if self._turned is None:
            return crops, self._mirrored(spheres_mm - center_mm[:, None])
        normalized = crop.normalize(crops, self._spec.cube_mm)
        return crops, self._turned(normalized)["spheres_mm"].numpy()

    def _samples(self, crops, group):
        """Returns crops [B, S, S] as samples of one view, whose crop frame is the reference."""
        ref_from_crop = np.tile(np.eye(4, dtype=np.float32), (len(crops), 1, 1, 1))
        return kinematic_fit.Samples(crops[:, None], ref_from_crop, group, self._spec)

    def _mirrored(self, spheres_mm):
        return spheres_mm * np.float32([-1.0, 1.0, 1.0]) if self._is_left else spheres_mm
