"""The hand in a frame: points by name, as JSON, drawn."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from tfhand.evaluation import overlay
from tfhand.hand import skeleton

__all__ = ["HANDS", "Hand", "NoHandError", "Point"]

# What commands take for a hand; auto: looked at.
HANDS = ("right", "left", "auto")


class NoHandError(ValueError):
    """A frame shows no hand."""


@dataclasses.dataclass(frozen=True)
class Point:
    """An estimated point of the hand.

    Attributes:
        mm: (x, y, z), mm, camera frame: x right, y down, z away.
        px: (u, v), px, u right and v down in the frame.
        confidence: In (0, 1), from the spread of its heatmap; not calibrated.
    """

    mm: tuple[float, float, float]
    px: tuple[float, float]
    confidence: float


@dataclasses.dataclass(frozen=True)
class Hand:
    """The hand in one frame; arrays are NumPy float32.

    Attributes:
        center_mm: [3], the crop's center, camera frame.
        spheres_mm: [41, 3], camera frame.
        spheres_px: [41, 2], u right and v down.
        confidence: [41], in (0, 1), not calibrated.
        depth_mm: The frame, [H, W].
        is_left: True for a left hand.
        score: How far the network's estimate looks like a hand, in [0, 1], see `presence`.
    """

    center_mm: np.ndarray
    spheres_mm: np.ndarray
    spheres_px: np.ndarray
    confidence: np.ndarray
    depth_mm: np.ndarray = dataclasses.field(repr=False)
    is_left: bool = False
    score: float = 1.0

    @property
    def spheres(self) -> Mapping[str, Point]:
        """The 41 spheres by name."""
        return self._points(skeleton.SPHERE_NAMES, range(len(skeleton.SPHERE_NAMES)))

    @property
    def joints(self) -> Mapping[str, Point]:
        """The 14 evaluation joints of NYU by name."""
        return self._points(skeleton.EVALUATION_JOINT_NAMES, skeleton.EVALUATION_SPHERES)

    @property
    def all_joints(self) -> Mapping[str, Point]:
        """The 36 joints of NYU by name."""
        return self._points(skeleton.JOINT_NAMES, skeleton.SPHERE_FROM_JOINT)

    def _points(self, names, indices):
        return {
            name: Point(
                tuple(self.spheres_mm[i].tolist()),
                tuple(self.spheres_px[i].tolist()),
                float(self.confidence[i]),
            )
            for name, i in zip(names, indices, strict=True)
        }

    def to_dict(self) -> dict:
        """Returns plain types: `hand`, `score`, `center_mm`, `spheres`, `joints` (14) by name."""

        def plain(points):
            return {
                name: {
                    "mm": _rounded(point.mm),
                    "px": _rounded(point.px),
                    "confidence": round(point.confidence, 3),
                }
                for name, point in points.items()
            }

        return {
            "hand": "left" if self.is_left else "right",
            "score": round(self.score, 3),
            "center_mm": _rounded(self.center_mm),
            "spheres": plain(self.spheres),
            "joints": plain(self.joints),
        }

    def to_json(self, indent: int | None = None) -> str:
        """Returns `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def draw(self, path=None) -> np.ndarray:
        """Draws the skeleton over the frame.

        Args:
            path: A PNG to write; None: none.

        Returns:
            uint8 [height, width, 3], the part of the frame around the hand, enlarged.
        """
        return overlay.draw_skeleton(self.depth_mm, self.spheres_px, self.spheres_mm, path)

    def moved_to(self, spheres_mm, intrinsics) -> "Hand":
        """Returns the hand with other spheres.

        Args:
            spheres_mm: float32 [41, 3], camera frame, mm.
            intrinsics: fx, fy, cx, cy in px.
        """
        fx, fy, cx, cy = np.asarray(intrinsics, np.float32)
        spheres_px = spheres_mm[:, :2] / spheres_mm[:, 2:] * [fx, fy] + [cx, cy]
        return dataclasses.replace(
            self, spheres_mm=spheres_mm, spheres_px=spheres_px.astype(np.float32)
        )


def _rounded(values):
    return [round(float(value), 2) for value in values]
