"""Files of a recording in the NYU hand pose data set's layout: pictures and annotation.

    DIR/train/depth_{1,2,3}_{0000001...}.png    640 x 480, depth in mm = (G << 8) | B
    DIR/train/joint_data.mat                    joint_xyz [3, n, 36, 3], mm, y up; joint_names
    DIR/test/...

Frames are numbered from 1. `joint_data.mat` may be absent, or know fewer frames than there are
pictures; unknown joints are NaN. DIR may be in an object store (`storage.py`).
"""

import dataclasses
import functools
import hashlib
import io
import os
import re
from collections.abc import Sequence

import h5py
import numpy as np
import scipy.io
import tensorflow as tf
from absl import logging

from data_prep.nyu import mat_elements
from data_prep.records import storage
from tfhand.geometry import depth_image
from tfhand.hand import skeleton

__all__ = [
    "NUM_VIEWS",
    "NyuSplit",
    "UnusableFrame",
    "damage_of",
    "open_split",
    "read_joint_data",
    "read_pictures",
]

NUM_VIEWS = 3
_PICTURE = re.compile(r"depth_([0-9]+)_([0-9]{7})\.png")
_JOINT_DATA = "joint_data.mat"
_ARRAYS = ("joint_xyz", "joint_names")
_HDF5 = b"\x89HDF\r\n\x1a\n"
# Deflate makes nothing smaller than a thousandth.
_MOST_INFLATED = 1032


class UnusableFrame(ValueError):
    """Frame without a sample; the message is the same for every frame with the same problem."""


@dataclasses.dataclass(frozen=True)
class NyuSplit:
    """One split as it lies on disk.

    Attributes:
        name: "train", "test", or another folder's name.
        folder: Folder of its pictures.
        frames: All numbers from the first to the last frame of which any view has a picture.
        missing_views: Views (from 1) without a picture, by frame number.
    """

    name: str
    folder: str
    frames: Sequence[int]
    missing_views: dict[int, tuple[int, ...]]

    @functools.cached_property
    def joints_mm(self) -> np.ndarray | None:
        """Annotation of frames 1 to m, read once.

        float64 `[3, m, 36, 3]`, camera frames (y down), mm, NaN where unknown; None without any.

        Raises:
            ValueError: If `joint_data.mat` is there and cannot be used.
        """
        path = os.path.join(self.folder, _JOINT_DATA)
        if not tf.io.gfile.exists(path):
            return None
        joints_mm = read_joint_data(path)
        if not np.isfinite(joints_mm).any():
            logging.warning(
                "No joint is known in %s: taken as a recording without annotation.", path
            )
            return None
        return joints_mm

    def __getstate__(self):
        """Leaves the annotation out: a large one is more than a worker can be sent; it reads it."""
        return {name: value for name, value in vars(self).items() if name != "joints_mm"}

    def picture(self, frame: int, view: int) -> str:
        """Returns the path of a picture; frames and views count from 1."""
        return os.path.join(self.folder, f"depth_{view}_{frame:07d}.png")

    def fingerprint(self) -> str:
        """Returns a checksum of names, sizes and times of all files that samples are made from."""
        folder = self.folder if storage.is_remote(self.folder) else os.path.realpath(self.folder)
        digest = hashlib.sha256(folder.encode("utf-8"))
        names = sorted(
            name
            for name in storage.list_names(self.folder)
            if _PICTURE.fullmatch(name) or name == _JOINT_DATA
        )
        stats = storage.stat_all([os.path.join(self.folder, name) for name in names])
        for name, (size, time_ns) in zip(names, stats, strict=True):
            digest.update(f"{name} {size} {time_ns}\n".encode())
        return digest.hexdigest()

    def joints_of(self, frame: int) -> np.ndarray | None:
        """Returns float64 `[3, 36, 3]` of a frame, or None where nothing is annotated."""
        if self.joints_mm is None or not 1 <= frame <= self.joints_mm.shape[1]:
            return None
        joints = self.joints_mm[:, frame - 1]
        return joints if np.isfinite(joints).all(axis=-1).any() else None


def open_split(nyu_dir, split: str) -> NyuSplit:
    """Lists the frames of a split, a folder of the data set, and reads its annotation.

    Raises:
        FileNotFoundError: If there is no such folder, or no picture of a view in it.
        ValueError: If `joint_data.mat` is there and cannot be used, or frames count from 0.
    """
    folder = os.path.join(nyu_dir, split)
    if not tf.io.gfile.isdir(folder):
        raise FileNotFoundError(
            f"Expected the NYU data set's folder {split!r} in {nyu_dir}, found none."
        )
    views_of: dict[int, set[int]] = {}
    for name in storage.list_names(folder):
        match = _PICTURE.fullmatch(name)
        if match and 1 <= int(match[1]) <= NUM_VIEWS:
            views_of.setdefault(int(match[2]), set()).add(int(match[1]))
    if not views_of:
        raise FileNotFoundError(
            f"Expected pictures depth_{{1,2,3}}_{{0000001...}}.png in {folder}, found none."
        )
    every = set(range(1, NUM_VIEWS + 1))
    absent = sorted(every - set.union(*views_of.values()))
    if absent:
        raise FileNotFoundError(
            f"Expected pictures of three cameras, views 1, 2 and 3, in {folder}, found none of "
            f"view {absent[0]}; recordings of fewer cameras are not converted."
        )
    if 0 in views_of:
        raise ValueError(f"Expected frames numbered from 0000001 in {folder}, found 0000000.")
    frames = range(min(views_of), max(views_of) + 1)
    missing = {
        f: tuple(sorted(every - views_of.get(f, set()))) for f in frames if views_of.get(f) != every
    }
    opened = NyuSplit(split, folder, frames, missing)
    _ = opened.joints_mm  # Damaged annotation is refused now.
    return opened


