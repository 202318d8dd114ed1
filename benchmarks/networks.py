"""The network's forward and backward pass alone: normalizations, XLA, and bfloat16.

Run as

    python benchmarks/networks.py --output=networks.json
"""

import dataclasses

import measure

from tfhand import commands

FLAGFILE = "configs/selfsup.flags"
IMAGES = 72


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=8)


def settings(flagfile, precision="float32"):
    """Returns the options that a flag file gives, in a precision that no machine chooses."""
    from tfhand import train
    from tfhand.training import options

    arguments = ["train", f"--flagfile={flagfile}", f"--precision={precision}", "--workdir=unused"]
    parsed = commands.parse(train.define_flags, arguments)
    kinds = (
        options.NetworkOptions,
        options.InitOptions,
        options.FineTuneOptions,
        options.LossWeights,
    )
    return [options.from_flags(kind, parsed) for kind in kinds]


def crop_spec(network_options):
    """Returns the `crop.CropSpec` of a network."""
    from tfhand.geometry import crop

    return crop.CropSpec(network_options.image_size, network_options.cube_mm)


def make_baseline(network, images, jit_compile=None):
    """Returns a function that runs the network forward and backward on images."""
    import tensorflow as tf

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(images, training=True)["spheres_mm"]))
        return tape.gradient(loss, network.trainable_variables)

    return lambda: run(images)[0].numpy()


def build_networks(batch):
    """Returns ways to run the network's forward and backward pass on one batch, by name."""
    import tensorflow as tf

    from tfhand.training import pretraining

    options = settings(FLAGFILE)[0]
    side = options.image_size
    images = tf.random.stateless_uniform([batch, side, side, 1], [0, 0], -1.0, 1.0)
    functions = {}
    for normalization in ("none", "group", "batch"):
        changed = dataclasses.replace(options, normalization=normalization)
        network = pretraining.build_network(changed)
        functions[f"normalization {normalization}"] = make_baseline(network, images)
    network = pretraining.build_network(options)
    functions["jit_compile"] = make_baseline(network, images, jit_compile=True)
    mixed = dataclasses.replace(options, precision="mixed_bfloat16")
    functions[mixed.precision] = make_baseline(pretraining.build_network(mixed), images)
    return functions


def main(flag_values):
    report = measure.Report(__file__, "The network, forward and backward")
    cases = measure.compare(build_networks, IMAGES, rounds=flag_values.rounds)
    report.cases(f"{IMAGES} images", cases, relative_to=cases[0].name)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
