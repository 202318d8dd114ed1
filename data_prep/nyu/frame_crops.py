"""From the three pictures of a frame to crops, in one graph: decode, find the hand, crop.

Nearly all of a conversion's time is spent here, so a frame is one call: Python threads wait for
each other between calls.
"""

import functools
import threading
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_prep.nyu import recording_files
from tfhand.geometry import crop, depth_image, hand_center

__all__ = ["DamagedPicture", "FoundHands", "crop_at", "crop_at_hand", "decode_views", "find_each"]


class DamagedPicture(ValueError):
    """A picture that cannot be decoded; the message names its view."""


class FoundHands(NamedTuple):
    """What `crop_at_hand` gives; NumPy.

    Attributes:
        crops_mm: float32 `[V, S, S]`.
        center_mm: float32 `[V, 3]`, camera frames, one point of space.
        found: bool `[V]`, the views that found a hand by themselves.
        away_mm: float32 `[V]`, how far their own centers were from the common one.
    """

    crops_mm: np.ndarray
    center_mm: np.ndarray
    found: np.ndarray
    away_mm: np.ndarray


def crop_at_hand(pictures, layout, intrinsics, ref_from_view, spec) -> FoundHands:
    """Finds the hand in the views of one instant and crops all of them there.

    Args:
        pictures: V files, bytes.
        layout: `depth_image.PngLayout` of all.
        intrinsics: float32 `[V, 4]`.
        ref_from_view: float32 `[V, 4, 4]`.
        spec: `crop.CropSpec`.

    Raises:
        DamagedPicture: If one cannot be decoded.
    """
    return FoundHands(*_run(_crop_at_hand(layout, spec), pictures, intrinsics, ref_from_view))


def crop_at(pictures, layout, intrinsics, center_mm, spec) -> np.ndarray:
    """Crops all views at given centers `[V, 3]`; as `crop_at_hand`. Returns `[V, S, S]`."""
    return _run(_crop_at(layout, spec), pictures, intrinsics, center_mm)[0]


def find_each(pictures, layout, intrinsics):
    """Finds the hand in each view by itself: center `[V, 3]`, found `[V]`; as `crop_at_hand`."""
    return _run(_find_each(layout), pictures, intrinsics)


def decode_views(pictures, layout) -> np.ndarray:
    """Decodes all views: uint16 `[V, H, W]`, mm; as `crop_at_hand`."""
    return _run(_decode_views(layout), pictures)[0]


def _run(function, pictures, *arguments):
    arguments = [tf.constant(values, tf.float32) for values in arguments]
    try:
        results = function(tf.constant(pictures), *arguments)
    except tf.errors.InvalidArgumentError as error:
        for view, picture in enumerate(pictures, start=1):
            try:
                tf.io.decode_png(picture)
            except tf.errors.InvalidArgumentError:
                raise DamagedPicture(recording_files.damage_of(view)) from error
        raise
    return [values.numpy() for values in results]


def _decode(pictures, layout):
    return [depth_image.decode_png(picture, layout) for picture in tf.unstack(pictures)]


def _depth_of(values):
    return tf.stack([depth_image.depth_from_png(image) for image in values])


def _concrete(function, *shapes):
    """Traces a function of pictures and float32 tensors; called so, it costs the least."""
    specs = [tf.TensorSpec([recording_files.NUM_VIEWS, *shape]) for shape in shapes]
    pictures = tf.TensorSpec([recording_files.NUM_VIEWS], tf.string)
    return tf.function(function, autograph=False).get_concrete_function(pictures, *specs)


def _made_once(make):
    """Keeps what a function made for its arguments; threads that want the same wait for it."""
    cached, lock = functools.lru_cache(maxsize=8)(make), threading.Lock()

    @functools.wraps(make)
    def locked(*arguments):
        with lock:
            return cached(*arguments)

    return locked


# One pass over the pictures, in a fifth of the time. The search for the hand is not compiled: it
# lists pixels, and the compiler, which does not know how many, takes twice as long for all that
# there may be. There is a graph for each layout of pictures.
_compiled_depth_of = tf.function(_depth_of, jit_compile=True, autograph=False)


@_made_once
def _crop_at_hand(layout, spec):
    def crop_at_hand(pictures, intrinsics, ref_from_view):
        depth_mm = _compiled_depth_of(_decode(pictures, layout))
        found = hand_center.find_hand_in_views(
            depth_mm[None], intrinsics[None], ref_from_view[None]
        )
        center, *found = (part[0] for part in found)
        return crop.crop_depth(depth_mm, intrinsics, center, spec), center, *found

    return _concrete(crop_at_hand, [4], [4, 4])


@_made_once
def _crop_at(layout, spec):
    def crop_at(pictures, intrinsics, center_mm):
        depth_mm = _compiled_depth_of(_decode(pictures, layout))
        return [crop.crop_depth(depth_mm, intrinsics, center_mm, spec)]

    return _concrete(crop_at, [4], [3])


@_made_once
def _find_each(layout):
    def find_each(pictures, intrinsics):
        depth_mm = _compiled_depth_of(_decode(pictures, layout))
        return hand_center.find_hand_center(depth_mm, intrinsics)

    return _concrete(find_each, [4])


@_made_once
def _decode_views(layout):
    return _concrete(lambda pictures: [_compiled_depth_of(_decode(pictures, layout))])
