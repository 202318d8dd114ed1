"""Sampled hand poses against real ones: how near they come, and how fingers are bent.

Run as

    python benchmarks/pose_sampling.py --labels=nyu_test_groundtruth_label.txt --output=poses.json

with labels in the text form of published results on NYU. They measure and teach nothing; without
them the sampler is compared with itself.

*Nearest* is the sampled hand whose 14 evaluation joints fit best after a similarity (rotation,
translation, scale), found in closed form: the largest sum of signed singular values of the two
hands' covariance is a root of a quartic (Horn 1987; Theobald 2005). The distance is the mean over
the joints in mm of the sampled hand, whose sizes do not depend on the person's. Mirrored poses
show that no side is swapped: a right hand is far from every left one.

*Bending* needs the knuckles, which are no evaluation joints. In the palm's frame (wrist to its
center, wrist across) each finger's middle joint runs over a sphere around its knuckle, fitted to
all poses of one person. The knuckle's bending is the angle of the proximal bone to the palm's
plane; the middle joint's is from that bone to the line from middle joint to tip, in the plane of
bending, which has about half of the end joint's in it. The sampler is measured the same way, and
from its own angles. The roots of ring and pinky move in a real palm when it cups, which looks like
a knuckle more bent and a middle joint bent back: index and middle finger are shown on their own.
"""

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.evaluation import published
from tfhand.hand import pose_sampling, skeleton, spheres, template

_JOINT = {name: i for i, name in enumerate(skeleton.EVALUATION_JOINT_NAMES)}
_NYU_FINGERS = [skeleton.NYU_FINGER_NAMES[f] for f in skeleton.FINGERS[:4]]
_PALM = [_JOINT[f"PALM_{i}"] for i in (1, 2, 3)]
_MIDDLE_JOINTS = [_JOINT[f"{f}_KNU2_B"] for f in _NYU_FINGERS]
_TIPS = [_JOINT[f"{f}_KNU3_A"] for f in _NYU_FINGERS]
# Bent knuckle, straight middle joint, and bent back, degrees.
_BENT_DEG, _STRAIGHT_DEG, _BACK_DEG = 45.0, 25.0, -10.0
_MIRROR = np.array([1.0, -1.0, 1.0])


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=10)
    flags.DEFINE_string("labels", None, "Real joints, a text file.", flag_values=flag_values)
    flags.DEFINE_list(
        "first_frames", ["1", "2441"], "First frame of each person.", flag_values=flag_values
    )
    flags.DEFINE_integer("every", 5, "Of so many frames one.", 1, flag_values=flag_values)
    flags.DEFINE_integer("samples", 20000, "Sampled hands.", 1000, flag_values=flag_values)


@tf.function(autograph=False)
def _sample(rng, count, shape_scale):
    angles = pose_sampling.sample_angles(rng, count)
    shape = pose_sampling.sample_shape(rng, count, shape_scale)
    centers, _ = spheres.pose_spheres(angles, shape)
    return angles, tf.gather(centers, skeleton.EVALUATION_SPHERES, axis=1)


def sample_hands(seed, count, shape_scale=1.0):
    """Draws hands; returns angles [n, 23], radians, and evaluation joints [n, 14, 3], mm."""
    hands = _sample(tf.random.Generator.from_seed(seed), count, shape_scale)
    return tuple(value.numpy() for value in hands)


def _centered(joints):
    return joints - joints.mean(axis=1, keepdims=True)


@tf.function(jit_compile=True, autograph=False)
def _best_match(poses, samples):
    """Returns the best fitting sample of each pose, [P]; both [n, 14, 3], centered, of norm 1."""
    # m[i][j][p,s] = poses[p,k,i] samples[s,k,j]
    m = [
        [tf.matmul(poses[..., i], samples[..., j], transpose_b=True) for j in range(3)]
        for i in range(3)
    ]
    # With singular values s1, s2, s3 (s3 of the determinant's sign) s1 + s2 + s3 is the largest
    # root of x^4 - 2 trace x^2 - 8 determinant x + 2 square - trace^2; two signs change in others.
    trace = sum(x * x for row in m for x in row)
    square = sum(sum(m[k][i] * m[k][j] for k in range(3)) ** 2 for i in range(3) for j in range(3))
    determinant = sum(
        m[0][i] * (m[1][i - 2] * m[2][i - 1] - m[1][i - 1] * m[2][i - 2]) for i in range(3)
    )
    x = tf.ones_like(trace)
    for _ in range(6):  # From above Newton's steps fall to the largest root.
        value = (x * x - 2.0 * trace) * x * x - 8.0 * determinant * x + 2.0 * square - trace**2
        slope = 4.0 * x * (x * x - trace) - 8.0 * determinant
        x -= value / tf.maximum(slope, 1e-6)
    return tf.argmax(x, axis=1)


def nearest_mm(poses, samples, block=200):
    """Measures the mean distance of the joints to the nearest sample, [P], mm of the sample."""
    poses, samples = _centered(poses), _centered(samples)
    of_norm_1 = [
        (v / np.linalg.norm(v, axis=(1, 2), keepdims=True)).astype(np.float32)
        for v in (poses, samples)
    ]
    index = [
        _best_match(of_norm_1[0][i : i + block], of_norm_1[1]) for i in range(0, len(poses), block)
    ]
    nearest = samples[np.concatenate(index)]
    # Exact alignment of the pose to the sample (Umeyama 1991).
    u, s, vt = np.linalg.svd(np.einsum("nka,nkb->nab", nearest, poses))
    sign = np.sign(np.linalg.det(u @ vt))
    u[..., 2] *= sign[:, None]
    s[:, 2] *= sign
    scale = s.sum(axis=1) / (poses**2).sum(axis=(1, 2))
    aligned = scale[:, None, None] * np.einsum("nab,nkb->nka", u @ vt, poses)
    return np.linalg.norm(aligned - nearest, axis=-1).mean(axis=1)


