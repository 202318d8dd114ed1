"""Makes `assets/hand.h5`: the skin, its blend weights and the spheres fitted to it.

    python -m tfhand.hand.make_asset --output=tfhand/hand/assets/hand.h5

The skin is the zero level of a smooth union of rounded cones around the template's bones, turned
into triangles by marching cubes. Nothing in it comes from another hand model. Needs the extra
`assets` (scikit-image); the package itself only reads the file.
"""

import io

import h5py
import numpy as np
from absl import flags
from skimage import measure

from tfhand import commands, files
from tfhand.hand import kinematics, sphere_fitting, template

__all__ = ["blend_weights", "define_flags", "hand_distance", "main", "skin_mesh"]

# Damage is noticed when the file is read.
_CHECKED = {"chunks": True, "shuffle": True, "fletcher32": True}
# Radii at the root, the two joints between and the tip of each finger, mm.
_FINGER_RADII_MM = {
    "INDEX": (11.0, 9.4, 8.4, 7.2),
    "MIDDLE": (11.2, 9.6, 8.6, 7.4),
    "RING": (10.6, 9.1, 8.2, 7.0),
    "PINKY": (9.4, 7.9, 7.2, 6.2),
    "THUMB": (14.5, 11.6, 10.2, 8.2),
}
# Cones that fill the palm, as (start, end, start radius, end radius) in the hand frame, mm.
_PALM_CONES = (
    ((12.0, -3.8, 0.0), (25.4, 81.4, -1.0), 16.0, 12.0),
    ((4.0, -3.8, -1.0), (4.2, 85.1, -3.0), 17.0, 12.5),
    ((-5.0, -3.8, -1.0), (-15.9, 79.5, -1.0), 17.0, 12.0),
    ((-12.0, -3.8, 0.0), (-32.9, 71.9, 2.0), 16.0, 11.0),
    # Ball of the little finger and pad below the knuckles.
    ((-16.1, 13.2, 5.0), (-32.9, 56.8, 6.0), 14.0, 11.5),
    ((21.2, 71.9, 4.0), (-29.7, 62.4, 6.0), 10.0, 9.5),
)
# Ball of the thumb: moves with the thumb's metacarpal.
_THENAR_CONES = (
    ((12.0, 15.1, 8.0), (40.0, 41.6, 16.0), 16.0, 13.0),
    ((8.0, 28.4, 7.0), (30.0, 49.2, 9.0), 13.0, 9.0),
)
# Skin between thumb and index finger.
_WEB_CONES = (((40.0, 41.6, 13.0), (25.4, 68.1, 1.0), 9.5, 8.5),)
_ARM_CONES = (
    ((9.0, 4.0, -1.0), (15.0, -75.0, -1.0), 17.5, 24.0),
    ((-9.0, 4.0, -1.0), (-15.0, -75.0, -1.0), 17.5, 24.0),
    ((15.0, -75.0, -1.0), (17.0, -200.0, -1.0), 24.0, 31.0),
    ((-15.0, -75.0, -1.0), (-17.0, -200.0, -1.0), 24.0, 31.0),
    ((17.0, -200.0, -1.0), (14.0, -330.0, -1.0), 31.0, 34.0),
    ((-17.0, -200.0, -1.0), (-14.0, -330.0, -1.0), 31.0, 34.0),
)


def _cone(points, start, end, start_radius, end_radius):
    """Returns the signed distance to a rounded cone, [N] (exact for equal radii)."""
    start, axis = np.asarray(start), np.asarray(end) - np.asarray(start)
    t = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    away = np.linalg.norm(points - start - t[:, None] * axis, axis=-1)
    return away - (start_radius + (end_radius - start_radius) * t)


def _smooth_union(distances, width_mm):
    """Returns a union that rounds the seams over about `width_mm`; [N] from a list of [N]."""
    result = distances[0]
    for other in distances[1:]:
        h = np.clip(0.5 + 0.5 * (other - result) / width_mm, 0.0, 1.0)
        result = other * (1 - h) + result * h - width_mm * h * (1 - h)
    return result


def _finger_distance(points, finger, rest):
    """Returns the signed distance to one finger, [N]."""
    radii = _FINGER_RADII_MM[finger]
    parts = []
    for i in range(3):
        k = template.BONE_INDEX[f"{finger}_{i + 1}"]
        start = rest.origins_mm[k]
        # The last length runs to the skin, the cone's axis ends one radius before it.
        length = rest.lengths_mm[k] - (radii[3] if i == 2 else 0.0)
        parts.append(_cone(points, start, start + rest.axes[k][:, 1] * length, *radii[i : i + 2]))
    return _smooth_union(parts, 3.0)


