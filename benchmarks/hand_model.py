"""The population of hands, and the ranges and bounds that follow from it, against real people.

Run as

    python benchmarks/hand_model.py --labels=nyu_test_groundtruth_label.txt --output=hands.json

with the 14 joints of NYU's 8,252 test frames (u px, v px, d mm; two people). They measure; nothing
is fitted to them. Without the flag the hand model is measured against itself alone.
"""

import dataclasses

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.evaluation import published
from tfhand.geometry import camera
from tfhand.hand import pose_sampling, skeleton, spheres, statistics, template

# The test frames are the first person's up to this one.
_FRAMES_OF_FIRST = 2440
_SUBJECTS, _POSES = 20000, 10000
# From finger joint to tip: not rigid, longest when the finger is straight.
_FINGERS = [
    (skeleton.sphere_index(f"{f}_KNU2_B"), skeleton.sphere_index(f"{f}_KNU3_A"))
    for f in skeleton.FINGERS[:4]
]
# Row of a sphere among the evaluation joints.
_ROW = {int(sphere): row for row, sphere in enumerate(skeleton.EVALUATION_SPHERES)}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of spheres with their bounds, those whose spheres both are evaluation joints.

    Attributes:
        spheres: int [K, 2].
        low_mm: float [K].
        high_mm: float [K].
    """

    spheres: np.ndarray
    low_mm: np.ndarray
    high_mm: np.ndarray

    @classmethod
    def of_labels(cls, pairs, low_mm, high_mm):
        """Returns the pairs that labels have."""
        kept = [k for k, (a, b) in enumerate(pairs) if int(a) in _ROW and int(b) in _ROW]
        return cls(pairs[kept], low_mm[kept], high_mm[kept])

    def lengths(self, joints_mm):
        """Returns distances [n, K] in evaluation joints [n, 14, 3]."""
        return distances(joints_mm, [[_ROW[int(a)], _ROW[int(b)]] for a, b in self.spheres])

    def outside(self, joints_mm):
        """Returns whether each distance lies outside of its bounds, bool [n, K]."""
        lengths = self.lengths(joints_mm)
        return (lengths < self.low_mm) | (lengths > self.high_mm)


def define_flags(flag_values):
    text = "Text file of NYU's test labels."
    flags.DEFINE_string("labels", None, text, flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def distances(points_mm, pairs):
    """Returns the distances of pairs [K, 2] of points [n, N, 3], [n, K]."""
    first, second = np.asarray(pairs).T
    return np.linalg.norm(points_mm[:, first] - points_mm[:, second], axis=-1)


def read_people(path):
    """Returns the labeled joints [n, 14, 3] of each person by name, mm."""
    if not path:
        return {}
    uvd = published.read_joints_uvd(path).astype(np.float32)
    joints = camera.unproject(uvd, np.array(camera.NYU_INTRINSICS, np.float32)).numpy()
    return {"person 1": joints[:_FRAMES_OF_FIRST], "person 2": joints[_FRAMES_OF_FIRST:]}


def draw_subjects():
    """Returns spheres of random people at rest: centers [n, 41, 3] and radii [n, 41]."""
    shape = pose_sampling.sample_shape(tf.random.Generator.from_seed(1), _SUBJECTS)
    angles = tf.zeros([_SUBJECTS, len(template.ANGLE_NAMES)])
    return (v.numpy() for v in spheres.pose_spheres(angles, shape))


def push_through(hands, rng):
    """Moves the two outer bones of one finger of each hand so that they cross another finger."""
    hands = hands.copy()
    for hand in hands:
        chains = [
            skeleton.FINGER_SPHERES[finger][2:]
            for finger in rng.choice(skeleton.FINGERS, 2, replace=False)
        ]
        # One point of each finger's axis: they are made to meet.
        points = []
        for chain in chains:
            i, share = rng.integers(len(chain) - 1), rng.uniform()
            points.append((1 - share) * hand[chain[i]] + share * hand[chain[i + 1]])
        hand[chains[0]] += points[1] - points[0]
    return hands


def report_sizes(report):
    """Lengths and breadths of the population, from its spheres."""
    centers, radii = draw_subjects()
    tip = skeleton.sphere_index("MIDDLE_KNU3_A")
    roots = [skeleton.FINGER_SPHERES[f][0] for f in skeleton.FINGERS[:4]]
    x, r = centers[:, roots, 0], radii[:, roots]
    sizes = {
        "hand length": centers[:, tip, 1] + radii[:, tip],
        "breadth at the knuckles": (x + r).max(axis=1) - (x - r).min(axis=1),
    }
    shares = (0.5, 5, 50, 95, 99.5)
    rows = [
        [name, *np.percentile(v, shares).tolist(), 100 * float(np.log(v).std())]
        for name, v in sizes.items()
    ]
    columns = ["mm", *(f"{s} %" for s in shares), "deviation %"]
    report.table("Population, percentiles", columns, rows)


def report_lengths(report, people):
    """Bone-length ranges, and where people lie among the sampled subjects."""
    ranges = Pairs.of_labels(skeleton.LENGTH_PAIRS, *statistics.length_ranges())
    subjects, _ = draw_subjects()
    bounds = {tuple(p): b for p, *b in zip(ranges.spheres, ranges.low_mm, ranges.high_mm)}
    rows, worst = [], {}
    for pair in [*map(tuple, ranges.spheres), *_FINGERS]:
        sampled = distances(subjects, [pair])[:, 0]
        name = " ".join(skeleton.SPHERE_NAMES[i] for i in pair)
        low, high = bounds.get(pair, ("", ""))
        row = [name, *(v if v == "" else float(v) for v in (low, high))]
        row += np.percentile(sampled, [0.5, 50, 99.5]).tolist()
        for person, joints in people.items():
            lengths = distances(joints, [[_ROW[int(i)] for i in pair]])[:, 0]
            # A finger is as long as when it is straight.
            length = float(np.median(lengths) if pair in bounds else np.percentile(lengths, 95))
            percentile = 100 * float((sampled < length).mean())
            row += [length, percentile]
            worst[person] = max(worst.get(person, 0.0), abs(percentile - 50.0))
        rows.append(row)
    columns = ["pair", "range from, mm", "to", "subjects 0.5 %", "50 %", "99.5 %"]
    columns += [c for person in people for c in (f"{person}, mm", "percentile")]
    report.table("Lengths between evaluation joints", columns, rows)
    for person, joints in people.items():
        flagged = 100 * float(ranges.outside(joints).any(axis=1).mean())
        report.target(f"frames of {person} outside of a range, %", flagged, most=3.0)
        text = f"farthest percentile of {person} from the median"
        report.target(text, worst[person], most=49.5)


def report_collisions(report, people, hands):
    """Bounds of the collision term: what they flag of valid poses and of crossing fingers."""
    pairs, bounds = skeleton.COLLISION_PAIRS, statistics.collision_distances()
    reach = spheres.load().radii_mm[pairs].sum(axis=1)
    sampled = distances(hands, pairs)
    crossing = distances(push_through(hands, np.random.default_rng(0)), pairs)

    def flagged(limits):
        of_labels = Pairs.of_labels(pairs, limits, np.full(len(limits), np.inf))
        return {
            "sampled poses": 100 * float((sampled < limits).any(axis=1).mean()),
            **{k: 100 * float(of_labels.outside(v).any(axis=1).mean()) for k, v in people.items()},
            "crossing fingers": 100 * float((crossing < limits).any(axis=1).mean()),
        }

    rows = [[f"{s} of r_j + r_k", *flagged(s * reach).values()] for s in (0.5, 0.6, 0.7, 0.8, 1.0)]
    report.table("Hands flagged, %", ["smallest distance", *flagged(bounds)], rows)
    above = 100 * float((bounds > reach).mean())
    report.target("collision bounds above the sum of the radii, %", above, most=0.0)
    for name, share in flagged(bounds).items():
        goal = {"least": 90.0} if name == "crossing fingers" else {"most": 3.0}
        report.target(f"{name} flagged, %", share, **goal)


def main(flag_values):
    people = read_people(flag_values.labels)
    report = measure.Report(__file__, "Hand model")
    report_sizes(report)
    report_lengths(report, people)
    hands = statistics.sample_spheres(tf.random.Generator.from_seed(2), _POSES).numpy()
    low, high = statistics.length_ranges()
    lengths = distances(hands, skeleton.LENGTH_PAIRS)
    outside = 100 * float(((lengths < low) | (lengths > high)).any(axis=1).mean())
    report.target("sampled hands with a length outside of its range, %", outside, most=3.0)
    report_collisions(report, people, hands)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
