"""Trains a pose network: prior, synthetic pretraining, fine-tuning on a recording, report.

    python -m tfhand.train --flagfile=configs/selfsup.flags --data_dir=OUT --workdir=W

Without --data_dir the embedded recording is made in the working folder first. Stages that are in
the working folder are not done again, and one that was cut off goes on from its last checkpoint.
Exit status 75: stopped by SIGTERM, or another machine was lost; the same command goes on.
"""

from tfhand.runs import preemption

if __name__ == "__main__":
    # TensorFlow takes seconds to import: the machine may be taken away by then.
    preemption.exit_on_sigterm()

import contextlib
import dataclasses

import keras
import tensorflow as tf
from absl import flags

from data_prep import records
from tfhand import commands, files
from tfhand.data import recordings, synthetic_split
from tfhand.geometry import crop
from tfhand.losses import terms
from tfhand.models import package_weights, pose_prior
from tfhand.runs import embedded_recording, pretrained, provenance, report, resolved_flags
from tfhand.runs import workdir as workdirs
from tfhand.training import (
    fine_tuning,
    optimization,
    options,
    pretraining,
    replicas,
    tuning_settings,
)

__all__ = ["define_flags", "main"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("data_dir", None, "Records; none: the embedded recording.", **define)
    flags.DEFINE_string("workdir", None, "Folder for stages and report.", required=True, **define)
    text = (
        "Source of the pretrained network and the prior: shipped (the package's), none (trained by "
        "this run), or the folder of another run."
    )
    flags.DEFINE_string("init_from", package_weights.NAME, text, **define)
    text = "Samples to score on: the records' test split, or unseen synthetic samples."
    flags.DEFINE_enum("test_on", "recording", ("recording", "synthetic"), text, **define)
    text = "Score also hands that are fitted to the first view, starting from the estimates."
    flags.DEFINE_boolean("test_fit", False, text, **define)
    flags.DEFINE_integer("seed", 1, "Seed of the training.", 0, **define)
    text = "Samples of the embedded recording."
    flags.DEFINE_integer("recording_samples", 4000, text, 24, **define)
    flags.DEFINE_integer("num_devices", 0, "Devices; 0: all GPUs, or the CPU.", 0, **define)
    text = (
        "mirrored: the devices of this machine; multi_worker: those of all machines of TF_CONFIG, "
        "which run the same command."
    )
    flags.DEFINE_enum("distribution", "mirrored", ("mirrored", "multi_worker"), text, **define)
    text = "Take only operations whose results are the same bits every time; slower on a GPU."
    flags.DEFINE_boolean("deterministic", False, text, **define)
    options.define_flags(flag_values)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Flags of a run, one dataclass a stage, see `training/options.py`."""

    network: options.NetworkOptions
    prior: options.PriorOptions
    init: options.InitOptions
    tune: options.FineTuneOptions
    weights: terms.LossWeights
    run: options.RunOptions

    @classmethod
    def from_flags(cls, flag_values):
        """Reads and checks the flags, before any time is spent."""
        settings = cls(
            network=options.from_flags(options.NetworkOptions, flag_values),
            prior=options.from_flags(options.PriorOptions, flag_values),
            init=options.from_flags(options.InitOptions, flag_values),
            tune=options.from_flags(options.FineTuneOptions, flag_values),
            weights=options.from_flags(terms.LossWeights, flag_values),
            run=options.from_flags(options.RunOptions, flag_values),
        )
        pretraining.network_config(settings.network)
        if settings.tune.stride > settings.network.image_size:
            raise ValueError(
                f"Expected --tune_stride of at most the image size {settings.network.image_size}, "
                f"found {settings.tune.stride}."
            )
        if settings.tune.method == "fit" and settings.tune.steps < settings.tune.rounds:
            raise ValueError(
                f"Expected at least one of --tune_steps for each of {settings.tune.rounds} rounds, "
                f"found {settings.tune.steps}."
            )
        if settings.tune.method == "gradient" and not settings.weights.active:
            raise ValueError(
                "Expected a --weight_* above 0 for --tune_method=gradient, found none."
            )
        if flag_values.distribution == "multi_worker" and flag_values.num_devices:
            raise ValueError("Expected no --num_devices with --distribution=multi_worker.")
        return settings

    @property
    def spec(self):
        """The `crop.CropSpec` of the network."""
        return crop.CropSpec(self.network.image_size, self.network.cube_mm)


def main(flag_values):
    """Runs the command."""
    if flag_values.deterministic:
        keras.utils.set_random_seed(flag_values.seed)
        tf.config.experimental.enable_op_determinism()
    settings = _Settings.from_flags(flag_values)
    strategy = replicas.make_strategy(flag_values.distribution, flag_values.num_devices)
    batches = {"tune_batch": settings.tune.batch}
    batches["tune_synthetic_batch"] = settings.tune.synthetic_batch
    if flag_values.init_from == pretrained.NONE:
        batches["init_batch"] = settings.init.batch
    options.check_batches(strategy.num_replicas_in_sync, **batches)
    is_chief = replicas.is_chief(strategy)
    with contextlib.ExitStack() as exit_stack:
        exit_stack.enter_context(replicas.exit_at_once(flag_values.distribution))
        if is_chief:
            exit_stack.enter_context(files.lock_folder(flag_values.workdir, "training in", ".lock"))
        workdir = workdirs.Workdir(flag_values.workdir, is_chief)
        context = optimization.RunContext(
            workdir, strategy, settings.spec, flag_values.seed, settings.run
        )
        _run(flag_values, settings, context)


def _run(flag_values, settings, context):
    """Runs all stages in the working folder."""
    method = settings.tune.method
    with replicas.chief_first(context.strategy):
        pretrained_folder = pretrained.find_pretrained(
            flag_values.init_from, options.requested_settings(flag_values)
        )
        data_dir = _find_records(flag_values, context)
        test = report.TestSplit(
            _test_samples(flag_values, settings, data_dir),
            settings.spec,
            # Synthetic samples have no subject, whose shape a fit would share.
            flag_values.test_fit and flag_values.test_on == "recording",
            _num_missed(flag_values, data_dir),
        )
        tuning = tuning_settings.FineTuning(
            _read_recording(data_dir, settings.tune),
            settings.weights,
            settings.tune,
            settings.network.precision,
            flag_values.seed,
            settings.init.supervision,
        )
    # Variables of several machines are made by all of them together.
    models = _load_pretrained(pretrained_folder, settings, context)
    _check_stages(settings, context, tuning, models)
    if context.is_chief:
        resolved = resolved_flags.to_flagfile(flag_values)
        files.write_text(context.workdir.path / "resolved.flags", resolved)
        entry = provenance.collect(flag_values, data_dir, pretrained_folder)
        provenance.record_launch(context.workdir.path, entry)
    models = models or _pretrain(settings, context)
    predicted, scores = _score("synthetic_only", models.network, settings, context, test)
    if method != "none":
        fine_tuning.fine_tune(context, tuning, models)
        name = "with_labels" if method == "labels" else "self_supervised"
        predicted, more = _score(name, models.network, settings, context, test)
        scores |= more
    with replicas.chief_first(context.strategy):
        if context.is_chief:
            network = pretraining.float32_copy(models.network, settings.network)
            report.export(context.workdir, network, models.prior, settings.spec)
            prior_folder = (pretrained_folder or context.workdir.path) / "prior"
            report.write_report(context.workdir, prior_folder, network, test, predicted, scores)


def _find_records(flag_values, context):
    """Returns the folder of records; the embedded recording is made where none is given.

    Checks both splits before anything is trained.
    """
    spec, folder = context.spec, flag_values.data_dir
    if not folder:
        folder = str(
            embedded_recording.make_recording(context.workdir, flag_values.recording_samples, spec)
        )
    records_spec = records.read_info(folder).spec
    if (records_spec.image_size, records_spec.cube_mm) != (spec.image_size, spec.cube_mm):
        raise ValueError(
            f"Expected records of {spec.image_size} px in a cube of {spec.cube_mm:g} mm, as "
            f"--image_size and --cube_mm say, found {records_spec.image_size} px and "
            f"{records_spec.cube_mm:g} mm in {folder}."
        )
    for split in ("train", "test"):
        records.load_dataset(folder, split)
    return folder


def _test_samples(flag_values, settings, data_dir):
    if flag_values.test_on == "recording":
        return records.load_dataset(data_dir, "test")
    return synthetic_split.synthetic_dataset(settings.spec, settings.init.noise)


def _num_missed(flag_values, data_dir):
    if flag_values.test_on == "recording":
        return records.read_info(data_dir).splits["test"].num_missed
    return 0


def _read_recording(data_dir, tune_options):
    """Reads the samples to fine-tune on."""
    first, *more = [records.load_dataset(data_dir, s) for s in tune_options.splits.split("_and_")]
    for dataset in more:
        first = first.concatenate(dataset)
    recording = recordings.mix_views(
        recordings.read_recording(first),
        tune_options.multi_view_share,
        tune_options.single_view_share,
    )
    if tune_options.method == "labels" and not recording.joint_mask.any():
        raise ValueError(f"Expected labels in {data_dir} to train with, found none.")
    return recording


def _load_pretrained(folder, settings, context):
    """Returns `tuning_settings.Pretrained` of another run or of the package; None: of this run."""
    if folder is None:
        return None
    network = pretraining.load_network(folder, settings.network, context.strategy)
    return tuning_settings.Pretrained(network, pose_prior.load_prior(folder / "prior"))


def _check_stages(settings, context, tuning, models):
    """Compares the settings of the stages that are there with the flags."""
    if models is None:
        pretraining.check_settings(context, settings.prior, settings.network, settings.init)
    if settings.tune.method != "none":
        tuning_settings.check_settings(context.workdir, tuning, models)


def _pretrain(settings, context):
    """Trains prior and network, or reads them; returns `tuning_settings.Pretrained`."""
    with replicas.chief_first(context.strategy):
        prior = pretraining.train_prior(context, settings.prior)
    network = pretraining.train_network(context, settings.network, settings.init)
    return tuning_settings.Pretrained(network, prior)


def _score(name, network, settings, context, test):
    """Returns predictions and scores, by name, of the network as it is now; the chief alone."""
    if not context.is_chief:
        return None, {}
    return report.predict_and_score(name, pretraining.float32_copy(network, settings.network), test)


if __name__ == "__main__":
    commands.run(main, define_flags)