def hand_distance(points, rest):
    """Returns the signed distance of points [N, 3] from the skin at rest, mm, negative inside."""
    palm = _smooth_union([_cone(points, *cone) for cone in _PALM_CONES], 9.0)
    thenar = _smooth_union([_cone(points, *cone) for cone in _THENAR_CONES], 8.0)
    arm = _smooth_union([_cone(points, *cone) for cone in _ARM_CONES], 10.0)
    web = _smooth_union([_cone(points, *cone) for cone in _WEB_CONES], 6.0)
    hand = _smooth_union([palm, arm, thenar], 11.0)
    fingers = [_finger_distance(points, finger, rest) for finger in _FINGER_RADII_MM]
    # The thumb, last in the table, grows out of its ball; the web joins it to the palm.
    hand = _smooth_union([hand, fingers[-1], web], 7.0)
    # A narrow seam: neighbors must not grow webs along their whole length.
    fingers = _smooth_union(fingers[:-1], 2.0)
    return _smooth_union([hand, fingers], 6.0)


def skin_mesh(rest, spacing_mm):
    """Returns (vertices [V, 3] in the hand frame in mm, faces [F, 3])."""
    low, high = np.array([-70.0, -372.0, -50.0]), np.array([110.0, 210.0, 70.0])
    axes = [np.arange(a, b, spacing_mm) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = hand_distance(grid.reshape(-1, 3), rest).reshape(grid.shape[:3])
    vertices, faces, _, _ = measure.marching_cubes(distance, 0.0, spacing=(spacing_mm,) * 3)
    return (vertices + low).astype(np.float32), faces.astype(np.int32)


def _smoothstep(x):
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def blend_weights(vertices, rest):
    """Returns linear blend skinning weights [V, K], rows sum to 1.

    A vertex belongs to the finger whose bones it is nearest to (relative to their thickness) and
    passes from one bone of the chain to the next over a band around each joint.
    """
    weights = np.zeros((len(vertices), len(template.BONES)))
    chains = np.stack([_finger_distance(vertices, f, rest) for f in _FINGER_RADII_MM], axis=1)
    nearest = chains.argmin(axis=1)
    for f, finger in enumerate(_FINGER_RADII_MM):
        share = (nearest == f).astype(np.float64)
        bones = [template.BONE_INDEX[f"{finger}_{i}"] for i in (1, 2, 3)]
        for i, k in enumerate(bones):
            along = (vertices - rest.origins_mm[k]) @ rest.axes[k][:, 1]
            band = 9.0 - 1.5 * i
            reach = _smoothstep((along + band) / (2 * band))
            if i == 0:
                # Off the finger's own flesh the palm holds the skin; the ball of the thumb is
                # soft and follows over a wider band.
                width = 16.0 if finger == "THUMB" else 7.0
                reach = reach * _smoothstep(1.0 - (chains[:, f] - 1.5) / width)
            passed = share * reach
            if i == 0:
                weights[:, template.BONE_INDEX["PALM"]] += share - passed
            else:
                weights[:, bones[i - 1]] += share - passed
            share = passed
        weights[:, bones[-1]] += share
    arm = _smoothstep((8.0 - vertices[:, 1]) / 24.0)
    weights *= (1 - arm)[:, None]
    weights[:, template.BONE_INDEX["FOREARM"]] += arm
    return weights / weights.sum(axis=1, keepdims=True)


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("output", "tfhand/hand/assets/hand.h5", "File to write.", **define)
    text = "Edge of a cell of the marching cubes, mm."
    flags.DEFINE_float("spacing_mm", 2.0, text, lower_bound=0.5, **define)


def main(flag_values):
    """Runs the command."""
    rest = kinematics.rest_pose()
    vertices, faces = skin_mesh(rest, flag_values.spacing_mm)
    weights = blend_weights(vertices, rest)
    spheres = sphere_fitting.fit(vertices, faces, weights, rest)
    # In memory first: HDF5 itself leaves half a file on a full disk.
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        skin = file.create_group("skin")
        for name, value, unit in (
            ("vertices_mm", vertices, "mm, hand frame at rest"),
            ("faces", faces, "indices of vertices"),
            ("blend_weights", weights.astype(np.float16), "share of each bone"),
        ):
            data = skin.create_dataset(name, data=value, compression="gzip", **_CHECKED)
            data.attrs["unit"] = unit
        group = file.create_group("spheres")
        for name, value in spheres.arrays().items():
            group.create_dataset(name, data=value, **_CHECKED)
        file.attrs["bones"] = [bone.name for bone in template.BONES]
    with files.replacing(flag_values.output) as partial:
        partial.write_bytes(stream.getvalue())
    print(f"{flag_values.output}: {len(vertices)} vertices, {len(faces)} triangles")
    for line in spheres.summary:
        print(line)


if __name__ == "__main__":
    commands.run(main, define_flags)
