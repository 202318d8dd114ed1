"""Fits the 41 spheres, and a denser surface interpolated from them, to the skin at rest.

Used by `make_asset` alone. Section 3.1 gives no radii; here they minimize the distance between the
union of the spheres and the skin, in both directions.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.hand import skeleton, template

__all__ = ["FittedSpheres", "fit", "surface_distance_mm"]

_STEPS = 300
_LEARNING_RATE_MM = 0.15
# How far a sphere may leave its place along the bone's x, y, z axes, mm. The ends named B and the
# tips sit on NYU's joints and keep their place along the bone; the A ends between are free there.
_FREEDOM_MM = {"joint": (0.0, 0.0, 2.5), "between": (0.0, 5.0, 2.5), "palm": (7.0, 7.0, 7.0)}
# Centers of the palm's spheres in the hand frame, mm: PALM_1 and PALM_2 are the sides of the
# wrist, PALM_3 its center; the rest fill the palm between them and the knuckles.
_PALM_MM = {
    "PALM_1": (-14.5, 0.0, 0.0),
    "PALM_2": (14.5, 0.0, 0.0),
    "PALM_3": (0.0, 65.0, 1.0),
    "PALM_4": (24.9, 37.8, 4.0),
    "PALM_5": (-24.8, 35.9, 5.0),
    "PALM_6": (1.0, 30.3, 2.0),
    "PALM_7": (17.0, 69.1, 2.0),
    "PALM_8": (-15.9, 64.3, 2.0),
    "PALM_9": (-30.7, 54.9, 4.0),
    "PALM_10": (25.4, 54.9, 2.0),
    "PALM_11": (-10.1, 17.0, 2.0),
}
_ON_NYU_JOINTS = ("PALM_1", "PALM_2", "PALM_3")
_TIP_INSET_MM = {"INDEX": 7.6, "MIDDLE": 7.8, "RING": 7.4, "PINKY": 6.6, "THUMB": 8.8}


@dataclasses.dataclass
class FittedSpheres:
    """The spheres at rest.

    Attributes:
        centers_mm: [41, 3], hand frame.
        radii_mm: [41].
        bones: [41], the bone that carries each.
        dense_weights: [M, 41], rows sum to 1: the denser surface's centers from the 41.
        dense_radius_factors: [M], times the interpolated radius.
        summary: Lines that say how well they fit.
    """

    centers_mm: np.ndarray
    radii_mm: np.ndarray
    bones: np.ndarray
    dense_weights: np.ndarray
    dense_radius_factors: np.ndarray
    summary: list

    def arrays(self):
        """Returns the arrays of the asset by name."""
        return {
            "centers_mm": self.centers_mm.astype(np.float32),
            "radii_mm": self.radii_mm.astype(np.float32),
            "bones": self.bones.astype(np.int32),
            "dense_weights": self.dense_weights.astype(np.float32),
            "dense_radius_factors": self.dense_radius_factors.astype(np.float32),
        }


def _initial(rest):
    """Returns centers [41, 3], axes of movement [41, 3, 3], freedom [41, 3] and bones [41]."""
    centers, axes, freedom, bones = [], [], [], []
    for name in skeleton.SPHERE_NAMES:
        if name in _PALM_MM:
            center, k = np.array(_PALM_MM[name]), template.BONE_INDEX["PALM"]
            kind = "joint" if name in _ON_NYU_JOINTS else "palm"
        else:
            finger, knuckle, end = name.split("_")
            k = template.BONE_INDEX[f"{finger}_{knuckle[-1]}"]
            length = rest.lengths_mm[k]
            along = 0.0 if end == "B" else 0.55 * length
            kind = "joint" if end == "B" else "between"
            if name.endswith("KNU3_A"):
                along, kind = length - _TIP_INSET_MM[finger], "joint"
            center = rest.origins_mm[k] + rest.axes[k][:, 1] * along
        centers.append(center)
        axes.append(rest.axes[k])
        freedom.append(_FREEDOM_MM[kind])
        bones.append(k)
    return (np.array(v, np.float32) for v in (centers, axes, freedom, bones))


def _sample_skin(vertices, faces, weights, count, seed):
    """Draws uniform points on the hand's skin, the forearm left out, [count, 3]."""
    rng = np.random.default_rng(seed)
    corners = vertices[faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
    )
    arm = weights[faces][..., template.BONE_INDEX["FOREARM"]].mean(axis=1)
    area = np.where(arm > 0.4, 0.0, area)
    triangles = rng.choice(len(faces), count, p=area / area.sum())
    mix = rng.dirichlet(np.ones(3), count)
    # points[n] = mix[n,c] corners[triangles[n],c]
    return np.einsum("nc,ncd->nd", mix, corners[triangles]).astype(np.float32)


