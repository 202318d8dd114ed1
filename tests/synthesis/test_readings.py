"""Closed forms of the nearest reading against readings that are drawn one by one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.synthesis import devices, readings

SPEC = crop.CropSpec(image_size=32, cube_mm=150.0)
CLEAN = devices.DepthSensor(focal_px=588.0, steep=1e6)
DISTANCE_MM = 700.0
DRAWS = 20000


def uniform(rng, *shape):
    return tf.constant(rng.uniform(1e-6, 1.0, shape or (DRAWS,)), tf.float32)


def cameras(sensor, batch=8, z_mm=DISTANCE_MM):
    values = {name: tf.fill([batch], float(x)) for name, x in dataclasses.asdict(sensor).items()}
    return devices.Cameras(tf.constant(np.tile(np.float32([0, 0, z_mm]), (batch, 1))), values)


def faulty_plane(sensor, slope=0.0, z_mm=DISTANCE_MM):
    """Faults added to a plane that rises along x: (depth before, depth after)."""
    x = crop.pixel_centers_mm(SPEC).numpy()
    plane = np.tile(slope * x, (8, 32, 1)).astype(np.float32)
    draws = readings.draw(tf.random.Generator.from_seed(2), 8, SPEC)
    return plane, readings.add_faults(plane, cameras(sensor, z_mm=z_mm), draws, SPEC).numpy()


@pytest.mark.parametrize("count", [1, 4, 15])
def test_minimum_of_many_draws(rng, count):
    drawn = rng.normal(size=(DRAWS, count)).min(axis=1)
    closed = readings.nearest_of(float(count), uniform(rng)).numpy()
    # A mean of 20,000 draws scatters by 0.007.
    np.testing.assert_allclose(closed.mean(), drawn.mean(), atol=0.03)
    np.testing.assert_allclose(closed.std(), drawn.std(), atol=0.03)


# Depth from one row of readings to the next, in deviations of the noise: flat, and ever steeper.
@pytest.mark.parametrize("step", [0.0, 0.3, 1.0, 4.0])
def test_minimum_on_a_slope(rng, step):
    side = 4
    depth = step * np.arange(side)[:, None] + rng.normal(size=(DRAWS, side, side))
    rate = readings.tail_rate(float(side**2)).numpy()
    count = side * readings.effective_count(float(side), rate * step)
    closed = readings.nearest_of(count, uniform(rng)).numpy()
    np.testing.assert_allclose(closed.mean(), depth.min(axis=(1, 2)).mean(), atol=0.12)


@pytest.mark.parametrize("window", [1.0, 3.0, 5.0])
def test_windows_that_a_pixel_meets(rng, window):
    pitch_mm = 1.2
    first = rng.uniform(0, pitch_mm, DRAWS)
    last = first + np.floor((SPEC.pixel_mm - first) / pitch_mm) * pitch_mm
    phase = rng.uniform(0, window * pitch_mm, DRAWS)
    met = np.floor((last + phase) / (window * pitch_mm)) - np.floor(
        (first + phase) / (window * pitch_mm)
    )
    closed = readings.windows_across(pitch_mm, window, SPEC)
    np.testing.assert_allclose(closed, (met + 1.0).mean(), rtol=0.03)


@pytest.mark.parametrize("count", [1.0, 1.3, 2.6])
def test_a_pixel_is_lost_with_all_of_its_readings(rng, count):
    few = int(count)
    across, along = (few + (rng.random(DRAWS) < count - few) for _ in range(2))
    lost = [rng.random(n) < 0.5 for n in across * along]
    np.testing.assert_allclose(
        readings.all_lost(0.5, count), np.mean([x.all() for x in lost]), atol=0.015
    )


def loop_reach(rng, pitch_mm, jitter_px, angle):
    """Reach of a straight edge's silhouette, mm along the axes: readings drawn one by one."""
    normal = np.array([np.cos(angle), np.sin(angle)])
    offsets = np.linspace(-7.0, 7.0, 57)
    half = 0.5 * SPEC.pixel_mm
    covered = np.zeros(len(offsets))
    steps = np.arange(-6, 7) * pitch_mm
    for _ in range(400):
        at = [rng.uniform(0, pitch_mm) + steps for _ in range(2)]
        at = np.stack(np.meshgrid(*(x[np.abs(x) < half] for x in at)), -1).reshape(-1, 2)
        moved = at + pitch_mm * np.rint(jitter_px * rng.normal(size=at.shape))
        covered += (moved @ normal).min() < offsets
    # The surface covers all before the offset; a pixel's own corner reaches `half` in each axis.
    threshold = np.interp(200.0, covered, offsets)
    return -threshold / normal.sum() - half


