"""The adult right hand that everything else is built from: lengths, axes, ranges, shape.

Hand frame, mm, origin at the wrist center: x to the thumb's side (radial), y to the finger tips
(distal), z out of the palm (palmar). Seen from the palm with the fingers up, x points right.

The hand at rest is the mean adult, women and men alike, from published anthropometry alone:

* Fingers: the bones of Buryanov and Kotiuk, "Proportions of hand segments" (International Journal
  of Morphology 28(3), 2010), 8 % longer, because the centers of rotation lie inside the heads of
  the bones. The last one has no second head: it ends at the skin, 3 mm (an assumption, the depth
  of a head) and the soft tissue of the tip, 4 mm, 5.7 mm at the thumb, beyond the bone.
  The thumb's metacarpal keeps its length: the axes of its saddle lie on both sides of the gap.
* Palm: what these leave of a hand length of 188 mm, and a breadth of 84.5 mm. Greiner, "Hand
  anthropometry of U.S. Army personnel" (1991): length 194 and 181 mm, breadth 90 and 79 mm, men
  and women.
* Where the knuckles and the base of the thumb lie in the palm, and all directions, are assumptions.

NumPy only.
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
    [Bone("PALM", None, 87.0, (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), _PALMAR)]
    + _finger("INDEX", (26.5, 84.2, -1.0), (43.0, 24.2, 22.7), _spread(7.0), _PALMAR)
    + _finger("MIDDLE", (4.2, 87.0, -3.0), (48.2, 28.4, 24.4), _spread(0.0), _PALMAR)
    + _finger("RING", (-16.4, 82.3, -1.5), (44.7, 27.7, 24.3), _spread(-6.0), _PALMAR)
    + _finger("PINKY", (-33.9, 73.8, 2.0), (35.4, 19.6, 22.7), _spread(-14.0), _PALMAR)
    + _finger(
        "THUMB", (20.0, 16.1, 7.0), (46.2, 34.1, 30.3), (0.66, 0.70, 0.27), (-0.60, 0.26, 0.76)
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
# the standard deviation between people from about 13 years on, women and men together.
#
# Lengths of bones differ by 8 to 12 % (first bones), 11 to 14 % (middle ones) and 11 to 15 % (last
# ones) in Buryanov and Kotiuk; the root of the sum of squares of the factors that a bone has is 9,
# 12 and 14 %. How it is shared between hand, finger, row and bone is an assumption. Hand length and
# breadth differ by 6 and 8 % in Greiner's women and men together; here both by 8 %, for teenagers.
# Thicknesses are assumptions.
_SHAPE = {
    "SIZE": 0.065,
    "INDEX_LENGTH": 0.05,
    "MIDDLE_LENGTH": 0.05,
    "RING_LENGTH": 0.05,
    "PINKY_LENGTH": 0.05,
    "THUMB_LENGTH": 0.06,
    # The rows of the four fingers, and each of their bones by itself.
    "BONE_1_LENGTH": 0.03,
    "BONE_2_LENGTH": 0.04,
    "BONE_3_LENGTH": 0.04,
    **{
        f"{finger}_{row}_LENGTH": stddev
        for finger in ("INDEX", "MIDDLE", "RING", "PINKY")
        for row, stddev in ((1, 0.03), (2, 0.08), (3, 0.10))
    },
    # Metacarpal and first phalanx differ by 9 and 10 % in Buryanov and Kotiuk, here by 12 and 16 %,
    # an assumption: no crease or corner marks the joint between, and those who label hands may
    # place it some millimeters apart. Two real people tell whether it is enough
    # (`benchmarks/hand_model.py`).
    "THUMB_1_LENGTH": 0.08,
    "THUMB_2_LENGTH": 0.13,
    "THUMB_3_LENGTH": 0.07,
    "FINGER_THICKNESS": 0.07,
    # On top of that of all fingers.
    "THUMB_THICKNESS": 0.05,
    "PALM_WIDTH": 0.055,
    "PALM_LENGTH": 0.06,
    "PALM_THICKNESS": 0.07,
    # Places in the palm, from the wrist: 2 mm of the knuckles beside the middle one (metacarpals
    # differ by 8 to 9 %, most of it together), 3 mm of the thumb's base along and across the palm.
    "INDEX_METACARPAL_LENGTH": 0.025,
    "RING_METACARPAL_LENGTH": 0.025,
    "PINKY_METACARPAL_LENGTH": 0.03,
    "THUMB_BASE_ALONG": 0.18,
    "THUMB_BASE_ACROSS": 0.15,
    "FOREARM_THICKNESS": 0.10,
}
SHAPE_NAMES = tuple(_SHAPE)
# Draws end at two deviations, which takes 12 % of the deviation away: the normal that is cut is
# that much wider.
SHAPE_STDDEV = np.array([_SHAPE[name] / 0.88 for name in SHAPE_NAMES], dtype=np.float32)


def angle_index(name):
    """Returns the index of a joint angle by its name, for example `"INDEX_2_FLEX"`."""
    return ANGLE_NAMES.index(name)


def shape_index(name):
    """Returns the index of a shape parameter by its name, for example `"SIZE"`."""
    return SHAPE_NAMES.index(name)
