"""Decodes the three pictures of a frame, finds the hand and crops it, in one graph.

Nearly all of a conversion's time is spent here, so a frame is one call: Python threads wait for
each other between calls.
"""

import functools
import threading
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_prep import package_judge
from data_prep.nyu import recording_files
from data_prep.records import dataset_info
from tfhand.geometry import crop, depth_image, hand_center

__all__ = ["HandCrops", "crop_at", "crop_at_hand", "decode_views", "find_each"]

_TRACING = threading.Lock()


class HandCrops(NamedTuple):
    """Crops of all views around one hand, and each around what it finds by itself; NumPy arrays.

    Attributes:
        crops_mm: float32 `[V, S, S]`.
        own_crops_mm: float32 `[V, S, S]`, around the views' own centers.
        center_mm, own_center_mm, has_hand, agrees: As in `hand_center.HandInViews`, of one sample.
    """

    crops_mm: np.ndarray
    own_crops_mm: np.ndarray
    center_mm: np.ndarray
    own_center_mm: np.ndarray
    has_hand: np.ndarray
    agrees: np.ndarray

    @property
    def problem(self) -> str | None:
        """Why the frame cannot be used, None if it can: two views that find hands find one."""
        if not self.has_hand.any():
            return dataset_info.NO_HAND
        if self.agrees.sum() < min(2, self.has_hand.sum()):
            return dataset_info.NO_AGREEMENT
        return None


def crop_at_hand(pictures, layout, intrinsics, ref_from_view, spec, is_left=False) -> HandCrops:
    """Finds the hand in the views of one instant and crops all of them there.

    Args:
        pictures: V files, bytes.
        layout: `depth_image.PngLayout` of all.
        intrinsics: float32 `[V, 4]`.
        ref_from_view: float32 `[V, 4, 4]`.
        spec: `crop.CropSpec`.
        is_left: Whether left hands are seen.

    Raises:
        recording_files.UnusableFrame: If one cannot be decoded.
    """
    settings = spec, is_left, package_judge.judge_of
    return HandCrops(*_run(_crop_at_hand, pictures, layout, settings, intrinsics, ref_from_view))


def crop_at(pictures, layout, intrinsics, center_mm, spec) -> np.ndarray:
    """Crops all views at given centers `[V, 3]`; as `crop_at_hand`. Returns `[V, S, S]`."""
    return _run(_crop_at, pictures, layout, spec, intrinsics, center_mm)[0]


def find_each(pictures, layout, intrinsics, is_left=False):
    """Finds the hand in each view alone: center `[V, 3]`, has_hand `[V]`; as `crop_at_hand`."""
    settings = is_left, package_judge.judge_of
    return _run(_find_each, pictures, layout, settings, intrinsics)


def decode_views(pictures, layout) -> np.ndarray:
    """Decodes all views: uint16 `[V, H, W]`, mm; as `crop_at_hand`."""
    return _run(_decode_views, pictures, layout, None)[0]


def _crop_at_hand(depth_mm, settings, intrinsics, ref_from_view):
    spec, is_left, judge_of = settings
    judge = judge_of(depth_mm, intrinsics, is_left)
    hand = hand_center.find_hand_in_views(
        depth_mm[None], intrinsics[None], ref_from_view[None], judge
    )
    hand = [values[0] for values in hand]
    crops = [crop.crop_depth(depth_mm, intrinsics, center, spec) for center in hand[:2]]
    return *crops, *hand


def _crop_at(depth_mm, spec, intrinsics, center_mm):
    return [crop.crop_depth(depth_mm, intrinsics, center_mm, spec)]


def _find_each(depth_mm, settings, intrinsics):
    is_left, judge_of = settings
    judge = judge_of(depth_mm, intrinsics, is_left)
    hand = hand_center.find_hand(depth_mm, intrinsics, judge)
    return hand["middle_mm"], hand["has_hand"]


def _decode_views(depth_mm, _):
    return [depth_mm]


def _run(function, pictures, layout, settings, *arguments):
    """Returns arrays: results of `function(depth_mm, settings, *arguments)`."""
    arguments = [tf.constant(values, tf.float32) for values in arguments]
    # Threads that want the same graph wait for it.
    with _TRACING:
        shapes = [tuple(values.shape) for values in arguments]
        graph = _trace(function, layout, settings, *shapes)
    try:
        results = graph(tf.constant(pictures), *arguments)
    except tf.errors.InvalidArgumentError as error:
        for view, picture in enumerate(pictures, start=1):
            try:
                tf.io.decode_png(picture)
            except tf.errors.InvalidArgumentError:
                problem = recording_files.damage_of(view)
                raise recording_files.UnusableFrame(problem) from error
        raise
    return [values.numpy() for values in results]


@functools.lru_cache(maxsize=16)
def _trace(function, layout, settings, *shapes):
    """Traces a graph of pictures and float32 tensors; called so, it costs the least."""

    def decode_and_apply(pictures, *arguments):
        images = [depth_image.decode_png(picture, layout) for picture in tf.unstack(pictures)]
        return function(_depth_from_png(images), settings, *arguments)

    pictures = tf.TensorSpec([recording_files.NUM_VIEWS], tf.string)
    graph = tf.function(decode_and_apply, autograph=False)
    return graph.get_concrete_function(pictures, *map(tf.TensorSpec, shapes))


# Compiled, one pass over the pictures takes a fifth of the time. The search for the hand is not
# compiled: it lists pixels, and the compiler, which does not know how many, takes twice as long for
# all that there may be.
@functools.partial(tf.function, jit_compile=True, autograph=False)
def _depth_from_png(images):
    return tf.stack([depth_image.depth_from_png(image) for image in images])