@pytest.mark.parametrize("jitter_px", [0.0, 0.5, 0.8])
def test_reach_of_a_silhouette(rng, jitter_px):
    pitch_mm = DISTANCE_MM / CLEAN.focal_px
    angles = np.linspace(0.0, np.pi / 4, 5)
    drawn = np.mean([loop_reach(rng, pitch_mm, jitter_px, angle) for angle in angles])
    sensor = dataclasses.replace(CLEAN, jitter_px=jitter_px)
    pitch = tf.fill([8, 1], pitch_mm)
    closed = readings.edge_reach_mm(pitch, tf.fill([8, 1], False), cameras(sensor).sensor, SPEC)
    # 0.16 mm are 1 % of a hand's pixels.
    np.testing.assert_allclose(-closed.numpy()[0, 0], -drawn, atol=0.16)


@pytest.mark.parametrize("name", devices.SENSORS)
def test_background_stays_and_surfaces_stay_in_the_cube(name):
    sensor = devices.SENSORS[name]
    plane = np.full((8, 32, 32), SPEC.far_mm, np.float32)
    draws = readings.draw(tf.random.Generator.from_seed(2), 8, SPEC)
    faulty = readings.add_faults(plane, cameras(sensor), draws, SPEC).numpy()
    np.testing.assert_array_equal(faulty, plane)
    _, faulty = faulty_plane(sensor, slope=1.0)
    assert np.isfinite(faulty).all() and (np.abs(faulty) <= SPEC.far_mm).all()


def test_a_sensor_without_faults_changes_nothing():
    plane, faulty = faulty_plane(CLEAN, slope=0.5)
    np.testing.assert_allclose(faulty, plane, atol=1e-3)


def test_disparity_noise_grows_with_the_square_of_the_distance_and_range_noise_with_it():
    stereo = dataclasses.replace(CLEAN, baseline_mm=75.0, disparity_noise_px=0.05, window_px=50.0)
    flight = dataclasses.replace(CLEAN, range_noise_mm=2.0, window_px=50.0)
    # A window as wide as the crop leaves each pixel one reading, but for one in 20.
    for sensor, ratio in ((stereo, 4.0), (flight, 2.0)):
        near, far = (faulty_plane(sensor, z_mm=z)[1].std() for z in (400.0, 800.0))
        np.testing.assert_allclose(far / near, ratio, rtol=0.1)
    np.testing.assert_allclose(far, 0.8 * 2.0, rtol=0.1)


def test_flying_readings_lie_on_the_rays_of_the_edge():
    depth_mm = np.full((8, 32, 32), SPEC.far_mm, np.float32)
    depth_mm[:, 10:20, 10:20] = -20.0
    sensor = dataclasses.replace(CLEAN, flying=1.0)
    draws = readings.draw(tf.random.Generator.from_seed(2), 8, SPEC)
    depths, pixels = readings.flying_readings(depth_mm, cameras(sensor), draws, SPEC)
    is_seen = pixels.numpy() >= 0
    _, _, rows, columns = np.nonzero(is_seen)
    on_edge = (rows == 10) | (rows == 19) | (columns == 10) | (columns == 19)
    assert is_seen.any() and on_edge.all()
    depths = depths.numpy()[is_seen]
    assert (depths > -20.0).all() and (depths < SPEC.far_mm).all()
    centers = crop.pixel_centers_mm(SPEC).numpy()
    for start, target in ((rows, pixels.numpy()[is_seen] // 32 % 32),):
        along = centers[start] * (DISTANCE_MM + depths) / (DISTANCE_MM - 20.0)
        expected = np.floor((along + SPEC.far_mm) / SPEC.pixel_mm)
        assert (np.abs(expected - target) <= 1e-6).mean() > 0.99
