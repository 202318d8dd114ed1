"""Fits that become targets; batches, groups and the gate, with fits replaced by bookkeeping."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import rotations
from tfhand.fitting import batched_fits, kinematic_fit, pseudo_labels
from tfhand.geometry import crop, rigid
from tfhand.hand import template

SPEC = crop.CropSpec(image_size=8, cube_mm=300.0)
COUNT, VIEWS = 17, 2
NUM_SHAPES = len(template.SHAPE_NAMES)
FLOAT_MM = 1e-3


class Bookkeeper:
    """Stands in for `Fitter`: a "fit" is the estimate moved by 1 mm, its residual is marked in
    the depth map, and a subject's shape counts the samples that it was fitted to."""

    last = None

    def __init__(self, batch, num_views, num_groups, spec, config):
        del spec, config
        type(self).last = self
        self.batch, self.num_views, self.num_groups = batch, num_views, num_groups
        self.calls, self.samples_of_shapes = [], []

    def fit(self, estimate_mm, samples, shape, fit_shape, starts_mm):
        np.testing.assert_array_equal(starts_mm, starts_of(estimate_mm))
        depth_mm, group = samples.depth_mm, samples.group
        for values in (estimate_mm, depth_mm, samples.ref_from_crop, group):
            assert len(values) == self.batch
        self.calls.append((fit_shape, depth_mm[:, 0, 0, 0].copy(), np.array(shape)))
        if fit_shape:
            counts = np.bincount(group, minlength=self.num_groups)
            self.samples_of_shapes.append(counts)
            shape = np.tile(counts[:, None], (1, NUM_SHAPES)).astype(np.float32)
        number = depth_mm[:, 0, 0, 0]
        angles = np.tile(number[:, None], (1, 23))
        turns = number[:, None, None] * np.eye(3)
        radii = np.ones([self.batch, 41])
        # The palm of every sample is worse than that of the one before, the thumb is hidden.
        of_parts = np.stack([number, *[np.ones(self.batch)] * 5], axis=1)
        pixels = np.tile([100.0, 100.0, 100.0, 100.0, 100.0, 3.0], (self.batch, 1))
        return kinematic_fit.FitResult(
            estimate_mm + 1.0, radii, angles, turns, number, number, of_parts, pixels, shape
        )


def starts_of(estimate):
    """Returns estimates of two views [n, 2, 41, 3] whose median is the one that is given."""
    return np.stack([estimate - 2.0, estimate + 2.0], axis=1)


@pytest.fixture
def inputs(monkeypatch):
    """Depth maps numbered in shuffled order; the estimate of a sample holds its number."""
    monkeypatch.setattr(kinematic_fit, "compiled_fitter", Bookkeeper)
    monkeypatch.setattr(batched_fits, "_BATCH", 6)
    monkeypatch.setattr(batched_fits, "_LEAST_SHAPE_SAMPLES", 2)
    # From 1: a residual of 0 means that nothing was seen.
    number = 1.0 + np.random.default_rng(1).permutation(COUNT).astype(np.float32)
    estimate = np.tile(number[:, None, None], (1, 41, 3))
    monkeypatch.setattr(pseudo_labels, "estimates_in_ref", lambda *args: starts_of(estimate))
    depth = np.tile(number[:, None, None, None], (1, VIEWS, 8, 8))
    ref_from_crop = np.tile(np.eye(4, dtype=np.float32), (COUNT, VIEWS, 1, 1))
    return number, kinematic_fit.Samples(depth, ref_from_crop, np.arange(COUNT) % 3, SPEC)


def make(samples, share, parts_share=1.0, shape=None, most_mm=100.0):
    """Pseudo-labels; estimates are those of the fixture, whatever the network."""
    gate = pseudo_labels.Gate(share, parts_share, most_mm)
    return pseudo_labels.make_pseudo_labels(None, samples, kinematic_fit.FitConfig(), gate, shape)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_gate_keeps_its_share_of_the_smallest_residuals(inputs, share):
    number, samples = inputs
    labels = make(samples, share)
    np.testing.assert_array_equal(labels.residual_mm, number)
    # Quantiles between samples are interpolated: the smallest is always kept.
    assert labels.is_inlier.sum() == int(share * (COUNT - 1)) + 1
    assert number[labels.is_inlier].max() < number[~labels.is_inlier].min(initial=COUNT + 1)


