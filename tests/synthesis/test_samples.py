"""Synthetic crops: labels lie in the hand that is seen, faults stay within bounds."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.hand import skeleton, spheres
from tfhand.synthesis import readings, samples

SPEC = crop.CropSpec(image_size=32)
CLEAN_64 = samples.SyntheticConfig(noise="none")
CLEAN = samples.SyntheticConfig(points=4000, noise="none")
NOISY = samples.SyntheticConfig(points=4000)
GAUSSIAN = samples.SyntheticConfig(points=4000, noise="gaussian")

pytestmark = pytest.mark.usefixtures("eagerly")


def generator(seed=4):
    return tf.random.Generator.from_seed(seed)


@pytest.fixture(scope="module")
def clean():
    batch = samples.sample_batch(generator(), 48, SPEC, CLEAN)
    return {name: value.numpy() for name, value in batch.items()}


def test_shapes_and_background(clean):
    assert clean["depth_mm"].shape == (48, 32, 32)
    assert clean["spheres_mm"].shape == (48, 41, 3)
    assert clean["depth_mm"].dtype == clean["spheres_mm"].dtype == np.float32
    foreground = np.asarray(crop.foreground_mask(clean["depth_mm"], SPEC.cube_mm))
    assert (clean["depth_mm"][~foreground] == SPEC.far_mm).all()
    assert (clean["depth_mm"] >= -SPEC.far_mm).all()
    assert (foreground.mean(axis=(1, 2)) > 0.04).all()


def test_labels_lie_behind_the_surface_that_is_seen(clean):
    centers = clean["spheres_mm"]
    inside = (np.abs(centers) < SPEC.far_mm).all(axis=-1)
    assert inside.mean() > 0.97
    pixel = np.floor((centers + SPEC.far_mm) / SPEC.pixel_mm).astype(int).clip(0, 31)
    sample = np.arange(48)[:, None]
    seen = clean["depth_mm"][sample, pixel[..., 1], pixel[..., 0]]
    ahead = centers[..., 2] - seen
    # The surface over a center is nearer by about the radius; another finger may be nearer still.
    assert (ahead[inside] > -2.0).mean() > 0.98
    in_the_open = inside & (ahead < 30.0)
    assert in_the_open.mean() > 0.5
    radii = np.broadcast_to(spheres.load().radii_mm, ahead.shape)
    assert abs(np.median((ahead - radii)[in_the_open])) < 3.0


def fingers_straight(share, pose_share=1.0):
    """A recording of flat hands that point up before one camera and down before another."""
    turns = np.stack([np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, 1.0, -1.0])])
    angles = np.tile(np.float32(0.1), (3, 23))
    return samples.ReferencePoses(
        angles,
        np.tile(turns[None].astype(np.float32), (3, 1, 1, 1)),
        share=share,
        pose_share=pose_share,
        angle_stddev=0.05,
        turn_stddev=0.1,
    )


def middle_finger_directions(batch):
    """Where the straight middle finger of each sample points in the image, [B, 2]."""
    chain = batch["spheres_mm"].numpy()[:, skeleton.FINGER_SPHERES["MIDDLE"]]
    along = chain[:, -1] - chain[:, 0]
    return along[:, :2] / np.linalg.norm(along, axis=-1, keepdims=True)


def test_hands_are_drawn_near_reference_poses():
    batch = samples.sample_batch(generator(), 64, SPEC, CLEAN, fingers_straight(1.0))
    direction = middle_finger_directions(batch)
    assert (np.abs(direction[:, 1]) > 0.8).all()
    # Both cameras, about alike: 64 draws of 1/2 stay within 16 of 32 but once in 10,000.
    assert 16 < (direction[:, 1] < 0).sum() < 48


def test_viewpoints_of_a_recording_with_other_poses():
    reference = fingers_straight(1.0, pose_share=0.0)
    batch = samples.sample_batch(generator(), 256, SPEC, CLEAN, reference)
    bent = np.abs(middle_finger_directions(batch)[:, 1]) < 0.9
    assert 0.2 < bent.mean() < 0.95
    # The palm still faces or shows its back: wrist to palm center runs up or down.
    spheres_mm = batch["spheres_mm"].numpy()
    palm = spheres_mm[:, 2] - 0.5 * (spheres_mm[:, 0] + spheres_mm[:, 1])
    steep = np.abs(palm[:, 1]) / np.linalg.norm(palm, axis=-1)
    assert (steep > 0.8).all()


def test_share_of_reference_poses():
    batch = samples.sample_batch(generator(), 400, SPEC, CLEAN, fingers_straight(0.25))
    near = np.abs(middle_finger_directions(batch)[:, 1]) > 0.9
    everything = samples.sample_batch(generator(), 400, SPEC, CLEAN)
    chance = (np.abs(middle_finger_directions(everything)[:, 1]) > 0.9).mean()
    # 400 draws: three standard deviations of a share are 0.07.
    assert abs(near.mean() - (0.25 + 0.75 * chance)) < 0.1


def test_surface_without_holes():
    depth_mm = samples.sample_batch(generator(), 16, crop.CropSpec(), CLEAN_64)["depth_mm"].numpy()
    mask = np.asarray(crop.foreground_mask(depth_mm, 300.0))
    around = sum(np.roll(mask, s, axis) for s in (1, -1) for axis in (1, 2))
    holes = ~mask & (around == 4)
    assert holes.sum() < 0.003 * mask.sum()


def test_mean_of_the_spheres_is_near_the_center(clean):
    offset = clean["spheres_mm"].mean(axis=1)
    # A normal cut off at two deviations has 0.88 of its deviation.
    np.testing.assert_allclose(offset.std(), 0.88 * CLEAN.center_stddev_mm, rtol=0.2)
    assert np.abs(offset).max() <= 2.001 * CLEAN.center_stddev_mm


def test_faults_keep_most_of_the_surface_where_it_was():
    hands, _ = samples.draw_hands(generator(), 48)
    draws = readings.draw(generator(), 48, SPEC)
    depth_mm = samples.render_crops(hands, SPEC, 4000).numpy()
    noisy = samples.render_crops(hands, SPEC, 4000, draws).numpy()
    before, after = (np.asarray(crop.foreground_mask(d, SPEC.cube_mm)) for d in (depth_mm, noisy))
    assert (noisy[~after] == SPEC.far_mm).all() and np.isfinite(noisy).all()
    kept = (before & after).sum() / before.sum()
    assert 0.8 < kept < 0.99
    moved = np.abs(noisy - depth_mm)[before & after]
    assert 0.2 < np.median(moved) < 3.0
    assert ((moved > 20.0).mean()) < 0.1, "edges alone move far"


def test_gaussian_noise_moves_readings_along_the_axis_and_edges_beside_it(clean):
    depth_mm = clean["depth_mm"]
    noisy = samples.gaussian_depth(depth_mm, generator(), SPEC).numpy()
    before, after = (np.asarray(crop.foreground_mask(d, SPEC.cube_mm)) for d in (depth_mm, noisy))
    assert (noisy[~after] == SPEC.far_mm).all() and (noisy >= -SPEC.far_mm).all()
    assert 0.8 < (before & after).sum() / before.sum() < 0.98
    # Inside a surface half of the readings move by 0.67 deviations, and a little by the jitter.
    assert 3.0 < np.median(np.abs(noisy - depth_mm)[before & after]) < 6.5


@pytest.mark.parametrize("config", [NOISY, GAUSSIAN], ids=["sensor", "gaussian"])
def test_noise_makes_samples_of_the_same_hands_differ(config):
    a = samples.sample_batch(generator(), 8, SPEC, CLEAN)
    b = samples.sample_batch(generator(), 8, SPEC, config)
    np.testing.assert_allclose(a["spheres_mm"], b["spheres_mm"], atol=1e-3)
    assert (a["depth_mm"].numpy() != b["depth_mm"].numpy()).any()


def test_samples_follow_the_seed():
    a, b, c = (samples.sample_batch(generator(s), 8, SPEC, NOISY) for s in (1, 1, 2))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert (a[name].numpy() != c[name].numpy()).any()


def test_what_xla_compiles_draws_the_same_in_a_graph(compiled):
    noise = generator()
    graph = tf.function(lambda: samples.sample_batch(noise, 8, SPEC, NOISY), autograph=False)
    first, second = graph(), graph()
    assert (first["depth_mm"].numpy() != second["depth_mm"].numpy()).any()
    tf.config.run_functions_eagerly(True)
    expected = samples.sample_batch(generator(), 8, SPEC, NOISY)
    np.testing.assert_allclose(first["spheres_mm"], expected["spheres_mm"], atol=1e-3)
    # Round-off decides on which side of a threshold a reading falls.
    difference = np.abs(first["depth_mm"] - expected["depth_mm"])
    assert (difference < 0.01).mean() > 0.995


def test_no_finger_is_left_behind(clean):
    # The palm is near the mean, tips are farther: names and order of the labels survive.
    centers = clean["spheres_mm"]
    for finger in skeleton.FINGERS:
        chain = centers[:, skeleton.FINGER_SPHERES[finger]]
        bone = np.linalg.norm(np.diff(chain, axis=1), axis=-1)
        assert (bone > 5.0).all() and (bone < 45.0).all()


@pytest.mark.parametrize("noise", ["sensors", True, None])
def test_a_noise_that_is_none_of_them_is_named(noise):
    with pytest.raises(ValueError, match=f"received {noise!r}"):
        samples.SyntheticConfig(noise=noise)


@pytest.mark.parametrize("sensors", [(), ("sonar",), ("stereo", "sonar")])
def test_an_unknown_sensor_is_named(sensors):
    with pytest.raises(ValueError, match="Expected sensors to be some of"):
        samples.SyntheticConfig(sensors=sensors)
