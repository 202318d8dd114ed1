"""Where fine-tuning starts: an initialized network and a prior, of a run or of the package."""

import dataclasses
import pathlib

from tfhand import files
from tfhand.models import package_weights, pose_prior, weights
from tfhand.training import pretraining
from tfhand.training.options import InitOptions, NetworkOptions, PriorOptions

__all__ = [
    "NONE",
    "find_start",
    "given_settings",
    "load_network",
    "load_prior",
    "network_options_of",
]

# `--init_from` of a run that trains both itself.
NONE = "none"
_STAGES = {"init": (NetworkOptions, InitOptions), "prior": (PriorOptions,)}


def find_start(init_from, given):
    """Finds what `--init_from` names, and compares it with the settings that were asked for.

    Args:
        init_from: "none", "shipped" (the package's weights), or the folder of a run.
        given: Dict from a stage, "init" or "prior", to the settings that the user gave, by the
            names of the fields of `options.NetworkOptions`, `InitOptions` and `PriorOptions`.

    Returns:
        `pathlib.Path` with the finished stages, or None if they are to be made.

    Raises:
        FileNotFoundError: If they are not there.
        ValueError: If they were made with other settings.
    """
    if init_from == NONE:
        return None
    folder = (
        package_weights.FOLDER if init_from == package_weights.NAME else pathlib.Path(init_from)
    )
    for stage in _STAGES:
        if not (folder / stage / "done.json").is_file():
            raise FileNotFoundError(
                f"Expected --init_from={NONE}, {package_weights.NAME} or a run with a finished "
                f"stage {stage}, found none in {folder}."
            )
        found = files.read_json(folder / stage / "settings.json")
        if not isinstance(found, dict):
            raise ValueError(f"Expected settings of the stage {stage} in {folder}, found none.")
        for name, value in given[stage].items():
            if found.get(name) != value:
                raise ValueError(
                    f"Expected the settings that --init_from={init_from} was made with, {name}="
                    f"{found.get(name)} in its stage {stage}, received {value}. --init_from="
                    f"{NONE} trains the stage with yours."
                )
    return folder


def given_settings(values, network_options):
    """Returns what `find_start` compares: the whole network, and flags that were given.

    Args:
        values: Parsed absl `FlagValues`.
        network_options: `options.NetworkOptions` made from them.
    """
    network = dataclasses.asdict(network_options)
    # How it computes, not what it is.
    del network["precision"]
    given = {"init": network, "prior": {}}
    for stage, prefix, options in (
        ("init", "init_", InitOptions),
        ("prior", "prior_", PriorOptions),
    ):
        for field in dataclasses.fields(options):
            flag = values[prefix + field.name]
            if flag.present:
                given[stage][field.name] = flag.value
    return given


def network_options_of(folder):
    """Returns the `options.NetworkOptions` of the network of a start, to use it in float32.

    Raises:
        ValueError: If its settings lack one of them.
    """
    settings = files.read_json(folder / "init" / "settings.json")
    names = {field.name for field in dataclasses.fields(NetworkOptions)}
    if not isinstance(settings, dict) or not names <= set(settings):
        raise ValueError(f"Expected settings {sorted(names)} of a network in {folder / 'init'}.")
    made_with = NetworkOptions(**{name: settings[name] for name in names})
    return dataclasses.replace(made_with, precision="float32")


def load_prior(folder):
    """Returns the frozen `pose_prior.PosePrior` of a start."""
    return pose_prior.load_prior(folder / "prior")


def load_network(folder, strategy, network_options):
    """Returns the pose network of a start, made in the strategy's scope."""
    with strategy.scope():
        network = pretraining.build_network(network_options)
    weights.load_weights(network, folder / "init" / "pose.weights.h5")
    return network
