"""Each fault of the sensor against its closed form."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from tfhand.synthesis import sensor

FB = 588.0 * 75.0


def generator(seed=4):
    return tf.random.Generator.from_seed(seed)


def plane(depth_mm, shape=(2, 40, 50)):
    return np.full(shape, depth_mm, np.float32)


# Every fault, as a function of (depth, generator).
FAULTS = {
    "disparity_noise": sensor.disparity_noise,
    "edge_jitter": sensor.edge_jitter,
    "missing_blobs": lambda depth, rng: sensor.missing_blobs(depth, rng, share=0.2),
    "grazing_dropout": lambda depth, rng: sensor.grazing_dropout(depth, rng, pixel_mm=0.3),
    "shadow_holes": lambda depth, rng: sensor.shadow_holes(depth),
    "add_background": lambda depth, rng: sensor.add_background(depth, tf.zeros_like(depth)),
}


def test_every_fault_is_tested():
    parts = {"SHADOW_MARGIN_PX", "is_shadowed", "share_threshold", "smooth_field"}
    assert set(FAULTS) == set(sensor.__all__) - parts
    assert all(inspect.isfunction(getattr(sensor, name)) for name in FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_no_reading_stays_no_reading(name):
    faulty = FAULTS[name](plane(0.0), generator())
    np.testing.assert_array_equal(faulty, plane(0.0))
    assert faulty.dtype == tf.float32


@pytest.mark.parametrize("name", FAULTS)
def test_samples_do_not_see_each_other(name, rng):
    depth_mm = rng.uniform(700, 900, (3, 32, 40)).astype(np.float32)
    before = FAULTS[name](depth_mm, generator()).numpy()
    other = depth_mm.copy()
    other[0] = 0.0
    after = FAULTS[name](other, generator()).numpy()
    np.testing.assert_array_equal(before[1:], after[1:])
    assert (before[0] != after[0]).any()


@pytest.mark.parametrize("name", ["disparity_noise", "edge_jitter", "missing_blobs"])
def test_samples_draw_their_own_noise(name, rng):
    depth_mm = np.repeat(rng.uniform(700, 900, (1, 32, 40)).astype(np.float32), 2, axis=0)
    faulty = FAULTS[name](depth_mm, generator()).numpy()
    assert (faulty[0] != faulty[1]).any()


@pytest.mark.parametrize("name", FAULTS)
def test_graph_with_unknown_batch_equals_eager(name, rng):
    depth_mm = rng.uniform(700, 900, (3, 32, 40)).astype(np.float32)
    noise = generator()
    graph = tf.function(
        lambda depth: FAULTS[name](depth, noise),
        input_signature=[tf.TensorSpec([None, 32, 40])],
        autograph=False,
    )
    np.testing.assert_allclose(graph(depth_mm), FAULTS[name](depth_mm, generator()), atol=1e-3)


def test_disparity_steps_grow_with_the_square_of_the_distance():
    ramp = np.linspace(780, 820, 4000, dtype=np.float32)[None, None]
    rounded = sensor.disparity_noise(ramp, generator(), noise_px=0.0).numpy()
    levels = np.unique(rounded)
    # dz = z^2 step / (f b): 1/8 px at 800 mm. Levels are a little uneven over 40 mm.
    expected = 800.0**2 / (8 * FB)
    np.testing.assert_allclose(np.diff(levels).mean(), expected, rtol=0.01)
    assert abs(expected - 1.8) < 0.05, "what the docstring says"
    # Rounding moves a reading by half a step at most.
    assert np.abs(rounded - ramp).max() < 0.51 * 820.0**2 / (8 * FB)
    np.testing.assert_allclose(FB / levels * 8, np.round(FB / levels * 8), atol=0.01)


@pytest.mark.parametrize("noise_px", [0.2, np.full((2, 1, 1), 0.2, np.float32)])
def test_disparity_noise_has_the_wished_deviation(noise_px):
    faulty = sensor.disparity_noise(
        plane(800.0, (2, 200, 200)), generator(), step_px=1e-3, noise_px=noise_px
    ).numpy()
    np.testing.assert_allclose(faulty.std(), 0.2 * 800.0**2 / FB, rtol=0.03)


def test_no_disparity_is_ever_zero():
    faulty = sensor.disparity_noise(plane(1e6), generator(), noise_px=5.0).numpy()
    assert np.isfinite(faulty).all() and (faulty > 0).all()


def test_edge_jitter_of_zero_changes_nothing(rng):
    depth_mm = rng.uniform(700, 900, (2, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(sensor.edge_jitter(depth_mm, generator(), 0.0), depth_mm)


def test_edge_jitter_frays_only_near_edges():
    depth_mm = plane(800.0, (1, 60, 60))
    depth_mm[:, :, 30:] = 1200.0
    faulty = sensor.edge_jitter(depth_mm, generator(), 0.7).numpy()
    assert set(np.unique(faulty)) == {800.0, 1200.0}
    changed = (faulty != depth_mm).any(axis=(0, 1))
    # Five deviations of 0.7 px, rounded.
    assert changed.any() and not changed[:26].any() and not changed[34:].any()
    # A pixel beside the edge reads across it when the draw rounds to 1 or more: P(N > 0.5 / 0.7).
    np.testing.assert_allclose((faulty != depth_mm)[..., 30].mean(), 0.2375, atol=0.15)


def shadow_scene(near_mm=700.0, far_mm=1200.0):
    depth_mm = plane(far_mm, (1, 8, 200))
    depth_mm[:, :, 80:120] = near_mm
    return depth_mm


def test_shadow_lies_on_one_side_with_the_width_of_the_disparities():
    faulty = sensor.shadow_holes(shadow_scene()).numpy()
    columns = np.nonzero((faulty == 0).all(axis=(0, 1)))[0]
    width = FB / 700 - FB / 1200
    assert columns.min() == 120, "right of the near surface, from its edge on"
    assert len(columns) == columns.max() - columns.min() + 1
    # The margin leaves the last pixel of the shadow.
    assert abs(len(columns) - width) <= 1.5
    lit = np.setdiff1d(np.arange(200), columns)
    np.testing.assert_array_equal(faulty[..., lit], shadow_scene()[..., lit])


def test_smooth_surfaces_cast_no_shadow():
    u, v = np.meshgrid(np.arange(200), np.arange(50))
    bowl = (800 + 0.01 * (u - 100) ** 2 + 0.5 * v).astype(np.float32)[None]
    np.testing.assert_array_equal(sensor.shadow_holes(bowl), bowl)


def test_running_maximum_agrees_with_numpy(rng):
    x = rng.normal(size=(2, 3, 700)).astype(np.float32)
    np.testing.assert_array_equal(sensor._running_max(tf.constant(x)), np.maximum.accumulate(x, 2))


@pytest.mark.parametrize("cells", [10, 24])
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_blobs_take_their_share(share, cells):
    depth_mm = plane(800.0, (200, 40, 40))
    faulty = sensor.missing_blobs(depth_mm, generator(), share=share, cells=cells)
    # Few independent patches: the share of 200 images scatters by some 10 %.
    np.testing.assert_allclose((faulty.numpy() == 0).mean(), share, rtol=0.3)


def test_blobs_take_a_share_for_each_sample_and_are_connected():
    share = np.array([0.0, 0.5], np.float32)[:, None, None]
    lost = sensor.missing_blobs(plane(800.0, (2, 60, 60)), generator(), share=share).numpy() == 0
    assert not lost[0].any() and 0.2 < lost[1].mean() < 0.8
    # Patches, not pixels: nearly all neighbors share their fate.
    assert (lost[1][:, 1:] == lost[1][:, :-1]).mean() > 0.9


# Half of (slope / steep)^3, at most all.
@pytest.mark.parametrize(
    ("slope", "lost_share"), [(0.0, 0.0), (2.0, 0.0625), (4.0, 0.5), (8.0, 1.0)]
)
def test_grazing_surfaces_lose_their_share(slope, lost_share):
    pixel_mm = 1.4
    column = np.arange(50) * slope * pixel_mm + 800.0
    depth_mm = np.tile(column, (4, 50, 1)).astype(np.float32)
    faulty = sensor.grazing_dropout(depth_mm, generator(), pixel_mm=pixel_mm, steep=4.0).numpy()
    # The first column has no left neighbor but the last one, a jump.
    np.testing.assert_allclose((faulty[..., 1:] == 0).mean(), lost_share, atol=0.02)
    has_reading = faulty > 0
    np.testing.assert_array_equal(faulty[has_reading], depth_mm[has_reading])


def test_a_jump_between_surfaces_is_no_slope():
    depth_mm = shadow_scene()
    np.testing.assert_array_equal(sensor.grazing_dropout(depth_mm, generator()), depth_mm)


def test_background_stands_behind_the_hand():
    hand = plane(0.0, (1, 2, 2))
    hand[0, 0] = 800.0
    background = plane(1200.0, (1, 2, 2))
    background[0, :, 1] = [700.0, 0.0]
    both = sensor.add_background(hand, background).numpy()[0]
    np.testing.assert_array_equal(both, [[800.0, 700.0], [1200.0, 0.0]])
