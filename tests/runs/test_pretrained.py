"""Where fine-tuning starts, and what is said when that was made otherwise."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand import commands, files, inference, pack, train
from tfhand.data import synthetic_split
from tfhand.evaluation import predictions
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import package_weights, pose_network, pose_prior
from tfhand.runs import pretrained, provenance, resolved_flags
from tfhand.runs import workdir as workdirs
from tfhand.training import optimization, options, pretraining

SMALL = ("--image_size=32", "--features=8", "--growth=4", "--depth=1")
FEW = ("--init_steps=2", "--init_batch=4", "--prior_steps=2", "--prior_batch=16")


def parse(*arguments):
    return commands.parse(train.define_flags, ["train", "--workdir=w", *arguments])


def requested(*arguments):
    return options.requested_settings(parse(*arguments))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has finished its prior and its initialization, of no step."""
    workdir = workdirs.Workdir(tmp_path_factory.mktemp("run"))
    values = parse(*SMALL, *FEW)
    network, prior, init, run_options = (
        options.from_flags(kind, values)
        for kind in (
            options.NetworkOptions,
            options.PriorOptions,
            options.InitOptions,
            options.RunOptions,
        )
    )
    strategy, spec = tf.distribute.get_strategy(), crop.CropSpec(32, 300.0)
    context = optimization.RunContext(workdir, strategy, spec, 1, run_options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimization, "fit", lambda *arguments: None)
        pretraining.train_prior(context, prior)
        pretraining.train_network(context, network, init)
    described = {"commit": None, "versions": {}, "seed": 1}
    for start in ("none", "shipped"):
        flags = resolved_flags.to_dict(values) | {"init_from": start}
        # As older versions recorded.
        flags |= {"verbosity": 0, "log_dir": "/somewhere"}
        provenance.record_launch(workdir.path, described | {"flags": flags})
    return workdir.path


def test_none_is_no_start():
    assert pretrained.find_pretrained("none", requested()) is None


def test_settings_of_the_weights_of_the_package_may_be_given_again():
    for stage, prefix in (("init", "init_"), ("prior", "prior_")):
        settings = files.read_json(package_weights.FOLDER / stage / "settings.json")
        names = vars(options.InitOptions() if stage == "init" else options.PriorOptions())
        again = [f"--{prefix}{name}={settings[name]}" for name in names]
        assert pretrained.find_pretrained("shipped", requested(*again)) == package_weights.FOLDER


def test_the_start_of_a_run(run):
    start = pretrained.find_pretrained(str(run), requested(*SMALL))
    network_options = pretraining.read_network_options(start)
    network = pretraining.load_network(start, network_options)
    assert network_options.features == 8 and network_options.image_size == 32
    assert not pose_prior.load_prior(start / "prior").trainable
    again = pretraining.load_network(start, network_options)
    for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_settings_that_were_given_are_compared(run):
    assert pretrained.find_pretrained(str(run), requested(*SMALL, *FEW)) == run
    with pytest.raises(ValueError, match="steps=2 in its stage init, received 7"):
        pretrained.find_pretrained(str(run), requested(*SMALL, "--init_steps=7"))
    with pytest.raises(ValueError, match="batch=16 in its stage prior, received 17"):
        pretrained.find_pretrained(str(run), requested(*SMALL, "--prior_batch=17"))
    with pytest.raises(ValueError, match="features=8 in its stage init, received 64"):
        pretrained.find_pretrained(str(run), requested(*SMALL[:1], *SMALL[2:]))


def test_resolved_flags_name_nothing_that_was_not_asked_for(run, tmp_path):
    values = parse(*SMALL, "--init_steps=2", f"--init_from={run}")
    (tmp_path / "resolved.flags").write_text(resolved_flags.to_flagfile(values))
    again = f"--flagfile={tmp_path / 'resolved.flags'}"
    assert pretrained.find_pretrained(str(run), requested(again)) == run
    assert requested(again) == requested(*SMALL, "--init_steps=2")


def test_another_precision_may_go_on_from_it(run):
    assert (
        pretrained.find_pretrained(str(run), requested(*SMALL, "--precision=mixed_bfloat16")) == run
    )


