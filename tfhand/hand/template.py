"""The adult right hand that everything else is built from: lengths, axes, ranges, shape.

Hand frame, mm, origin at the wrist center: x to the thumb's side (radial), y to the finger tips
(distal), z out of the palm (palmar). Seen from the palm with the fingers up, x points right.

Bone lengths are the mean adult lengths of Buryanov and Kotiuk, "Proportions of hand segments"
(International Journal of Morphology 28(3), 2010), enlarged by 8 % because the centers of rotation
lie inside the heads of the bones; the index and ring fingers are a little longer than theirs, half
way to what the 14 joints of the NYU test labels measure. Breadths follow the male medians of
Greiner's hand anthropometry of U.S. Army personnel (1991). NumPy only.
"""

import dataclasses

import numpy as np

__all__ = [
    "ANGLES",
    "ANGLE_NAMES",
    "ANGLE_RANGES_RAD",
    "BONES",
    "BONE_INDEX",
    "SHAPE_NAMES",
    "SHAPE_STDDEV",
    "Bone",
    "angle_index",
    "shape_index",
]


@dataclasses.dataclass(frozen=True)
class Bone:
    """A rigid part of the skeleton at rest.

    Attributes:
        name: `"INDEX_1"` is the bone that carries the spheres INDEX_KNU1_A and INDEX_KNU1_B.
        parent: Name of the bone that it turns on, or None for the palm, the root.
        length_mm: Distance from its own joint to the next one along its y axis.
        origin_mm: Joint that it turns about, in the hand frame; None: the end of the parent.
        direction: Its y axis at rest, in the hand frame.
        palmar: The side it bends to (its z axis once made orthogonal), in the hand frame.
    """

    name: str
    parent: str | None
    length_mm: float
    origin_mm: tuple[float, float, float] | None
    direction: tuple[float, float, float]
    palmar: tuple[float, float, float]


def _spread(degrees):
    """Returns a unit vector in the palm's plane, `degrees` from y to the thumb's side."""
    return (float(np.sin(np.radians(degrees))), float(np.cos(np.radians(degrees))), 0.0)


def _finger(finger, knuckle_mm, lengths_mm, direction, palmar):
    return [
        Bone(
            f"{finger}_{i + 1}",
            "PALM" if i == 0 else f"{finger}_{i}",
            length,
            knuckle_mm if i == 0 else None,
            direction,
            palmar,
        )
        for i, length in enumerate(lengths_mm)
    ]


_PALMAR = (0.0, 0.0, 1.0)
# The last length of a finger runs to the skin of its tip.
BONES = tuple(
    [Bone("PALM", None, 92.0, (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), _PALMAR)]
    + _finger("INDEX", (25.0, 89.0, -1.0), (43.5, 26.0, 23.5), _spread(7.0), _PALMAR)
    + _finger("MIDDLE", (4.0, 92.0, -3.0), (48.0, 29.0, 24.5), _spread(0.0), _PALMAR)
    + _finger("RING", (-15.5, 87.0, -1.5), (45.0, 28.0, 24.0), _spread(-6.0), _PALMAR)
    + _finger("PINKY", (-32.0, 78.0, 2.0), (35.0, 20.5, 22.0), _spread(-14.0), _PALMAR)
    + _finger(
        "THUMB", (20.0, 17.0, 7.0), (47.0, 34.5, 29.5), (0.66, 0.70, 0.27), (-0.60, 0.26, 0.76)
    )
    + [Bone("FOREARM", "PALM", 330.0, (0.0, 0.0, 0.0), (0.0, -1.0, 0.0), _PALMAR)]
)
BONE_INDEX = {bone.name: i for i, bone in enumerate(BONES)}

# Every degree of freedom with its anatomical range in degrees. Flexion bends to the palm,
# abduction moves to the thumb's side, twist turns the thumb's pulp to the fingers. Together with
# the six of the hand's rigid motion they are 29: the usual 26, a thumb that also twists, and the
# two of the wrist, which move only the forearm.
#
# Ranges are near the norms of the American Academy of Orthopaedic Surgeons (Joint Motion, 1965):
# knuckle 45 back to 90, middle joint 100, end joint 10 back to 90; thumb 50 at the knuckle, 20
# back to 80 at the end joint. Joints that something presses, and lax ones, go further back.
# Abduction is wider than a straight finger's, since it turns about the palm's normal: it has to
# bring together the tips of fingers that are bent at the knuckle, too.
ANGLES = {
    **{
        f"{finger}_{name}": limits
        for finger, spread in (
            ("INDEX", (-28.0, 26.0)),
            ("MIDDLE", (-22.0, 22.0)),
            ("RING", (-22.0, 24.0)),
            ("PINKY", (-28.0, 30.0)),
        )
        for name, limits in (
            ("1_FLEX", (-35.0, 95.0)),
            ("1_ABDUCT", spread),
            ("2_FLEX", (-12.0, 108.0)),
            ("3_FLEX", (-20.0, 85.0)),
        )
    },
    "THUMB_1_FLEX": (-28.0, 48.0),
    "THUMB_1_ABDUCT": (-34.0, 32.0),
    "THUMB_1_TWIST": (-24.0, 38.0),
    "THUMB_2_FLEX": (-12.0, 60.0),
    "THUMB_3_FLEX": (-25.0, 80.0),
    "WRIST_FLEX": (-45.0, 55.0),
    "WRIST_ABDUCT": (-18.0, 26.0),
}
ANGLE_NAMES = tuple(ANGLES)
ANGLE_RANGES_RAD = np.radians(np.array([ANGLES[name] for name in ANGLE_NAMES])).astype(np.float32)

# Shape parameters are logarithms of factors: 0 is the hand above, 0.1 is 10 % more. The value is
# the standard deviation between adults (Greiner 1991: hand length 5 %, breadth 5 % within a sex).
_SHAPE = {
    "SIZE": 0.07,
    "INDEX_LENGTH": 0.04,
    "MIDDLE_LENGTH": 0.04,
    "RING_LENGTH": 0.04,
    "PINKY_LENGTH": 0.05,
    "THUMB_LENGTH": 0.05,
    "BONE_1_LENGTH": 0.03,
    "BONE_2_LENGTH": 0.04,
    "BONE_3_LENGTH": 0.04,
    "FINGER_THICKNESS": 0.07,
    "PALM_WIDTH": 0.05,
    "PALM_LENGTH": 0.05,
    "PALM_THICKNESS": 0.07,
    "FOREARM_THICKNESS": 0.10,
}
SHAPE_NAMES = tuple(_SHAPE)
SHAPE_STDDEV = np.array([_SHAPE[name] for name in SHAPE_NAMES], dtype=np.float32)


def angle_index(name):
    """Returns the index of a joint angle by its name, for example `"INDEX_2_FLEX"`."""
    return ANGLE_NAMES.index(name)


def shape_index(name):
    """Returns the index of a shape parameter by its name, for example `"SIZE"`."""
    return SHAPE_NAMES.index(name)
