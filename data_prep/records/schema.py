"""Table of the fields of a record, and the checks of a sample before it is stored.

A sample is one instant seen by V views. `examples.py` makes encoder and parser from the table.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfhand.geometry.crop import CropSpec, foreground_mask
from tfhand.hand.skeleton import JOINT_NAMES

__all__ = ["BACKGROUND_ONLY", "FIELDS", "Field", "SCHEMA_VERSION", "check_sample", "find_problem"]

SCHEMA_VERSION = 2

BACKGROUND_ONLY = "a view shows background only"
# A surface this far in front of the cube still rounds to its near face in 0.1 mm steps.
_NEAR_MARGIN_MM = 0.05


@dataclasses.dataclass(frozen=True)
class Field:
    """One feature of a record.

    Attributes:
        name: Feature key.
        shape: Axes; "view" stands for the number of views. `()` is a scalar.
        dtype: Type on disk: float32, int64 or string.
        unit: Unit, "" where there is none.
        meaning: Description, with its frame.
        label: True if unlabelled samples go without it; it is parsed as zeros then.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: tf.DType
    unit: str
    meaning: str
    label: bool = False

    def static_shape(self, num_views: int) -> list[int]:
        """Returns the shape with the number of views filled in."""
        return [num_views if axis == "view" else axis for axis in self.shape]


_JOINTS = len(JOINT_NAMES)

FIELDS = (
    Field("image_size", (), tf.int64, "px", "side S of the crops"),
    Field("num_views", (), tf.int64, "", "number of views V"),
    Field("cube_mm", (), tf.float32, "mm", "side of the crop cube"),
    Field("depth_png", ("view",), tf.string, "0.1 mm", "depth crop, S x S, 16-bit PNG"),
    Field("center_mm", ("view", 3), tf.float32, "mm", "crop center, camera frame"),
    Field("own_depth_png", ("view",), tf.string, "0.1 mm", "the same around own_center_mm"),
    Field("own_center_mm", ("view", 3), tf.float32, "mm", "what the view finds alone, 0: nothing"),
    Field("intrinsics", ("view", 4), tf.float32, "px", "fx, fy, cx, cy of the camera"),
    Field("ref_from_view", ("view", 4, 4), tf.float32, "mm", "camera frame to reference frame"),
    Field("foreground_fraction", ("view",), tf.float32, "", "share of crop pixels with a surface"),
    Field("subject", (), tf.string, "", "whose hand"),
    Field("frame", (), tf.int64, "", "frame number in the source"),
    Field("joints_mm", ("view", _JOINTS, 3), tf.float32, "mm", "joints, camera frame", label=True),
    Field("joint_mask", ("view", _JOINTS), tf.int64, "", "1 where a joint is labelled", label=True),
)

# Made by the encoder; the other fields are the keys of a sample, beside depth_mm.
_DERIVED = (
    "image_size", "num_views", "cube_mm", "depth_png", "own_depth_png", "foreground_fraction",
)  # fmt: skip
# What a sample may come without: each view has the crop of the sample then.
_OWN = ("own_depth_mm", "own_center_mm")


def check_sample(sample: Mapping, spec: CropSpec, num_views: int) -> dict:
    """Checks keys and shapes, and converts to the types of the schema.

    Args:
        sample: `depth_mm [V, S, S]` (crop depth, mm relative to the center, background cube / 2),
            `center_mm [V, 3]`, `intrinsics [V, 4]`, `ref_from_view [V, 4, 4]`, `subject` (str),
            `frame` (int) and, if labelled, `joints_mm [V, 36, 3]` (camera frame) with an optional
            `joint_mask [V, 36]` (absent: all labelled). Where each view also finds the hand by
            itself, `own_depth_mm [V, S, S]` and `own_center_mm [V, 3]` (zero: it finds none).
        spec: Size of the crops.
        num_views: Number of views V.

    Returns:
        The sample with numpy values, other joints set to zero, `own_depth_mm` and `own_center_mm`
        (those of the sample where it has none), and `foreground_fraction [V]`.

    Raises:
        ValueError: If a key is missing or unknown, or a shape differs.
    """
    fields = [field for field in FIELDS if field.name not in _DERIVED]
    shapes = {field.name: field.static_shape(num_views) for field in fields}
    shapes["depth_mm"] = [num_views, spec.image_size, spec.image_size]
    required = set(shapes) - {field.name for field in fields if field.label} - set(_OWN)
    shapes["own_depth_mm"] = shapes["depth_mm"]
    missing, extra = required - set(sample), set(sample) - set(shapes)
    if missing or extra:
        raise ValueError(
            f"A sample needs {sorted(required)}; missing {sorted(missing)}, "
            f"unknown {sorted(extra)}."
        )
    if ("own_depth_mm" in sample) != ("own_center_mm" in sample):
        raise ValueError(f"A sample needs both of {_OWN}, or none.")
    checked = {"subject": str(sample["subject"]), "frame": int(sample["frame"])}
    for name in set(sample) - set(checked):
        dtype = bool if name == "joint_mask" else np.float32
        checked[name] = np.asarray(sample[name]).astype(dtype)
        if list(checked[name].shape) != shapes[name]:
            raise ValueError(
                f"{name} must have shape {shapes[name]}, received {list(checked[name].shape)}."
            )
    if "joints_mm" in checked:
        mask = checked.setdefault("joint_mask", np.ones(shapes["joint_mask"], bool))
        checked["joints_mm"] = np.where(mask[..., np.newaxis], checked["joints_mm"], 0.0)
    elif "joint_mask" in checked:
        raise ValueError("joint_mask came without joints_mm.")
    for name in _OWN:
        checked.setdefault(name, checked[name.removeprefix("own_")])
    foreground = foreground_mask(checked["depth_mm"], spec.cube_mm)
    checked["foreground_fraction"] = foreground.mean(axis=(1, 2)).astype(np.float32)
    return checked


def find_problem(sample: Mapping, spec: CropSpec) -> str | None:
    """Returns why a result of `check_sample` cannot be used, or None if it can.

    The reason is the same for all samples with the problem, so that it can be counted.
    """
    for name, value in sample.items():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            return f"non-finite {name}"
    nearest_mm = min(sample["depth_mm"].min(), sample["own_depth_mm"].min())
    if nearest_mm < -spec.far_mm - _NEAR_MARGIN_MM:
        return "depth_mm in front of the cube"
    if (sample["foreground_fraction"] <= 0.0).any():
        return BACKGROUND_ONLY
    return None
