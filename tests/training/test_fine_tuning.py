"""Rounds of fine-tuning: what is fitted, what is trained on, what is kept and what is refused."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from tfhand.fitting import pseudo_labels, recording_fits
from tfhand.geometry import crop
from tfhand.hand import template
from tfhand.losses import terms
from tfhand.runs import workdir as workdirs
from tfhand.training import fine_tuning, optimization, options, tuning_settings

SPEC = crop.CropSpec(image_size=32, cube_mm=300.0)


@pytest.fixture
def workdir(tmp_path):
    return workdirs.Workdir(tmp_path / "run")


@pytest.fixture
def tuned(workdir, make_network, recording, monkeypatch):
    """Runs `fine_tune` with fitting and training replaced by notes of what they were asked."""
    notes, stop_at, known_poses, fit_configs = [], set(), [], []

    def make_pseudo_labels(network, samples, config, gate, shape):
        count = len(samples)
        notes.append(("fit", round(float(np.asarray(shape)[0, 0]), 3)))
        fit_configs.append(config)
        return pseudo_labels.PseudoLabels(
            np.zeros([count, 41, 3], np.float32),
            np.zeros([count, 23], np.float32),
            np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
            np.ones(count, np.float32),
            np.arange(count) < 3,
            np.arange(count)[:, None] < [3, 3, 3, 3, 3, 2],
            np.full([2, len(template.SHAPE_NAMES)], 0.1, np.float32),
        )

    def fit(model, make_batch, steps, run, writers):
        if run.name in stop_at:
            raise KeyboardInterrupt
        kept = make_batch(0, (0, 1))["recorded"]["target_mask"].numpy().max(axis=(1, 2)).sum()
        notes.append(("train", (run.name, steps, kept)))
        kernel = model.network.trainable_variables[0]
        kernel.assign(kernel + 1.0)

    monkeypatch.setattr(recording_fits.pseudo_labels, "make_pseudo_labels", make_pseudo_labels)
    monkeypatch.setattr(optimization, "fit", fit)
    # Synthetic samples have their own tests; compiling them takes long.
    synthetic = {"depth_mm": tf.zeros([2, 32, 32]), "spheres_mm": tf.zeros([2, 41, 3])}

    def synthetic_batches(spec, batch_size, config, seed, known):
        known_poses.append(known)
        return lambda step, part: synthetic

    monkeypatch.setattr(fine_tuning.batches, "synthetic_batches", synthetic_batches)

    def run(network=None, samples=recording, precision="float32", **changes):
        network = network or make_network()
        run_options = options.RunOptions()
        context = optimization.RunContext(
            workdir, tf.distribute.get_strategy(), SPEC, 1, run_options
        )
        tuning = make_tuning(samples, precision, **changes)
        fine_tuning.fine_tune(context, tuning, tuning_settings.Pretrained(network, None))
        return notes, network

    run.notes, run.stop_at, run.known_poses, run.fit_configs = (
        notes, stop_at, known_poses, fit_configs,
    )  # fmt: skip
    return run


def make_tuning(recording, precision="float32", **changes):
    fields = {"steps": 10, "batch": 4, "synthetic_batch": 2, "rounds": 2} | changes
    weights = terms.LossWeights(pose_prior=0.0)
    return tuning_settings.FineTuning(
        recording, weights, options.FineTuneOptions(**fields), precision, seed=1
    )


def first_weight(network):
    return float(network.get_weights()[0].reshape(-1)[0])


def test_rounds_share_the_shape_and_the_steps(tuned, make_network, workdir):
    start = first_weight(make_network())
    notes, network = tuned()
    assert notes == [
        ("fit", 0.0), ("train", ("round-1", 5, 3)),
        ("fit", 0.1), ("train", ("round-2", 5, 3)),
    ]  # fmt: skip
    assert first_weight(network) == pytest.approx(start + 2.0)
    found = json.loads((workdir.stage("tune") / "fits.json").read_text())
    assert [(fit["views"], fit["kept"]) for fit in found] == [(3, 3), (3, 3)]
    assert all(fit["error_mm"] > 0 for fit in found)
    # Once more: read, not done again.
    notes.clear()
    _, again = tuned()
    assert notes == []
    assert first_weight(again) == first_weight(network)


def test_fits_are_made_as_the_options_say(tuned):
    tuned(rounds=1, fit_steps=7, margin_px=0.25, fit_subject="lengths")
    (config,) = tuned.fit_configs
    assert (config.steps, config.margin_px, config.free_shape) == (7, 0.25, "lengths")


def test_synthetic_samples_are_drawn_near_the_fits_that_were_kept(tuned, recording):
    tuned(rounds=1, near_fits=0.6)
    (known,) = tuned.known_poses
    assert known.share == 0.6
    assert known.angles.shape == (9, 23)
    # The fits of `tuned` are not turned: cameras see the hand as they see the reference frame.
    crop_from_ref = np.swapaxes(recording.ref_from_crop[:3, :, :3, :3], 2, 3)
    np.testing.assert_allclose(
        known.camera_from_hand[:, 0], crop_from_ref.reshape(-1, 3, 3), atol=1e-6
    )


@pytest.mark.parametrize(
    "changes", [{"near_fits": 0.0}, {"method": "gradient"}, {"method": "labels", "near_fits": 0.0}]
)
def test_synthetic_samples_are_drawn_anywhere(tuned, changes):
    tuned(**({"rounds": 1} | changes))
    assert tuned.known_poses == [None]


def test_an_interrupted_second_round_goes_on(tuned, make_network):
    start = first_weight(make_network())
    tuned.stop_at.add("round-2")
    with pytest.raises(KeyboardInterrupt):
        tuned()
    assert [kind for kind, _ in tuned.notes] == ["fit", "train", "fit"]
    tuned.stop_at.clear()
    tuned.notes.clear()
    notes, network = tuned()
    # The fits of the round were finished, and are read.
    assert notes == [("train", ("round-2", 5, 3))]
    assert first_weight(network) == pytest.approx(start + 2.0)


def test_damaged_fits_are_made_again(tuned, workdir, caplog):
    tuned.stop_at.add("round-1")
    with pytest.raises(KeyboardInterrupt):
        tuned()
    path = workdir.stage("tune") / "round-1" / "fits.npz"
    content = bytearray(path.read_bytes())
    # In the values of the first array, not in what zip passes over.
    content[1000] ^= 255
    path.write_bytes(content)
    tuned.stop_at.clear()
    with caplog.at_level(logging.WARNING, "absl"):
        notes, _ = tuned()
    assert [kind for kind, _ in notes] == ["fit", "fit", "train", "fit", "train"]
    assert "fits.npz" in caplog.text


def test_fits_of_other_samples_are_made_again(tuned, workdir, recording):
    tuned.stop_at.add("round-1")
    with pytest.raises(KeyboardInterrupt):
        tuned()
    path = workdir.stage("tune") / "round-1" / "fits.npz"
    found = pseudo_labels.load_pseudo_labels(path)
    fewer = {f: v if f == "shape" else v[:2] for f, v in vars(found).items()}
    pseudo_labels.save_pseudo_labels(path, pseudo_labels.PseudoLabels(**fewer))
    tuned.stop_at.clear()
    notes, _ = tuned(rounds=2)
    assert [kind for kind, _ in notes] == ["fit", "fit", "train", "fit", "train"]


def test_nothing_to_learn_from_is_one_error(tuned, monkeypatch):
    make = recording_fits.pseudo_labels.make_pseudo_labels

    def nothing_kept(*arguments):
        found = make(*arguments)
        return dataclasses.replace(found, is_inlier=np.zeros_like(found.is_inlier))

    monkeypatch.setattr(recording_fits.pseudo_labels, "make_pseudo_labels", nothing_kept)
    with pytest.raises(ValueError, match="4 samples of 3 views, found none"):
        tuned()


def test_another_start_is_refused(tuned, make_network):
    tuned()
    other = make_network()
    other.trainable_variables[0].assign_add(tf.ones_like(other.trainable_variables[0]))
    with pytest.raises(ValueError, match="start="):
        tuned(network=other)


def test_another_precision_is_refused(tuned):
    tuned()
    with pytest.raises(ValueError, match=r"precision=float32 \(now mixed_bfloat16\)"):
        tuned(precision="mixed_bfloat16")


def test_a_stage_that_started_from_elsewhere_is_refused_before_there_is_a_network(
    tuned, workdir, recording
):
    tuning = make_tuning(recording, rounds=1)
    tuning_settings.check_settings(workdir, tuning, None)
    tuned(rounds=1)
    with pytest.raises(ValueError, match=r"found none: give the --init_from of that run"):
        tuning_settings.check_settings(workdir, tuning, None)
    # This run has trained its own: whether it is that one its weights will tell.
    workdir.stage("init").mkdir()
    (workdir.stage("init") / "done.json").write_text("{}")
    tuning_settings.check_settings(workdir, tuning, None)


@pytest.mark.parametrize(
    "state",
    [
        "{}",
        "[]",
        '{"shape": [[1, 2]], "summary": []}',
        '{"shape": null, "summary": []}',
        '{"shape": null, "summary": null}',
    ],
)
def test_a_damaged_state_of_a_round_is_one_error(tuned, workdir, state):
    tuned.stop_at.add("round-2")
    with pytest.raises(KeyboardInterrupt):
        tuned()
    (workdir.stage("tune") / "round-1" / "round.json").write_text(state)
    with pytest.raises(ValueError, match=r"of a round in .*round\.json"):
        tuned()


def test_only_the_chief_makes_fits(tuned, workdir, recording, make_network, monkeypatch):
    tuned.stop_at.add("round-1")
    monkeypatch.setattr(workdir, "is_chief", False)
    with pytest.raises(
        ValueError,
        match=r"round-1/fits\.npz fits of these samples that the chief has made, found none",
    ):
        tuned()
    assert tuned.notes == [] and not workdir.stage("tune").exists()


def test_labels_and_gradient_do_not_fit(tuned):
    notes, _ = tuned(method="gradient")
    assert notes == [("train", ("round-1", 10, 0))]


def test_training_with_labels_needs_labels(tuned, recording):
    notes, _ = tuned(method="labels")
    # Fits say where synthetic samples are drawn, as without labels; the targets are the labels.
    assert notes == [("fit", 0.0), ("train", ("round-1", 10, 4))]
    assert tuned.known_poses[0].angles.shape == (9, 23)


@pytest.mark.parametrize("changed", ["ref_from_crop", "group", "joints_mm"])
def test_another_recording_is_refused(tuned, recording, changed):
    run = {"method": "labels"} if changed == "joints_mm" else {}
    tuned(**run)
    other = dataclasses.replace(recording, **{changed: getattr(recording, changed)[::-1].copy()})
    with pytest.raises(ValueError, match="labels=" if run else "recording="):
        tuned(samples=other, **run)


def test_views_of_some_samples_are_fitted_one_by_one(tuned, recording):
    is_multi_view = np.array([True, False, True, False])
    notes, _ = tuned(rounds=1, samples=dataclasses.replace(recording, is_multi_view=is_multi_view))
    # The second kind starts from the shapes of the first; three fits of each are kept, those of
    # views are the three of the first such sample.
    assert notes == [("fit", 0.0), ("fit", 0.1), ("train", ("round-1", 10, 3))]
    (known,) = tuned.known_poses
    assert known.angles.shape == (2 * 3 + 3, 23)