def _unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _sphere_center(points):
    """Fits a sphere to points [n, 3], mm; returns its center."""
    center = np.array([*points[:, :2].mean(axis=0) * [1.0, 0.6], 0.0])
    for _ in range(30):  # Gauss-Newton on the distances to the center less their mean.
        difference = points - center
        distance = np.linalg.norm(difference, axis=1)
        jacobian = -difference / distance[:, None]
        jacobian -= jacobian.mean(axis=0)
        step = np.linalg.lstsq(jacobian, distance.mean() - distance, rcond=None)[0]
        center = center + step
    return center


def bending_deg(joints):
    """Estimates bending at knuckles and middle joints of index to pinky, degrees [n, 4] each.

    Args:
        joints: float [n, 14, 3], mm, of one right hand in many poses.
    """
    ulnar, radial, center = (joints[:, i] for i in _PALM)
    wrist = (ulnar + radial) / 2.0
    y = _unit(center - wrist)
    x = radial - ulnar
    x = _unit(x - (x * y).sum(axis=-1, keepdims=True) * y)
    palm = np.stack([x, y, np.cross(x, y)], axis=1)
    local = np.einsum("nab,nkb->nka", palm, joints - wrist[:, None])
    middle, tips = local[:, _MIDDLE_JOINTS], local[:, _TIPS]
    knuckles = np.stack([_sphere_center(middle[:, f]) for f in range(4)])
    bone, outer = _unit(middle - knuckles), _unit(tips - middle)
    # The joint's axis: the palm's x axis made orthogonal to the bone.
    axis = np.array([1.0, 0.0, 0.0]) - bone[..., :1] * bone
    palmar = np.cross(_unit(axis), bone)
    bent = np.arctan2((outer * palmar).sum(axis=-1), (outer * bone).sum(axis=-1))
    return np.degrees(np.arctan2(bone[..., 2], bone[..., 1])), np.degrees(bent)


def true_bending_deg(angles):
    """Returns bending at knuckles and middle joints from angles [n, 23], degrees [n, 4] each."""
    columns = [
        [template.angle_index(f"{f}_{i}_FLEX") for f in skeleton.FINGERS[:4]] for i in (1, 2, 3)
    ]
    knuckle, middle, end = (np.degrees(angles[:, column]) for column in columns)
    return knuckle, middle + 0.45 * end


def bending_row(name, knuckle, middle):
    """Returns the row of a table: what bending hands do that was rare once."""
    apart = np.abs(np.diff(knuckle, axis=1)).max(axis=1)
    is_table = (knuckle > _BENT_DEG) & (middle < _STRAIGHT_DEG)
    is_back = middle < _BACK_DEG
    shares = (
        is_table.sum(axis=1) >= 2, is_table[:, :2].any(axis=1),
        is_back.any(axis=1), is_back[:, :2].any(axis=1),
    )  # fmt: skip
    return [name, *(100.0 * np.mean(share) for share in shares), *np.percentile(apart, [50, 99])]


def read_people(flag_values):
    """Reads joints of each person, a dict from name to float64 [n, 14, 3], mm."""
    if not flag_values.labels:
        return {}
    joints = published.xyz_from_uvd(published.read_joints_uvd(flag_values.labels))
    firsts = [int(first) - 1 for first in flag_values.first_frames]
    return {
        f"person {i + 1}": joints[first : end : flag_values.every]
        for i, (first, end) in enumerate(zip(firsts, [*firsts[1:], None], strict=True))
    }


def build(count):
    """Returns functions that draw poses, by name."""
    rng = tf.random.Generator.from_seed(0)
    draw = tf.function(lambda: pose_sampling.sample_angles(rng, count), autograph=False)
    return {"sample_angles": lambda: draw().numpy()}


def main(flag_values):
    report = measure.Report(__file__, "Sampled poses")
    _, samples = sample_hands(1, flag_values.samples)
    _, unseen = sample_hands(2, 4000)
    people = read_people(flag_values)
    poses = {"unseen samples": unseen, **people}
    poses |= {f"{name}, mirrored": joints * _MIRROR for name, joints in poses.items()}
    distances = {name: nearest_mm(joints, samples) for name, joints in poses.items()}
    limit = np.percentile(distances["unseen samples"], 95)
    rows = [
        [name, len(d), d.mean(), np.median(d), np.percentile(d, 95), 100.0 * np.mean(d > limit)]
        for name, d in distances.items()
    ]
    columns = ["poses", "number", "mean mm", "median mm", "95th mm", "beyond the sampler's 95th %"]
    report.table(f"Nearest of {flag_values.samples:,} samples", columns, rows)
    for name in people:
        beyond = 100.0 * np.mean(distances[name] > limit)
        report.target(f"{name}: beyond the sampler's 95th percentile, %", beyond, most=10)
    angles, joints = sample_hands(3, 5000, 0.0)
    rows = [
        bending_row("samples, true angles", *true_bending_deg(angles)),
        *(bending_row(name, *bending_deg(j)) for name, j in {"samples": joints, **people}.items()),
    ]
    columns = [
        "poses", "two fingers bent at the knuckle alone %", "index or middle %",
        "a finger bent back %", "index or middle %", "neighbors apart: median deg", "99th deg",
    ]  # fmt: skip
    report.table("Bending", columns, rows)
    report.cases("1,000 poses", measure.compare(build, 1000, rounds=flag_values.rounds))
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