def read_pictures(split, frame: int):
    """Reads the pictures of a frame.

    Args:
        split: `NyuSplit`.
        frame: Its number, from 1.

    Returns:
        (list of V bytes, `depth_image.PngLayout` of all).

    Raises:
        UnusableFrame: If a picture is missing, damaged or of another kind.
        OSError: If a picture is there and cannot be read: that is no fault of the recording.
    """
    if frame in split.missing_views:
        views = ", ".join(map(str, split.missing_views[frame]))
        raise UnusableFrame(f"no picture of view {views}")
    pictures, layouts = [], []
    for view in range(1, NUM_VIEWS + 1):
        try:
            pictures.append(storage.read_bytes(split.picture(frame, view)))
            layouts.append(depth_image.PngLayout.of(pictures[-1]))
        except depth_image.UnsupportedImage as error:
            raise UnusableFrame(f"unsupported picture of view {view}") from error
        except (ValueError, FileNotFoundError) as error:
            raise UnusableFrame(damage_of(view)) from error
    if len(set(layouts)) > 1:
        raise UnusableFrame("pictures of different sizes")
    return pictures, layouts[0]


def damage_of(view: int) -> str:
    """Returns the problem of a picture that cannot be decoded; views count from 1."""
    return f"damaged picture of view {view}"


def read_joint_data(path) -> np.ndarray:
    """Reads the annotation of a split.

    Args:
        path: `joint_data.mat`, of MATLAB version 5 or later.

    Returns:
        float64 `[3, m, 36, 3]`, camera frames (x right, y down, z away), mm; NaN where a value is
        not finite or all three are zero.

    Raises:
        ValueError: If the file is damaged, or `joint_xyz` is missing or has another shape.
    """
    try:
        values = _load_mat(storage.read_bytes(path))
    except Exception as error:  # SciPy and h5py raise errors of many kinds on damaged files.
        raise ValueError(f"Cannot read {path}: {type(error).__name__}: {error}.") from error
    if "joint_xyz" not in values:
        raise ValueError(f"Expected joint_xyz in {path}, found none.")
    joints = np.asarray(values["joint_xyz"])
    shape = (NUM_VIEWS, len(skeleton.JOINT_NAMES), 3)
    if (
        joints.ndim != 4
        or (joints.shape[0], *joints.shape[2:]) != shape
        or joints.dtype.kind not in "iuf"
    ):
        raise ValueError(
            f"Expected joint_xyz of shape [3, frames, 36, 3] in {path}, found {joints.dtype} "
            f"{list(joints.shape)}."
        )
    joints = joints[:, :, _order_of_joints(values.get("joint_names"), path)]
    # NYU's y points up.
    with np.errstate(invalid="ignore"):
        joints = joints.astype(np.float64) * np.array([1.0, -1.0, 1.0])
    is_missing = ~np.isfinite(joints).all(axis=-1) | (joints == 0.0).all(axis=-1)
    return np.where(is_missing[..., None], np.nan, joints)


def _load_mat(data):
    """Loads a MATLAB file, of version 7.3 (HDF5 after 512 bytes, axes reversed) or older."""
    if _HDF5 not in (data[:8], data[512:520]):
        data = mat_elements.select_arrays(data, _ARRAYS)
        return scipy.io.loadmat(io.BytesIO(data), variable_names=_ARRAYS, mat_dtype=True)
    with h5py.File(io.BytesIO(data), "r") as file:
        if "joint_xyz" not in file:
            return {}
        joints = file["joint_xyz"]
        # A damaged file may claim any size, which would be allocated and filled with zeros.
        if joints.size * joints.dtype.itemsize > _MOST_INFLATED * len(data):
            raise ValueError(f"joint_xyz of shape {list(joints.shape)} is more than the file holds")
        # Names are references there; joints are taken in NYU's order.
        return {"joint_xyz": np.transpose(joints[:])}


def _order_of_joints(names, path):
    """Returns the index in the file of each of NYU's 36 joints."""
    # MATLAB keeps names as cells, which nest, or as rows of characters, which are padded.
    names = [] if names is None else [str(np.squeeze(name)).strip() for name in np.ravel(names)]
    if sorted(names) == sorted(skeleton.JOINT_NAMES):
        return [names.index(name) for name in skeleton.JOINT_NAMES]
    if names:
        logging.warning("joint_names in %s are not NYU's; joints are taken in NYU's order.", path)
    return list(range(len(skeleton.JOINT_NAMES)))