def test_no_finished_stage(tmp_path):
    (tmp_path / "init").mkdir()
    with pytest.raises(FileNotFoundError, match="stage init"):
        pretrained.find_pretrained(str(tmp_path), requested())


def test_the_start_of_the_package_is_that_of_the_default_flags():
    start = pretrained.find_pretrained("shipped", requested())
    assert start == package_weights.FOLDER
    assert pretraining.read_network_options(start) == options.NetworkOptions()


def test_packing_keeps_the_estimates(run, tmp_path, monkeypatch):
    pack.main(
        commands.parse(pack.define_flags, ["pack", f"--workdir={run}", f"--output_dir={tmp_path}"])
    )
    monkeypatch.setattr(package_weights, "FOLDER", tmp_path)
    network_options = pretraining.read_network_options(run)
    before = pretraining.load_network(run, network_options)
    packed = inference.load_network("shipped")
    depth = np.random.default_rng(0).uniform(-1.0, 1.0, [3, 32, 32, 1]).astype(np.float32)
    estimate = packed(depth)["spheres_mm"]
    # Half precision: 11 bits of every weight.
    np.testing.assert_allclose(estimate, before(depth)["spheres_mm"], atol=1.0)
    assert pretrained.find_pretrained("shipped", requested(*SMALL)) == tmp_path
    weights = pretraining.load_network(tmp_path, network_options).get_weights()
    for values in weights:
        np.testing.assert_array_equal(values, values.astype(np.float16).astype(np.float32))
    assert not pose_prior.load_prior(tmp_path / "prior").trainable
    made_from = files.read_json(tmp_path / "made_from.json")
    assert made_from["seed"] == 1 and made_from["flags"]["init_steps"] == 2
    # No folder of the machine, nor what belongs to absl.
    left_out = {"workdir", "data_dir", "init_from", "verbosity", "log_dir"}
    assert not left_out & set(made_from["flags"])


@pytest.mark.parametrize("content", ["{}", "[]", '[{"flags": {"init_from": "none"}}]'])
def test_packing_needs_to_know_what_the_run_was_made_from(run, tmp_path, content):
    for stage in ("prior", "init"):
        (tmp_path / "run" / stage).mkdir(parents=True)
        (tmp_path / "run" / stage / "done.json").write_text("{}")
    (tmp_path / "run" / "provenance.json").write_text(content)
    arguments = ["pack", f"--workdir={tmp_path / 'run'}", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(ValueError, match=r"provenance\.json a start with --init_from=none"):
        pack.main(commands.parse(pack.define_flags, arguments))


def test_packing_needs_a_finished_run(tmp_path):
    arguments = ["pack", f"--workdir={tmp_path}", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(FileNotFoundError, match="stage init"):
        pack.main(commands.parse(pack.define_flags, arguments))
    assert not (tmp_path / "out").exists()


def test_the_shipped_network_estimates_hands():
    """Far better than the mean hand, which is some 50 mm off, on unseen synthetic hands."""
    network = inference.load_network("shipped")
    cube_mm = pose_network.cube_mm_of(network)
    spec = crop.CropSpec(network.input_shape[1], cube_mm)
    dataset = synthetic_split.synthetic_dataset(spec, noise="sensor", count=200)
    predicted = predictions.predict_dataset(network, dataset, cube_mm=cube_mm, description="")
    assert predicted.score().mean_joint_error_mm < 15.0


def test_synthetic_samples_to_score_on():
    spec = crop.CropSpec(32, 300.0)
    dataset = synthetic_split.synthetic_dataset(spec, noise="none", count=100)
    rows = list(dataset.as_numpy_iterator())
    again = list(
        synthetic_split.synthetic_dataset(spec, noise="none", count=100).as_numpy_iterator()
    )
    assert len(rows) == 100
    for row, same in zip(rows, again, strict=True):
        assert row["depth_mm"].shape == (1, 32, 32)
        assert row["joints_mm"].shape == (1, len(skeleton.JOINT_NAMES), 3)
        np.testing.assert_array_equal(row["depth_mm"], same["depth_mm"])
    # A joint lies behind the surface that is seen, never far from it.
    tips = np.stack([row["joints_mm"][0] - row["center_mm"] for row in rows])
    assert np.abs(tips).max() < 250.0
