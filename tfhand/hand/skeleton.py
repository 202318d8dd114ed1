"""Names of the hand's spheres, joints and bones, and the tables that relate them.

Every table is built from names, so an index never carries knowledge of its own:

* **sphere**: one of the 41 of the model (11 in the palm, 6 on each finger), the network's output.
* **joint**: one of the 36 annotated points of the NYU Hand Pose data set, in the data set's order.
* **evaluation joint**: one of the 14 joints that the field reports errors for.

On each finger KNU1 is the bone at the palm and KNU3 the last; on each bone A is the end nearer
the tip and B the end nearer the palm. The skeleton is a right hand. NumPy only: importing this
module does not import TensorFlow.
"""

import numpy as np

__all__ = [
    "COLLISION_PAIRS",
    "EVALUATION_JOINTS",
    "EVALUATION_JOINT_NAMES",
    "EVALUATION_SPHERES",
    "FINGERS",
    "FINGER_SPHERES",
    "JOINT_NAMES",
    "LENGTH_PAIRS",
    "NYU_FINGER_NAMES",
    "PALM_CENTER_SPHERE",
    "PALM_SPHERES",
    "SPHERE_FROM_JOINT",
    "SPHERE_NAMES",
    "WRIST_SPHERES",
    "joint_index",
    "sphere_index",
]

FINGERS = ("INDEX", "MIDDLE", "RING", "PINKY", "THUMB")

# The data set counts its fingers from the pinky.
NYU_FINGER_NAMES = {"PINKY": "F1", "RING": "F2", "MIDDLE": "F3", "INDEX": "F4", "THUMB": "TH"}

_NYU_PALM = tuple(f"PALM_{i}" for i in range(1, 7))

SPHERE_NAMES = tuple(f"PALM_{i}" for i in range(1, 12)) + tuple(
    f"{finger}_KNU{bone}_{end}" for finger in FINGERS for bone in (1, 2, 3) for end in "AB"
)

JOINT_NAMES = (
    tuple(
        f"{finger}_KNU{bone}_{end}"
        for finger in ("F1", "F2", "F3", "F4", "TH")
        for bone in (3, 2, 1)
        for end in "AB"
    )
    + _NYU_PALM
)

EVALUATION_JOINT_NAMES = (
    "F1_KNU3_A",
    "F1_KNU2_B",
    "F2_KNU3_A",
    "F2_KNU2_B",
    "F3_KNU3_A",
    "F3_KNU2_B",
    "F4_KNU3_A",
    "F4_KNU2_B",
    "TH_KNU3_A",
    "TH_KNU3_B",
    "TH_KNU2_B",
    "PALM_1",
    "PALM_2",
    "PALM_3",
)


def sphere_index(name):
    """Returns the index of a sphere by its name, for example `"INDEX_KNU3_A"`.

    Raises:
        ValueError: If no sphere has that name.
    """
    if name not in SPHERE_NAMES:
        raise ValueError(f"Expected the name of one of the 41 spheres, received {name!r}.")
    return SPHERE_NAMES.index(name)


def joint_index(name):
    """Returns the index of an NYU joint by its name, for example `"F4_KNU3_A"`.

    Raises:
        ValueError: If no joint has that name.
    """
    if name not in JOINT_NAMES:
        raise ValueError(f"Expected the name of one of the 36 NYU joints, received {name!r}.")
    return JOINT_NAMES.index(name)


def _sphere_name_of_joint(joint_name):
    if joint_name in _NYU_PALM:
        return joint_name
    finger = {nyu: ours for ours, nyu in NYU_FINGER_NAMES.items()}[joint_name.split("_")[0]]
    return joint_name.replace(joint_name.split("_")[0], finger, 1)


def _indices(names):
    return np.array([sphere_index(name) for name in names], dtype=np.int32)


# spheres[..., SPHERE_FROM_JOINT, :] are the 36 joints.
SPHERE_FROM_JOINT = _indices([_sphere_name_of_joint(name) for name in JOINT_NAMES])
# joints[..., EVALUATION_JOINTS, :] are the 14 evaluation joints.
EVALUATION_JOINTS = np.array([joint_index(n) for n in EVALUATION_JOINT_NAMES], dtype=np.int32)
# spheres[..., EVALUATION_SPHERES, :] are the 14 evaluation joints.
EVALUATION_SPHERES = SPHERE_FROM_JOINT[EVALUATION_JOINTS]

PALM_SPHERES = _indices([name for name in SPHERE_NAMES if name.startswith("PALM")])
WRIST_SPHERES = _indices(["PALM_1", "PALM_2"])
PALM_CENTER_SPHERE = sphere_index("PALM_3")
# Each finger's six spheres from the root to the tip.
FINGER_SPHERES = {
    finger: _indices([f"{finger}_KNU{bone}_{end}" for bone in (1, 2, 3) for end in "BA"])
    for finger in FINGERS
}


def _length_pairs():
    """Returns pairs whose distance hardly changes with the pose, in both directions of each chain.

    Spheres of one bone, and the two ends that meet at a joint, so that a finger can neither
    stretch nor come off; and a web over the palm with the finger roots that are rigid in it.
    """
    pairs = []
    for finger in FINGERS:
        chain = FINGER_SPHERES[finger]
        pairs += list(zip(chain[:-1], chain[1:], strict=True))
        # The joint-to-joint length of a bone: B of one bone to B of the next.
        pairs += [(chain[0], chain[2]), (chain[2], chain[4])]
    rigid = list(PALM_SPHERES) + [FINGER_SPHERES[finger][0] for finger in FINGERS]
    pairs += [(a, b) for i, a in enumerate(rigid) for b in rigid[i + 1 :]]
    return np.array(sorted({(int(min(p)), int(max(p))) for p in pairs}), dtype=np.int32)


def _collision_pairs():
    """Returns pairs on different fingers, and of a finger's two outer bones with the palm."""
    pairs = []
    for i, first in enumerate(FINGERS):
        for second in FINGERS[i + 1 :]:
            # The two roots are rigid neighbors in the palm and cannot collide.
            pairs += [(a, b) for a in FINGER_SPHERES[first][1:] for b in FINGER_SPHERES[second][1:]]
        pairs += [(p, a) for p in PALM_SPHERES for a in FINGER_SPHERES[first][3:]]
    return np.array(sorted({(int(min(p)), int(max(p))) for p in pairs}), dtype=np.int32)


# Pairs of spheres for equations 14 and 15, [K, 2].
LENGTH_PAIRS = _length_pairs()
# Pairs of spheres for equation 16, [K, 2].
COLLISION_PAIRS = _collision_pairs()
