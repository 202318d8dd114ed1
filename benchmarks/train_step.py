"""Train steps of all stages against the network's own forward and backward pass.

Run as

    python benchmarks/train_step.py --output=train_step.json

The baseline runs the same network on as many images of the same kind, already in memory, with the
plainest loss and no optimizer: what a step cannot do without. A step is what training runs:
samples from the pipeline, augmentation, all terms, gradients, their clipping, AdamW and metrics.
Targets: the synthetic step takes at most 1.15 times its baseline, the self-supervised one at most
1.25 times. A further table says how long steps wait for their input. `--precision=mixed_bfloat16`
measures steps and baselines in that.
"""

import functools
import time

import measure
import networks
from absl import flags

from tfhand import commands

TARGET_SYNTHETIC, TARGET_RECORDED = 1.15, 1.25
METHODS = {"fit": networks.FLAGFILE, "gradient": "configs/paper.flags"}
BASELINE, STEP = "network alone", "step"
RECORDED_SAMPLES = 60
CALLS = 8


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=5)
    precisions = ("float32", "mixed_bfloat16")
    flags.DEFINE_enum(
        "precision", precisions[0], precisions, "Of the network.", flag_values=flag_values
    )


def make_recording(samples, spec):
    """Returns a `recordings.RecordedSamples` of rendered hands."""
    import numpy as np
    import tensorflow as tf

    from tfhand.data import recordings
    from tfhand.synthesis import samples as synthesis

    rng = tf.random.Generator.from_seed(0)
    batch = synthesis.sample_batch(rng, 3 * samples, spec)
    shape = (samples, 3)
    side = spec.image_size
    return recordings.RecordedSamples(
        depth_mm=batch["depth_mm"].numpy().reshape([*shape, side, side]),
        ref_from_crop=np.tile(np.eye(4, dtype=np.float32), [*shape, 1, 1]),
        joints_mm=np.zeros([*shape, 36, 3], np.float32),
        joint_mask=np.zeros([*shape, 36], np.float32),
        group=np.zeros([samples], np.int64),
        frame=np.arange(samples),
        is_multi_view=np.ones([samples], bool),
    )


def make_fits(recording):
    """Returns `recording_fits.Fits` of flat hands for a recording, all kept."""
    import numpy as np

    from tfhand.fitting import recording_fits
    from tfhand.hand import spheres

    count, num_views = recording.depth_mm.shape[:2]
    hand = spheres.load().centers_mm.astype(np.float32)
    return recording_fits.Fits(
        target_mm=np.tile(hand, [count, num_views, 1, 1]),
        target_mask=np.ones([count, num_views, len(hand)], bool),
        angles=np.zeros([count * num_views, 23], np.float32),
        camera_from_hand=np.tile(np.eye(3, dtype=np.float32), [count * num_views, 1, 1]),
        shape=None,
        summary=[],
    )


def make_step(model, dataset):
    """Returns a function that takes one step as Keras' `fit` does, with its input."""
    model.make_train_function()
    iterator = iter(dataset)
    # Reading a value waits for the step.
    return lambda: model.train_function(iterator)["loss"].numpy()


def make_dataset(make_batch):
    """Returns the batches of a training, made ahead as in a training."""
    import tensorflow as tf

    from tfhand.training import replicas

    return replicas.distribute_batches(tf.distribute.get_strategy(), make_batch, 0)


def functions_of_stage(network, images, make_model, make_batch):
    """Returns the baseline, the step, and the step without drawing its samples, by name."""
    import tensorflow as tf

    first = next(iter(make_dataset(make_batch)))
    in_memory = tf.data.Dataset.from_tensors(first).repeat()
    return {
        BASELINE: networks.make_baseline(network, images),
        STEP: make_step(make_model(), make_dataset(make_batch)),
        "step, samples in memory": make_step(make_model(), in_memory),
    }


def init_stage(precision):
    """Returns what `fine_tuning_stage` does, of the initialization on synthetic samples."""
    import tensorflow as tf

    from tfhand.data import batches
    from tfhand.geometry import crop
    from tfhand.synthesis import samples
    from tfhand.training import objectives, optimization, pretraining, trainer

    network_options, options, _, _ = networks.settings(METHODS["fit"], precision)
    spec = networks.crop_spec(network_options)
    network = pretraining.build_network(network_options)
    config = samples.SyntheticConfig(noise=options.noise)
    synthetic = batches.synthetic_batches(spec, options.batch, config, 1)
    depth_mm = synthetic(tf.constant(0, tf.int64))["depth_mm"]

    def make_model():
        objective = objectives.SyntheticObjective(spec.cube_mm, options.supervision)
        model = trainer.PoseTrainer(network, synthetic=objective)
        optimization.compile_trainer(model, pretraining.make_optimizer(options))
        return model

    images = crop.normalize(depth_mm, spec.cube_mm)
    return network, images, make_model, lambda *shard: {"synthetic": synthetic(*shard)}


def build_init(precision):
    """Returns the functions of the initialization."""
    return functions_of_stage(*init_stage(precision))


