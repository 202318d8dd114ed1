"""Error of networks against the synthetic hands that they have seen, and their time: a curve.

    python -m experiments.networks --steps=1200,4000 --data_dir=OUT --output_dir=runs/networks

Every row trains its network on synthetic hands once for each number of steps, and is scored on
2,000 unseen synthetic hands and, with `--data_dir`, on the first camera of test splits, whose
labels measure and nothing more. A training that was stopped goes on with the same command.
"""

import dataclasses
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import flags
from matplotlib.figure import Figure

from data_prep import records
from experiments import pretrained_samples
from tfhand import commands
from tfhand.data import synthetic_split
from tfhand.evaluation import figures, predictions
from tfhand.geometry import crop
from tfhand.models import pose_network
from tfhand.runs import workdir
from tfhand.synthesis import samples
from tfhand.training import optimization, options, pretraining

MUON = {"optimizer": "muon", "learning_rate": 1.5e-3}
ROWS = {
    # name: settings of the network, of the training and of the synthetic hands that differ
    "base": ({}, {}, {}),
    "muon": ({}, MUON, {}),
    "muon_double_rate": ({}, MUON | {"learning_rate": 3e-3}, {}),
    "muon_half_batch": ({}, MUON | {"batch": 36}, {}),
    "growth_64": ({"growth": 64}, MUON, {}),
    "growth_96": ({"growth": 96}, MUON, {}),
    "two_stacks": ({"num_stacks": 2}, MUON, {}),
    "image_96": ({"image_size": 96, "depth": 3}, MUON, {}),
    # What is left out of the synthetic hands: faults of sensors, other sizes and proportions,
    # fingers in states of their own.
    "noise_of_pixels": ({}, MUON | {"noise": "gaussian"}, {}),
    "hands_alike": ({}, MUON, {"shape_scale": 0.3}),
    "gestures_alone": ({}, MUON, {"gesture_share": 1.0}),
}
_TIMED_CROPS = 50


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    options.define_flags(flag_values)
    flags.DEFINE_integer("seed", 1, "Seed of weights and samples.", 1, **define)
    flags.DEFINE_list("rows", ["base"], f"Some of {', '.join(ROWS)}.", **define)
    flags.DEFINE_list("steps", ["1200"], "Steps of each training, of batches of 72.", **define)
    flags.DEFINE_list("data_dir", [], "Folders of records of 64 px to score on as well.", **define)
    flags.DEFINE_string("output_dir", None, "Folder of trainings, table and figure.",
                        required=True, **define)  # fmt: skip


def main(flag_values):
    """Runs the command."""
    if unknown := sorted(set(flag_values.rows) - set(ROWS)):
        raise ValueError(f"--rows: expected some of {list(ROWS)}, received {unknown}.")
    steps = [int(number) for number in flag_values.steps]
    folder, cells = pathlib.Path(flag_values.output_dir), []
    for name in flag_values.rows:
        for number in steps:
            cells.append(_train_and_score(flag_values, name, number, folder))
    pretrained_samples.write_rows(cells, folder / "networks.json")
    _draw(cells, folder / "networks.png")


def _train_and_score(flag_values, name, steps, folder):
    """Trains a row; returns its cells by column."""
    of_network, of_training, of_hands = ROWS[name]
    network_options = options.from_flags(options.NetworkOptions, flag_values)
    network_options = dataclasses.replace(network_options, **of_network)
    init = options.from_flags(options.InitOptions, flag_values)
    batch = of_training.get("batch", init.batch)
    # As many hands, whatever the batch.
    init = dataclasses.replace(init, **of_training, steps=steps * init.batch // batch)
    spec = crop.CropSpec(network_options.image_size, network_options.cube_mm)
    context = optimization.RunContext(
        workdir.Workdir(folder / f"{name}-{steps}"),
        tf.distribute.get_strategy(),
        spec,
        flag_values.seed,
        options.from_flags(options.RunOptions, flag_values),
    )
    hands = samples.SyntheticConfig(**of_hands)
    network = pretraining.train_network(context, network_options, init, hands)
    network = pretraining.float32_copy(network, network_options)
    unseen = synthetic_split.synthetic_dataset(spec, "sensor")
    cells = {
        "row": name,
        "hands": init.steps * batch,
        "parameters": network.count_params(),
        **_errors_mm(network, unseen, spec, "unseen synthetic"),
    }
    for data_dir in flag_values.data_dir if spec.image_size == 64 else ():
        test = records.load_dataset(data_dir, "test", spec=spec)
        cells |= _errors_mm(network, test, spec, pathlib.Path(data_dir).name)
    return cells | {"ms a crop": _milliseconds_a_crop(network, spec)}


def _errors_mm(network, dataset, spec, name):
    """Returns mean and median of the first view's errors, by column."""
    predicted = predictions.predict_dataset(network, dataset, cube_mm=spec.cube_mm)
    of_frames = np.nanmean(predicted.errors_mm(view=0), axis=1)
    return {f"{name}, mm": float(of_frames.mean()), f"{name}, median": float(np.median(of_frames))}


def _milliseconds_a_crop(network, spec):
    """Returns the fastest of some forward passes of one crop."""
    network = pose_network.build_inference_network(network)
    run = tf.function(lambda images: network(images, training=False), autograph=False)
    images = tf.zeros([1, spec.image_size, spec.image_size, 1])
    seconds = []
    for _ in range(_TIMED_CROPS):
        start = time.perf_counter()
        run(images)["spheres_mm"].numpy()
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds)


def _draw(cells, path):
    """Draws error against hands, a curve a row."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(cell["row"] for cell in cells):
        own = sorted((c for c in cells if c["row"] == name), key=lambda c: c["hands"])
        hands = [cell["hands"] for cell in own]
        axes.loglog(hands, [cell["unseen synthetic, mm"] for cell in own], "o-", label=name)
    axes.set(xlabel="synthetic hands seen", ylabel="error on unseen synthetic hands (mm)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    figures.save(figure, path)


if __name__ == "__main__":
    commands.run(main, define_flags)
