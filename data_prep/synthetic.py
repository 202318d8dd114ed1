"""Makes the embedded recording: moving hands seen by three cameras with a depth sensor's faults.

    python -m data_prep.synthetic --output_dir=data --num_samples=4000

The hands are people whom the synthetic stage of training never draws: their proportions lie in
the outer part of the range, and their skin has bumps that the hand model does not know. Their
motions go from gesture to gesture before the first camera. Each camera image is rendered at the
sensor's own resolution, receives the sensor's faults there, and is cropped around a center found
in the depth alone, by the code that crops real recordings. Joints are stored for scoring.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from data_prep import motion, records
from tfhand import commands
from tfhand.geometry import crop, hand_center, rigid
from tfhand.hand import spheres, surface, template
from tfhand.synthesis import depth, sensor

__all__ = [
    "RECIPE",
    "Subject",
    "pose_hand",
    "render_views",
    "sample_subject",
    "write",
]

# Raised whenever the same arguments give another recording than before.
RECIPE = 2
NUM_VIEWS = 3
SUBJECTS = {"train": 4, "test": 2}
# A window of the sensor around the hand is rendered, at the sensor's own pixel pitch.
_WINDOW_PX = 320
_FOCAL_PX = 588.0
_SKIN_POINTS = 55000
_BATCH = 12
_WALL_BEHIND_MM = 500.0


@dataclasses.dataclass(frozen=True)
class Subject:
    """A person of the recording.

    Attributes:
        name: For the records.
        shape: float32 [14], see `template.SHAPE_NAMES`.
        skin: `surface.Skin` with this person's own bumps.
    """

    name: str
    shape: np.ndarray
    skin: surface.Skin


def sample_subject(rng, name):
    """Draws a person.

    The synthetic stage cuts shapes off at two standard deviations a parameter, so whoever has a
    parameter beyond is new to it: one or two of the parameters are put there.

    Args:
        rng: `np.random.Generator`.
        name: For the records.

    Returns:
        `Subject`.
    """
    deviations = rng.normal(0.0, 0.9, len(template.SHAPE_NAMES)).clip(-1.8, 1.8)
    odd = rng.choice(len(deviations) - 1, rng.integers(1, 3), replace=False)
    deviations[odd] = rng.choice([-1.0, 1.0], len(odd)) * rng.uniform(2.05, 2.5, len(odd))
    skin = surface.sample_skin(_SKIN_POINTS)
    bumps = np.zeros(len(skin.points_mm), np.float32)
    for _ in range(6):
        # Waves of 25 to 80 mm over the skin, 1.2 mm in all.
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / (np.linalg.norm(wave) * rng.uniform(25.0, 80.0))
        bumps += 0.7 * np.cos(skin.points_mm @ wave + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    skin = dataclasses.replace(skin, points_mm=skin.points_mm + bumps[:, None] * skin.normals)
    return Subject(name, (deviations * template.SHAPE_STDDEV).astype(np.float32), skin)


def render_views(subject_points, joints_mm, view_from_ref, rng):
    """Renders the hand for every camera and applies the sensor's faults.

    Args:
        subject_points: float32 [B, 3, M], skin in the first camera's frame, mm.
        joints_mm: float32 [B, J, 3], in the same frame.
        view_from_ref: float32 [V, 4, 4].
        rng: `tf.random.Generator`.

    Returns:
        (depth_mm [B * V, H, W], 0 = no reading; intrinsics [B * V, 4] of the window;
        joints_mm [B, V, J, 3], camera frames). Views of a sample are neighbors.
    """
    num_views = view_from_ref.shape[0]
    batch = tf.shape(joints_mm)[0]
    rotation, translation = view_from_ref[None, :, :3, :3], view_from_ref[None, :, :3, 3]
    points = rotation @ subject_points[:, None] + translation[..., None]
    joints = tf.matmul(joints_mm[:, None], rotation, transpose_b=True) + translation[:, :, None]
    flat = tf.reshape(joints, [batch * num_views, -1, 3])
    middle = tf.reduce_mean(flat, axis=1)
    # The window's corner lies on whole pixels of the sensor, whose principal point is (320, 240).
    center = tf.constant([[320.0, 240.0]])
    corner = tf.round(_FOCAL_PX * middle[:, :2] / middle[:, 2:] + center) - _WINDOW_PX // 2
    focal = tf.fill([batch * num_views, 2], _FOCAL_PX)
    intrinsics = tf.concat([focal, center - corner], axis=1)
    points = tf.reshape(points, [batch * num_views, 3, -1])
    image = depth.splat_perspective(points, intrinsics, _WINDOW_PX, _WINDOW_PX, footprint=2)
    wall = middle[:, 2, None, None] + _WALL_BEHIND_MM + tf.zeros_like(image)
    image = sensor.add_background(image, wall)
    image = sensor.edge_jitter(image, rng, 0.8)
    image = sensor.shadow_holes(image)
    image = sensor.grazing_dropout(image, rng)
    image = sensor.missing_blobs(image, rng, share=0.015, cells=14)
    return sensor.disparity_noise(image, rng), intrinsics, joints


@tf.function(reduce_retracing=True)
def _make_batch(points, joints, view_from_ref, rng, spec):
    """Renders, faults, finds centers and crops; the values of a record by name."""
    num_views = view_from_ref.shape[0]
    images, intrinsics, joints = render_views(points, joints, view_from_ref, rng)
    batch = tf.shape(joints)[0]
    ref_from_view = tf.tile(rigid.inverse(view_from_ref)[None], [batch, 1, 1, 1])
    centers, _, _ = hand_center.find_hand_in_views(
        tf.reshape(images, [batch, num_views, _WINDOW_PX, _WINDOW_PX]),
        tf.reshape(intrinsics, [batch, num_views, 4]),
        ref_from_view,
    )
    crops = crop.crop_depth(images, intrinsics, tf.reshape(centers, [-1, 3]), spec)
    return {
        "depth_mm": tf.reshape(crops, [batch, num_views, spec.image_size, spec.image_size]),
        "center_mm": centers,
        "intrinsics": tf.reshape(intrinsics, [batch, num_views, 4]),
        "ref_from_view": ref_from_view,
        "joints_mm": joints,
    }


@tf.function(reduce_retracing=True)
def pose_hand(features, angles, shape, turn, position):
    """Poses a person's hand before the first camera.

    Args:
        features: float32 [M, 4 * K], `surface.skinning_features` of the person's skin.
        angles: float32 [B, 23], radians.
        shape: float32 [B, 14].
        turn: float32 [B, 3, 3], rotation from the hand to the camera.
        position: float32 [B, 3], of the palm's center in the camera's frame, mm.

    Returns:
        (skin float32 [B, 3, M], joints float32 [B, 36, 3]), camera frame, mm.
    """
    palm = tf.constant([[0.0, 60.0, 0.0]])
    centers, _ = spheres.pose_spheres(angles, shape)
    joints = tf.matmul(spheres.joints_from_spheres(centers) - palm, turn, transpose_b=True)
    points = surface.pose_points(features, angles, shape, turn)
    shift = position - tf.linalg.matvec(turn, palm)
    return points + shift[..., None], joints + position[:, None]


def _samples(subject, recording, spec, rng):
    """Yields what `ShardWriter.write` takes, one sample at a time, without name and number."""
    view_from_ref = tf.constant(recording.view_from_ref)
    frames = len(recording.angles)
    features = tf.constant(surface.skinning_features(subject.skin))
    for start in range(0, frames, _BATCH):
        # The last batch is filled up with its last frame, so that shapes stay the same.
        part = np.minimum(np.arange(start, start + _BATCH), frames - 1)
        points, joints = pose_hand(
            features,
            recording.angles[part],
            np.tile(subject.shape, (_BATCH, 1)),
            recording.camera_from_hand[part],
            recording.position_mm[part],
        )
        batch = _make_batch(points, joints, view_from_ref, rng, spec)
        batch = {name: value.numpy() for name, value in batch.items()}
        for j in range(min(_BATCH, frames - start)):
            sample = {name: value[j] for name, value in batch.items()}
            sample["joint_mask"] = np.ones(sample["joints_mm"].shape[:2], np.int64)
            yield sample


def write(output_dir, num_samples, spec, *, test_share=0.2, num_shards=4, seed=1, overwrite=False):
    """Makes both splits of the recording and writes them.

    Args:
        output_dir: Folder for the shards.
        num_samples: Samples of both splits together.
        spec: `crop.CropSpec`.
        test_share: Share of the test split.
        num_shards: Shards a split.
        seed: Seed of everything that is drawn.
        overwrite: Replace splits that are already there.

    Returns:
        Dict of split to number of samples.
    """
    root = np.random.default_rng(seed)
    cameras = motion.place_cameras(root)
    num_test = max(round(num_samples * test_share), SUBJECTS["test"])
    # One generator for all: a new one would have the graphs traced again.
    noise = tf.random.Generator.from_seed(seed)
    written = {}
    for split, count in (("train", num_samples - num_test), ("test", num_test)):
        seeds = root.spawn(SUBJECTS[split])
        shares = np.diff(np.linspace(0, count, SUBJECTS[split] + 1).astype(int))
        writer = records.ShardWriter(
            output_dir,
            split,
            num_shards=num_shards,
            source=f"embedded recording, seed {seed}",
            spec=spec,
            num_views=NUM_VIEWS,
            overwrite=overwrite,
        )
        with writer, tqdm(total=count, desc=f"recording {split}", unit="sample") as progress:
            frame = 0
            for i, (rng, frames) in enumerate(zip(seeds, shares, strict=True)):
                subject = sample_subject(rng, f"{split}-{i}")
                recording = motion.make_recording(rng, int(frames), cameras)
                noise.reset_from_seed(int(rng.integers(2**31)))
                for sample in _samples(subject, recording, spec, noise):
                    writer.write(sample | {"subject": subject.name, "frame": frame})
                    frame += 1
                    progress.update()
            written[split] = writer.num_samples
    return written


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "output_dir", None, "Folder to write the shards to.", required=True, flag_values=flag_values
    )
    flags.DEFINE_integer(
        "num_samples", 4000, "Samples of both splits together.", 8, flag_values=flag_values
    )
    flags.DEFINE_float(
        "test_share", 0.2, "Share of the test split.", 0.0, 0.9, flag_values=flag_values
    )
    flags.DEFINE_integer("image_size", 64, "Side of the crops, px.", 8, flag_values=flag_values)
    flags.DEFINE_integer("num_shards", 4, "Shards a split.", 1, flag_values=flag_values)
    flags.DEFINE_integer(
        "seed", 1, "Seed of subjects, motion, cameras and faults.", flag_values=flag_values
    )
    flags.DEFINE_boolean(
        "overwrite", False, "Replace splits that are already there.", flag_values=flag_values
    )


def main(options):
    """Runs the command."""
    spec = crop.CropSpec(image_size=options.image_size)
    written = write(
        options.output_dir,
        options.num_samples,
        spec,
        test_share=options.test_share,
        num_shards=options.num_shards,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    for split, count in written.items():
        print(f"{options.output_dir}/{split}: {count} samples of {NUM_VIEWS} views")


if __name__ == "__main__":
    commands.run(main, define_flags)