def fine_tuning_stage(method, precision):
    """Returns (network, images of a step, function that makes the trainer, its batches)."""
    import tensorflow as tf

    from tfhand.geometry import crop
    from tfhand.hand import skeleton, spheres
    from tfhand.models import pose_prior
    from tfhand.training import fine_tuning, pretraining, tuning_settings

    network_options, _, options, weights = networks.settings(METHODS[method], precision)
    spec = networks.crop_spec(network_options)
    recording = make_recording(RECORDED_SAMPLES, spec)
    network = pretraining.build_network(network_options)
    palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
    prior = pose_prior.PosePrior(pose_prior.PosePriorConfig(palm.tolist()))
    prior.negative_elbo(tf.zeros([1, 41, 3]), sample=True)
    tuning = tuning_settings.FineTuning(recording, weights, options, precision, seed=0)
    objective = fine_tuning.make_objective(weights, options, spec, prior)
    fits = make_fits(recording) if options.method == "fit" else None
    make_batch = fine_tuning.make_batches(tuning, fits, spec, 0)
    batch = next(iter(make_dataset(make_batch)))
    recorded = tf.reshape(batch["recorded"]["depth_mm"], [-1, *recording.depth_mm.shape[2:]])
    depth_mm = tf.concat([batch["synthetic"]["depth_mm"], recorded], axis=0)

    def make_model():
        strategy = tf.distribute.get_strategy()
        return fine_tuning.make_trainer(strategy, network, objective, tuning, 0)

    return network, crop.normalize(depth_mm, spec.cube_mm), make_model, make_batch


def build_fine_tuning(method, precision):
    """Returns the functions of fine-tuning by a method."""
    return functions_of_stage(*fine_tuning_stage(method, precision))


def build_prior(hands_a_step):
    """Returns the step of the prior's training, with and without drawing its samples, by name."""
    import keras
    import tensorflow as tf

    from tfhand.data import stateless_rng
    from tfhand.hand import skeleton, spheres, statistics
    from tfhand.models import pose_prior
    from tfhand.training import prior_trainer

    palm = spheres.load().centers_mm[skeleton.PALM_SPHERES]

    def draw(step, shard=(0, 1)):
        rng = stateless_rng.for_step(0, "hands", step, shard)
        return {"spheres_mm": statistics.sample_spheres(rng, hands_a_step)}

    def make_model():
        prior = pose_prior.PosePrior(pose_prior.PosePriorConfig(palm.tolist()))
        prior.start_at_principal_components(draw(0)["spheres_mm"])
        model = prior_trainer.PriorTrainer(prior, 0)
        model.compile(optimizer=keras.optimizers.Adam(), jit_compile=False)
        return model

    in_memory = tf.data.Dataset.from_tensors(next(iter(make_dataset(draw)))).repeat()
    return {
        STEP: make_step(make_model(), make_dataset(draw)),
        "step, samples in memory": make_step(make_model(), in_memory),
    }


def measure_waiting(stage, steps):
    """Returns milliseconds of a step of a stage and of its waiting for input, means over steps."""
    _, _, make_model, make_batch = stage
    model, batches = make_model(), iter(make_dataset(make_batch))
    model.make_train_function()
    warmups, waiting = 3, 0.0
    for i in range(-warmups, steps):
        if i == 0:
            start, waiting = time.perf_counter(), 0.0
        before = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - before
        model.train_function([batch])["loss"].numpy()
    total = time.perf_counter() - start
    return 1e3 * total / steps, 1e3 * waiting / steps


def main(flag_values):
    from tfhand.training import options as train_options

    report = measure.Report(__file__, "Train steps")
    rounds, precision = flag_values.rounds, flag_values.precision
    # Several calls a round: what one version draws ahead must not load the round of the next.
    compare = functools.partial(measure.compare, rounds=rounds, calls=CALLS)
    images = networks.settings(METHODS["fit"])[1].batch
    cases = compare(build_init, precision)
    report.cases(f"Synthetic step, {images} images, {precision}", cases, relative_to=BASELINE)
    report.target("synthetic step / network alone", ratio(cases), most=TARGET_SYNTHETIC)
    for method, flagfile in METHODS.items():
        tuning = networks.settings(flagfile)[2]
        images = f"{tuning.batch} x 3 recorded and {tuning.synthetic_batch} synthetic images"
        cases = compare(build_fine_tuning, method, precision)
        title = f"Self-supervised step of {flagfile}, {images}, {precision}"
        report.cases(title, cases, relative_to=BASELINE)
        text = f"self-supervised step ({flagfile}) / network alone"
        report.target(text, ratio(cases), most=TARGET_RECORDED)
    waits = [("initialization", *measure_waiting(init_stage(precision), CALLS * rounds))]
    for method, flagfile in METHODS.items():
        stage = fine_tuning_stage(method, precision)
        waits.append((flagfile, *measure_waiting(stage, CALLS * rounds)))
    report.table("Waiting for input", ["step", "ms", "of these waiting"], waits)
    hands = train_options.PriorOptions().batch
    report.cases(f"Step of the prior, {hands} hands", compare(build_prior, hands))
    report.write(flag_values.output)


def ratio(cases):
    """Returns the time of the step over that of the network alone."""
    by_name = {case.name: case.seconds for case in cases}
    return by_name[STEP] / by_name[BASELINE]


if __name__ == "__main__":
    commands.run(main, define_flags)
