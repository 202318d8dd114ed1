"""Trains a pose network: prior, synthetic initialization, fine-tuning on a recording, report.

    python -m tfhand.train --flagfile=configs/selfsup.flags --data_dir=OUT --workdir=W

Without --data_dir the embedded recording is made in the working directory first. Stages that are
in the working directory are not done again, and one that was cut off goes on from its last
checkpoint. Exit status 75: stopped by SIGTERM, the same command goes on.
"""

from tfhand.runs import preemption

if __name__ == "__main__":
    # TensorFlow takes seconds to import: the machine may be taken away by then.
    preemption.leave_on_sigterm()

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
from tfhand.models import package_weights
from tfhand.runs import embedded_recording, pretrained, provenance, report, resolved_flags
from tfhand.runs import workdir as stage_folders
from tfhand.training import (
    agreement,
    cluster,
    fine_tuning,
    loop,
    lost_workers,
    options,
    precision,
    pretraining,
    turns,
    workers,
)

__all__ = ["define_flags", "main", "make_strategy"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "data_dir", None, "Records; none: the embedded recording.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "workdir", None, "Folder for stages and report.", required=True, flag_values=flag_values
    )
    flags.DEFINE_string(
        "init_from",
        package_weights.NAME,
        "Where the initialized network and the prior come from: shipped (the package's), none "
        "(trained by this run), or the folder of another run.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "test_on",
        "recording",
        ("recording", "synthetic"),
        "What networks are scored on: the records' test split, or unseen synthetic samples.",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "test_fit",
        False,
        "Score also hands that are fitted to the first view, starting from the estimates.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer("seed", 1, "Seed of the training.", flag_values=flag_values)
    flags.DEFINE_integer(
        "recording_samples", 4000, "Samples of the embedded recording.", 24, flag_values=flag_values
    )
    flags.DEFINE_integer(
        "num_devices", 0, "Devices; 0: all GPUs, or the CPU.", 0, flag_values=flag_values
    )
    flags.DEFINE_enum(
        "distribution",
        "mirrored",
        ("mirrored", "multi_worker"),
        "mirrored: the devices of this machine; multi_worker: those of all machines of TF_CONFIG, "
        "which run the same command.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "worker_timeout",
        1800,
        "Seconds that a worker waits for another before it takes it for lost.",
        10,
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "deterministic",
        False,
        "Take only operations whose results are the same bits every time; slower on a GPU.",
        flag_values=flag_values,
    )
    options.define_flags(flag_values)


def make_strategy(values):
    """Returns the strategy that the flags ask for.

    Args:
        values: Parsed flags.

    Raises:
        ValueError: If there are fewer devices, or TF_CONFIG names no workers.
    """
    if _has_workers(values):
        if values.num_devices:
            raise ValueError("Expected no --num_devices with --distribution=multi_worker.")
        return cluster.make_strategy(values.worker_timeout)
    num_devices = values.num_devices
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = num_devices or (len(devices) if devices[0].device_type == "GPU" else 1)
    if count > len(devices):
        raise ValueError(f"Expected at most {len(devices)} devices on this machine, asked {count}.")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


def _find_data(values, workdir, spec):
    """Returns the folder of records, making the embedded recording where none is given.

    Whatever is wrong with either split is said here, before anything is trained.
    """
    folder = values.data_dir
    if not folder:
        folder = str(embedded_recording.make_recording(workdir, values.recording_samples, spec))
    info = records.read_info(folder)
    found = (info.spec.image_size, info.spec.cube_mm)
    if found != (spec.image_size, spec.cube_mm):
        raise ValueError(
            f"Expected records of {spec.image_size} px in a cube of {spec.cube_mm:g} mm, as "
            f"--image_size and --cube_mm say, found {found[0]} px and {found[1]:g} mm in {folder}."
        )
    for split in ("train", "test"):
        records.load_dataset(folder, split)
    return folder


def _test_samples(values, data_dir, spec, init_options):
    if values.test_on == "recording":
        return records.load_dataset(data_dir, "test")
    return synthetic_split.synthetic_dataset(spec, init_options.noise)


def _read_recording(data_dir, options):
    """Reads the samples to fine-tune on."""
    first, *more = [records.load_dataset(data_dir, s) for s in options.splits.split("_and_")]
    for dataset in more:
        first = first.concatenate(dataset)
    return recordings.mix_views(
        recordings.read_recording(first), options.multi_view_share, options.single_view_share
    )


def main(values):
    """Runs the command."""
    leaving = lost_workers.leave_when_one_is_lost
    lost = leaving() if _has_workers(values) else contextlib.nullcontext()
    with lost, contextlib.ExitStack() as held:
        _run(values, held)


def _has_workers(values):
    return values.distribution == "multi_worker"


def _run(values, held):
    """Runs all stages; `held` takes the lock of the working directory."""
    if values.deterministic:
        keras.utils.set_random_seed(values.seed)
        tf.config.experimental.enable_op_determinism()
    # Before flags are compared and written: another machine may be better at another one.
    begun = stage_folders.Workdir(values.workdir, writes=False).setting("precision")
    values.precision = precision.resolve(values.precision, begun)
    network_options = options.from_flags(options.NetworkOptions, values)
    init_options = options.from_flags(options.InitOptions, values)
    tune_options = options.from_flags(options.FineTuneOptions, values)
    run_options = options.from_flags(options.RunOptions, values)
    weights = options.from_flags(terms.LossWeights, values)
    spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
    strategy = make_strategy(values)
    agreement.check_command(strategy, values)
    _check(network_options, init_options, tune_options, weights, strategy.num_replicas_in_sync)
    held.enter_context(agreement.alone_in_workdir(strategy, values.workdir))
    is_chief = workers.is_chief(strategy)
    workdir = stage_folders.Workdir(values.workdir, is_chief)
    with turns.one_by_one(strategy):
        start = pretrained.find_start(
            values.init_from, pretrained.given_settings(values, network_options)
        )
        data_dir = _find_data(values, workdir, spec)
    agreement.check_data(strategy, data_dir)
    if start is not None:
        agreement.check_start(strategy, start)
    with turns.side_by_side(strategy):
        test = _test_samples(values, data_dir, spec, init_options)
        recording = _read_recording(data_dir, tune_options)
        if tune_options.method == "labels" and not recording.joint_mask.any():
            raise ValueError(f"Expected labels in {data_dir} to train with, found none.")
    prior_options = options.from_flags(options.PriorOptions, values)
    given = None
    if start is not None:
        network = pretrained.load_network(start, strategy, network_options)
        given = fine_tuning.Start(network, pretrained.load_prior(start))
    of_tuning = recording, weights, tune_options, network_options.precision
    with turns.one_by_one(strategy):
        if start is None:
            pretraining.check_settings(
                workdir, prior_options, network_options, init_options, values.seed
            )
        if tune_options.method != "none":
            fine_tuning.check_settings(workdir, given, *of_tuning, values.seed)
        if is_chief:
            files.write_text(workdir.path / "resolved.flags", resolved_flags.into_string(values))
            provenance.record_start(workdir.path, provenance.describe(values, data_dir, start))
        if start is None:
            prior = pretraining.train_prior(workdir, prior_options, values.seed, run_options)
    if start is None:
        network = pretraining.initialize(
            workdir, strategy, network_options, init_options, values.seed, run_options
        )
    begin = given or fine_tuning.Start(network, prior)

    def score(name):
        """Returns the predictions of the network as it is now, and its scores by name."""
        served = pretraining.in_float32(begin.network, network_options)
        # Synthetic samples have no subject, whose shape a fit would share.
        with_fit = values.test_fit and values.test_on == "recording"
        return report.predict_and_score(name, served, test, spec, with_fit)

    with turns.one_by_one(strategy):
        if is_chief:
            predicted, scores = score("synthetic_only")
    if tune_options.method != "none":
        fine_tuning.fine_tune(workdir, strategy, begin, *of_tuning, spec, values.seed, run_options)
    with turns.one_by_one(strategy):
        if is_chief and tune_options.method != "none":
            name = "with_labels" if tune_options.method == "labels" else "self_supervised"
            predicted, more = score(name)
            scores |= more
        if is_chief:
            with preemption.begun_again("the report"):
                served = pretraining.in_float32(begin.network, network_options)
                report.export(workdir, served, begin.prior, spec)
                report.write_report(
                    workdir,
                    start or workdir.path,
                    scores,
                    predicted,
                    served,
                    test,
                    spec,
                    values.test_fit,
                )


def _check(network_options, init_options, tune_options, weights, num_devices):
    """Says what is wrong with the settings before any time is spent."""
    pretraining.network_config(network_options)
    loop.check_batches(
        num_devices,
        init_batch=init_options.batch,
        tune_batch=tune_options.batch,
        tune_synthetic_batch=tune_options.synthetic_batch,
    )
    if tune_options.stride > network_options.image_size:
        raise ValueError(
            f"Expected --tune_stride of at most the image size {network_options.image_size}, "
            f"found {tune_options.stride}."
        )
    if tune_options.method == "gradient" and not any(dataclasses.astuple(weights)):
        raise ValueError("Expected a --weight_* above 0 for --tune_method=gradient, found none.")


if __name__ == "__main__":
    commands.run(main, define_flags)