def _directions(count):
    """Returns evenly spread unit vectors, [count, 3] (a Fibonacci spiral)."""
    i = np.arange(count) + 0.5
    polar, around = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack(
        [np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=-1
    ).astype(np.float32)


def _both_distances(skin, centers, radii, directions):
    """Returns mean distances from skin to spheres and from exposed sphere surface to skin, mm."""
    # The distance to a union is the smallest signed one: a point inside of any sphere is inside.
    to_union = tf.reduce_min(tf.norm(skin[:, None] - centers[None], axis=-1) - radii, axis=1)
    forward = tf.reduce_mean(tf.abs(to_union))
    surface = tf.reshape(centers[:, None] + radii[:, None, None] * directions, [-1, 3])
    inside = tf.reduce_min(tf.norm(surface[:, None] - centers[None], axis=-1) - radii, axis=1)
    exposed = tf.cast((inside > -0.01) & (surface[:, 1] > 0.0), tf.float32)
    gap = tf.reduce_min(tf.norm(surface[:, None] - skin[None], axis=-1), axis=1)
    backward = tf.reduce_sum(gap * exposed) / tf.reduce_sum(exposed)
    return forward, backward


def surface_distance_mm(skin, centers, radii):
    """Returns the mean distance from skin points [P, 3] to the union of the spheres, mm."""
    distance = np.linalg.norm(skin[:, None] - centers[None], axis=-1) - radii
    return float(np.abs(distance.min(axis=1)).mean())


def _minimize(variables, centers_and_radii, skin, directions):
    optimizer = tf.keras.optimizers.Adam(_LEARNING_RATE_MM)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            forward, backward = _both_distances(skin, *centers_and_radii(), directions)
            loss = forward + 0.5 * backward
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(_STEPS):
        step()


def _dense_pairs(centers):
    """Returns pairs of spheres to interpolate between, with the shares of the second one."""
    pairs = []
    for finger in skeleton.FINGERS:
        chain = skeleton.FINGER_SPHERES[finger]
        pairs += [(a, b, (1 / 3, 2 / 3)) for a, b in zip(chain[:-1], chain[1:], strict=True)]
    roots = [skeleton.FINGER_SPHERES[finger][0] for finger in skeleton.FINGERS]
    # The thumb's metacarpal belongs to the ball of the thumb.
    soft = [*skeleton.PALM_SPHERES, *roots, *skeleton.FINGER_SPHERES["THUMB"][1:3]]
    for i, a in enumerate(soft):
        for b in soft[i + 1 :]:
            gap = np.linalg.norm(centers[a] - centers[b])
            is_new = all({a, b} != {p[0], p[1]} for p in pairs)
            if gap < 32.0 and is_new:
                pairs.append((a, b, (0.5,)))
    return pairs


def _dense_weights(centers):
    rows = list(np.eye(len(centers)))
    for a, b, shares in _dense_pairs(centers):
        for share in shares:
            row = np.zeros(len(centers))
            row[a], row[b] = 1 - share, share
            rows.append(row)
    return np.array(rows, np.float32)


def fit(vertices, faces, weights, rest):
    """Fits radii, and the centers that are free to move, to the skin.

    Args:
        vertices: float [V, 3], the skin at rest, hand frame, mm.
        faces: int [F, 3].
        weights: float [V, K], blend weights.
        rest: `kinematics.RestPose`.

    Returns:
        `FittedSpheres`.
    """
    start, axes, freedom, bones = _initial(rest)
    skin = _sample_skin(vertices, faces, weights, 1200, seed=0)
    validation = _sample_skin(vertices, faces, weights, 20000, seed=1)
    directions = _directions(16)
    radii = tf.Variable(np.full(len(start), 9.0, np.float32))
    shift = tf.Variable(np.zeros_like(start))

    def spheres():
        # offset[n] = axes[n,r,c] freedom[n,c] tanh(shift[n,c])
        offset = tf.einsum("nrc,nc->nr", axes, freedom * tf.tanh(shift / 4.0))
        return start + offset, radii

    _minimize([radii, shift], spheres, skin, directions)
    centers, radii_mm = (v.numpy() if hasattr(v, "numpy") else v for v in spheres())
    dense = _dense_weights(centers)
    factors = tf.Variable(np.ones(len(dense), np.float32) * 10.0)

    def dense_spheres():
        return tf.constant(dense @ centers), 0.1 * factors * (dense @ radii_mm)

    _minimize([factors], dense_spheres, skin, directions)
    result = FittedSpheres(centers, radii_mm, bones, dense, 0.1 * factors.numpy(), [])
    for label, c, r in (
        ("41 spheres", centers, radii_mm),
        (f"{len(dense)} interpolated spheres", *(v.numpy() for v in dense_spheres())),
    ):
        _, backward = _both_distances(skin, c, r, directions)
        result.summary.append(
            f"{label}: skin to spheres {surface_distance_mm(validation, c, r):.2f} mm, "
            f"spheres to skin {float(backward):.2f} mm (means)"
        )
    return result