def test_parts_are_judged_among_their_like(inputs):
    number, samples = inputs
    labels = make(samples, 0.5, 0.5)
    assert labels.is_inlier.sum() == 9
    limit = np.quantile(number[labels.is_inlier], 0.5)
    np.testing.assert_array_equal(labels.is_part_inlier[:, 0], labels.is_inlier & (number <= limit))
    for finger in range(1, 5):
        np.testing.assert_array_equal(labels.is_part_inlier[:, finger], labels.is_inlier)
    assert not labels.is_part_inlier[:, 5].any()


def test_all_parts_of_a_fit_that_are_seen_are_kept_by_default(inputs):
    _, samples = inputs
    labels = make(samples, 0.5)
    # No view shows the thumb.
    expected = labels.is_inlier[:, None] & [True, True, True, True, True, False]
    np.testing.assert_array_equal(labels.is_part_inlier, expected)


def test_however_many_fits_are_off_none_of_them_is_kept(inputs):
    number, samples = inputs
    labels = make(samples, 1.0, most_mm=7.0)
    np.testing.assert_array_equal(labels.is_inlier, number <= 7.0)


def test_one_finger_may_be_off_but_not_two_nor_the_palm():
    of_parts = np.full([5, 6], 3.0, np.float32)
    of_parts[1, 2], of_parts[2, 2:4], of_parts[3, 0] = 9.0, 9.0, 9.0
    pixels = np.full([5, 6], 100.0, np.float32)
    # Two fingers that are hidden can be anywhere.
    of_parts[4, 2:4], pixels[4, 2:4] = 9.0, 3.0
    hands, residual_mm = [None] * 4, np.full(5, 3.0)
    fits = kinematic_fit.FitResult(*hands, residual_mm, residual_mm, of_parts, pixels, None)
    is_inlier, is_part_inlier = pseudo_labels._judge(fits, pseudo_labels.Gate())
    np.testing.assert_array_equal(is_inlier, [True, True, False, False, True])
    assert is_part_inlier.sum(axis=1).tolist() == [6, 5, 0, 0, 4]


def test_every_sample_gets_its_own_fit(inputs):
    number, samples = inputs
    labels = make(samples, 0.5)
    assert labels.spheres_ref_mm.shape == (COUNT, 41, 3)
    np.testing.assert_array_equal(labels.spheres_ref_mm[:, 0, 0], number + 1.0)
    np.testing.assert_array_equal(labels.angles[:, 5], number)
    np.testing.assert_array_equal(labels.ref_from_hand[:, 1, 1], number)


def test_a_sample_without_anything_to_see_is_not_kept(inputs):
    _, samples = inputs
    depth = samples.depth_mm.copy()
    depth[3] = 0.0
    labels = make(dataclasses.replace(samples, depth_mm=depth), 1.0)
    np.testing.assert_array_equal(labels.is_inlier, np.arange(COUNT) != 3)


def test_fits_that_are_no_number_and_empty_samples_do_not_move_the_gate(inputs, monkeypatch):
    number, samples = inputs
    depth = samples.depth_mm.copy()
    depth[:8] = 0.0
    depth[8] = np.nan
    labels = make(dataclasses.replace(samples, depth_mm=depth), 0.5)
    visible = number[9:]
    np.testing.assert_array_equal(labels.is_inlier[9:], visible <= np.quantile(visible, 0.5))
    assert not labels.is_inlier[:9].any()


