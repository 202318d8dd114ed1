"""What the pose prior of equation 13 knows: faults it rejects, latents, reconstruction, gradients.

Run as

    python benchmarks/pose_prior.py --output=pose_prior.json
    python benchmarks/pose_prior.py --prior=W/prior

The first trains a prior as `tfhand.train` does, the second measures a trained one. All hands are
unseen hands of the hand model. A fault is rejected where the term exceeds the value that 5 % of
valid hands exceed. Faults are made at one random finger a hand, thumbs included:

* tip moved: the outermost sphere alone, by 20 mm in a random direction;
* end joint back: the last bone turned to 60 degrees behind straight, and, not a target because the
  ends of many curled fingers are valid after it, by 60 degrees from where it is;
* middle joint back: the two outer bones turned to 45 degrees beyond the joint's range, or, from a
  valid pose, by 45 degrees to either side.
"""

import dataclasses
import pathlib
import tempfile

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.geometry import rigid
from tfhand.hand import kinematics, pose_sampling, skeleton, spheres, template
from tfhand.models import pose_prior

VALID, FAULTY, DESCENT = 4000, 1000, 200
QUANTILE = 95.0
TIP_MM, END_DEG, MIDDLE_DEG = 20.0, 60.0, 45.0
LEAST_DETECTION_PERCENT, MOST_TIP_MM = 90.0, 3.5
# A latent with less divergence, in nats, tells nothing.
USED_NATS = 0.01
DESCENT_STEPS, DESCENT_RATE_MM = 200, 0.3
TIPS = np.array([skeleton.FINGER_SPHERES[f][-1] for f in skeleton.FINGERS])
GROUPS = {
    "palm": skeleton.PALM_SPHERES,
    "first bones": np.concatenate([skeleton.FINGER_SPHERES[f][:2] for f in skeleton.FINGERS]),
    "outer bones": np.concatenate([skeleton.FINGER_SPHERES[f][2:] for f in skeleton.FINGERS]),
}
PARTS = {"palm": skeleton.PALM_SPHERES, "tips": TIPS, "all": np.arange(len(skeleton.SPHERE_NAMES))}


def define_flags(flag_values):
    flags.DEFINE_string("prior", None, "Folder of a trained prior.", flag_values=flag_values)
    flags.DEFINE_integer("steps", 4000, "Steps of training.", 1, flag_values=flag_values)
    flags.DEFINE_integer("seed", 1, "Seed of training.", flag_values=flag_values)
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


@dataclasses.dataclass(frozen=True)
class Hands:
    """Valid hands.

    Attributes:
        centers_mm: float32 [M, 41, 3], hand frame.
        angles: float32 [M, 23], radians.
        joints_mm: float32 [M, K, 3], the joint that each bone of the template turns about.
        axes: float32 [M, K, 3, 3], columns are the flexion axis, the direction along the bone, and
            the palmar axis of each bone.
    """

    centers_mm: np.ndarray
    angles: np.ndarray
    joints_mm: np.ndarray
    axes: np.ndarray


def draw_hands(seed, count):
    """Returns `Hands`."""
    rng = tf.random.Generator.from_seed(seed)
    angles = pose_sampling.sample_angles(rng, count)
    shape = pose_sampling.sample_shape(rng, count)
    centers_mm = spheres.pose_spheres(angles, shape)[0]
    motion, rest = kinematics.bone_motion(angles, shape), kinematics.rest_pose()
    # joints[m,k] = matrices[m,k] origins[k] + offsets[m,k]
    joints_mm = tf.einsum("mkrc,kc->mkr", motion.matrices, rest.origins_mm) + motion.offsets_mm
    # The stretch is along the axes, so it changes no direction.
    axes = tf.linalg.l2_normalize(motion.matrices @ rest.axes, axis=-2)
    return Hands(centers_mm.numpy(), angles.numpy(), joints_mm.numpy(), axes.numpy())


def move_tips(hands, random):
    """Moves one tip a hand by `TIP_MM`; returns centers and the finger of each hand."""
    centers_mm = hands.centers_mm.copy()
    finger = random.integers(len(skeleton.FINGERS), size=len(centers_mm))
    direction = random.normal(size=[len(centers_mm), 3])
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    centers_mm[np.arange(len(centers_mm)), TIPS[finger]] += TIP_MM * direction
    return centers_mm, finger