def test_every_changed_byte_of_saved_fits_is_noticed_or_harmless(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(3, 41, 3), (3, 23), (3, 3, 3), (3,), (3,), (3, 6), (2, NUM_SHAPES)]
    saved = pseudo_labels.PseudoLabels(*(rng.normal(size=s).astype(np.float32) for s in shapes))
    path = tmp_path / "fits.npz"
    pseudo_labels.save_pseudo_labels(path, saved)
    content = path.read_bytes()
    refused = 0
    for place in rng.choice(len(content), 400, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            labels = pseudo_labels.load_pseudo_labels(path)
        except ValueError:
            refused += 1
            continue
        for name, values in vars(saved).items():
            np.testing.assert_array_equal(getattr(labels, name), values)
    assert refused > 300


def test_shape_is_found_first_and_from_every_subject(inputs):
    _, samples = inputs
    labels = make(samples, 0.5)
    calls = Bookkeeper.last.calls
    assert [fit_shape for fit_shape, _, _ in calls] == [True, False, False, False]
    assert not calls[0][2].any()
    np.testing.assert_array_equal(labels.shape[:, 0], [2, 2, 2])
    for _, _, shape in calls[1:]:
        np.testing.assert_array_equal(shape, labels.shape)


def test_a_known_shape_is_the_start(inputs):
    _, samples = inputs
    start = np.full([3, NUM_SHAPES], 0.25)
    make(samples, 0.5, shape=start.tolist())
    np.testing.assert_array_equal(Bookkeeper.last.calls[0][2], start)


def test_more_subjects_than_fit_a_batch(inputs):
    number, samples = inputs
    labels = make(dataclasses.replace(samples, group=np.arange(COUNT) // 2), 1.0)
    np.testing.assert_array_equal(labels.residual_mm, number)
    # Three subjects a batch: two samples of each, and the last batch is filled up by its first.
    np.testing.assert_array_equal(labels.shape[:, 0], [2, 2, 2, 2, 2, 2, 3, 2, 1])


def test_estimates_of_all_views_are_in_the_reference_frame():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.0, 40.0, (70, 41, 3)).astype(np.float32)
    turns = rotations.random_rotation(70 * 3, seed=[1, 2])
    shifts = rng.normal(0.0, 20.0, (70 * 3, 3)).astype(np.float32)
    ref_from_crop = tf.reshape(rigid.from_rotation_translation(turns, shifts), [70, 3, 4, 4])
    in_crops = rigid.apply(rigid.inverse(ref_from_crop), truth[:, None]).numpy()
    depth = np.zeros([70, 3, 8, 8], np.float32)
    depth[:, :, 0, 0] = np.arange(210).reshape(70, 3) / 2

    def network(normalized, training):
        assert not training
        index = tf.cast(tf.round(normalized[:, 0, 0, 0] * 150.0 * 2), tf.int32)
        return {"spheres_mm": tf.gather(in_crops.reshape(210, 41, 3), index)}

    estimates = pseudo_labels.estimates_in_ref(network, depth, ref_from_crop.numpy(), 300.0)
    np.testing.assert_allclose(estimates, np.stack([truth] * 3, axis=1), atol=FLOAT_MM)


def test_without_groups_no_two_samples_of_a_batch_share_a_shape(inputs):
    number, samples = inputs
    samples, config = dataclasses.replace(samples, group=None), kinematic_fit.FitConfig()
    starts = starts_of(np.tile(number[:, None, None], (1, 41, 3)))
    fits = batched_fits.fit_samples(starts, samples, config)
    np.testing.assert_allclose(fits.spheres_mm[:, 0, 0], number + 1.0, atol=FLOAT_MM)
    assert Bookkeeper.last.num_groups == 6 and fits.shape.shape == (0, NUM_SHAPES)
    assert [fit_shape for fit_shape, _, _ in Bookkeeper.last.calls] == [True, True, True]
    # Also in the last batch, which is filled up.
    np.testing.assert_array_equal(Bookkeeper.last.samples_of_shapes, np.ones([3, 6]))
    with pytest.raises(ValueError, match="Expected groups"):
        batched_fits.fit_samples(starts, samples, config, np.zeros([COUNT, NUM_SHAPES], np.float32))