def turn_outer_bones(hands, random, number, axis, degrees):
    """Turns a finger from its joint `number` (2 or 3) on about an axis of that bone.

    Args:
        hands: `Hands`.
        random: NumPy generator that chooses the finger of each hand.
        number: Number of the innermost bone that turns.
        axis: 0 to flex, 2 to bend sideways.
        degrees: Callable, from the index of the joint's flexion among the angles [M] and its value
            in degrees [M] to the turn in degrees, [M] or one number.

    Returns:
        float32 [M, 41, 3], mm.
    """
    rows = np.arange(len(hands.centers_mm))
    finger = random.integers(len(skeleton.FINGERS), size=len(rows))
    names = [f"{f}_{number}" for f in skeleton.FINGERS]
    bone = np.array([template.BONE_INDEX[name] for name in names])[finger]
    flexion = np.array([template.angle_index(f"{name}_FLEX") for name in names])[finger]
    turn = degrees(flexion, np.degrees(hands.angles[rows, flexion]))
    turn = np.radians(np.broadcast_to(turn, rows.shape))
    vector = hands.axes[rows, bone, :, axis] * turn[:, None]
    rotation = rigid.rotation_from_axis_angle(vector.astype(np.float32)).numpy()
    chains = np.array([skeleton.FINGER_SPHERES[f] for f in skeleton.FINGERS])
    moved = chains[finger][:, 2 * (number - 1) :]
    joint_mm = hands.joints_mm[rows, bone][:, None]
    centers_mm = hands.centers_mm.copy()
    # x_mn' = R_m (x_mn - joint_m) + joint_m
    arms_mm = centers_mm[rows[:, None], moved] - joint_mm
    centers_mm[rows[:, None], moved] = np.einsum("mij,mnj->mni", rotation, arms_mm) + joint_mm
    return centers_mm


def make_faults(hands, random):
    """Returns a dict from a fault to hands [M, 41, 3] that have it."""
    lowest_deg = np.degrees(template.ANGLE_RANGES_RAD[:, 0])
    sides = random.choice([-1.0, 1.0], size=len(hands.centers_mm))

    def turned(number, axis, degrees):
        return turn_outer_bones(hands, random, number, axis, degrees)

    return {
        "tip moved by 20 mm": move_tips(hands, random)[0],
        "end joint 60 degrees back": turned(3, 0, lambda joint, now: -END_DEG - now),
        "middle joint 45 degrees beyond its range": turned(
            2, 0, lambda joint, now: lowest_deg[joint] - MIDDLE_DEG - now
        ),
        "middle joint 45 degrees sideways": turned(2, 2, lambda joint, now: MIDDLE_DEG * sides),
        "end joint 60 degrees back from where it is": turned(3, 0, lambda joint, now: -END_DEG),
    }


def evaluate(prior, centers_mm):
    """Returns the term [M] as training evaluates it, with sampled latents."""
    return prior.negative_elbo(tf.constant(centers_mm, tf.float32)).numpy()


def report_detection(report, prior, valid, hands):
    values = evaluate(prior, valid.centers_mm)
    threshold = np.percentile(values, QUANTILE)
    rows, detections = [["valid", np.mean(values), 100 - QUANTILE]], []
    for name, centers_mm in make_faults(hands, np.random.default_rng(5)).items():
        faulty = evaluate(prior, centers_mm)
        detections.append(100.0 * np.mean(faulty > threshold))
        rows.append([name, np.mean(faulty), detections[-1]])
    report.table(
        f"The term, nats a coordinate; rejected above {threshold:.3f}",
        ["hands", "mean", "rejected, %"],
        rows,
    )
    report.target(
        "Rejected of each of the first four faults, %",
        min(detections[:-1]),
        least=LEAST_DETECTION_PERCENT,
    )


def report_latents(report, prior, valid):
    posterior = prior.encode(prior.align(valid.centers_mm)[0])
    mean, variance = posterior.mean(), posterior.variance()
    # KL(N(m, v) || N(0, 1)) of each latent.
    nats = 0.5 * tf.reduce_mean(mean**2 + variance - 1.0 - tf.math.log(variance), axis=0).numpy()
    report.table(
        "Latents",
        ["", "value"],
        [
            ["all", len(nats)],
            [f"used: divergence above {USED_NATS} nats", int(np.sum(nats > USED_NATS))],
            ["divergence, nats", float(np.sum(nats))],
        ],
    )


def report_reconstruction(report, prior, valid):
    rows = []
    for name, sample in (("mean latent", False), ("sampled latents", True)):
        error_mm = np.linalg.norm(
            prior.reconstruct(valid.centers_mm, sample).numpy() - valid.centers_mm, axis=-1
        )
        rows.append([name, *(float(np.mean(error_mm[:, part])) for part in PARTS.values())])
    report.table("Mean distance of a sphere from its reconstruction, mm", ["", *PARTS], rows)
    report.target("Tips, sampled latents, mm", rows[1][2], most=MOST_TIP_MM)


@tf.function(autograph=False, reduce_retracing=True)
def evaluate_gradient(prior, centers_mm):
    with tf.GradientTape() as tape:
        tape.watch(centers_mm)
        value = tf.reduce_sum(prior.negative_elbo(centers_mm))
    return tape.gradient(value, centers_mm)


def report_gradients(report, prior, hands):
    random = np.random.default_rng(6)
    noise_mm = random.normal(size=hands.centers_mm.shape)
    rows = []
    for name, centers_mm in {
        "valid": hands.centers_mm,
        "5 mm noise": hands.centers_mm + 5.0 * noise_mm,
        "20 mm noise": hands.centers_mm + 20.0 * noise_mm,
        "200 mm noise": hands.centers_mm + 200.0 * noise_mm,
        "tip moved by 20 mm": move_tips(hands, random)[0],
    }.items():
        gradient = evaluate_gradient(prior, tf.constant(centers_mm, tf.float32)).numpy()
        norm = np.linalg.norm(gradient, axis=-1)
        shares = [
            100.0 * float(np.mean(norm[:, group].sum(axis=1) / norm.sum(axis=1)))
            for group in GROUPS.values()
        ]
        sizes = np.sqrt(np.sum(norm**2, axis=1))
        rows.append([name, *shares, float(np.median(sizes)), float(np.max(sizes))])
    columns = ["hands", *(f"{name}, %" for name in GROUPS), "median norm", "largest"]
    report.table("Gradient: shares of its length, and its norm in nats a coordinate and mm",
                 columns, rows)  # fmt: skip


def descend(prior, centers_mm):
    """Returns centers after Adam on the term alone."""
    variable = tf.Variable(centers_mm, dtype=tf.float32)
    optimizer = tf.keras.optimizers.Adam(
        tf.keras.optimizers.schedules.CosineDecay(DESCENT_RATE_MM, DESCENT_STEPS)
    )
    for _ in range(DESCENT_STEPS):
        optimizer.apply_gradients([(evaluate_gradient(prior, variable.value()), variable)])
    return variable.numpy()


def report_descent(report, prior, hands):
    hands = Hands(**{k: v[:DESCENT] for k, v in vars(hands).items()})
    random = np.random.default_rng(7)
    noise = random.normal(size=hands.centers_mm.shape)
    moved, finger = move_tips(hands, random)
    rows = []
    for name, start in {
        "valid": hands.centers_mm,
        "5 mm noise": hands.centers_mm + 5.0 * noise,
        "10 mm noise": hands.centers_mm + 10.0 * noise,
        "tip moved by 20 mm": moved,
    }.items():
        before, after = (
            np.linalg.norm(x - hands.centers_mm, axis=-1) for x in (start, descend(prior, start))
        )
        index = np.arange(len(before))[:, None]
        tips = TIPS[finger][:, None] if name.startswith("tip") else TIPS[None]
        errors = before, after, before[index, tips], after[index, tips]
        rows.append([name, *(float(np.mean(error_mm)) for error_mm in errors)])
    report.table(
        f"Distance from the true centers before and after {DESCENT_STEPS} steps of Adam on the "
        "term alone, mm; of a moved tip, that tip",
        ["start", "all before", "after", "tips before", "after"],
        rows,
    )


def train(steps, seed):
    """Trains a prior as `tfhand.train` does."""
    from tfhand.hand import statistics
    from tfhand.training import optimization, options, prior_trainer

    palm_mm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
    with tempfile.TemporaryDirectory() as folder:
        return prior_trainer.train_prior(
            statistics.sample_spheres,
            pose_prior.PosePriorConfig(palm_mm.tolist()),
            options.PriorOptions(steps=steps),
            seed,
            optimization.TrainingRun(pathlib.Path(folder), "prior", options.RunOptions()),
        )


def main(flag_values):
    report = measure.Report(__file__, "The pose prior")
    if flag_values.prior:
        prior = pose_prior.load_prior(flag_values.prior)
    else:
        prior = train(flag_values.steps, flag_values.seed)
    measure_prior(report, prior)
    report.write(flag_values.output)


def measure_prior(report, prior):
    """Adds all tables."""
    tf.random.set_seed(0)
    valid, hands = draw_hands(101, VALID), draw_hands(102, FAULTY)
    report_detection(report, prior, valid, hands)
    report_latents(report, prior, valid)
    report_reconstruction(report, prior, valid)
    report_gradients(report, prior, hands)
    report_descent(report, prior, hands)


if __name__ == "__main__":
    commands.run(main, define_flags)
