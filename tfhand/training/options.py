"""Settings of a training run, one frozen dataclass a stage, and the flags made from them."""

import dataclasses

from absl import flags

from tfhand.losses.terms import TERMS, LossWeights

__all__ = [
    "FineTuneOptions",
    "InitOptions",
    "NetworkOptions",
    "PriorOptions",
    "RunOptions",
    "check_batches",
    "define_flags",
    "from_flags",
    "requested_settings",
]


def _field(default, text, choices=None, *, low=None, high=None):
    metadata = {"help": text, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The pose network, see `models.pose_network.PoseNetworkConfig`, and how it computes."""

    image_size: int = _field(64, "Side of the depth crops, px.")
    cube_mm: float = _field(300.0, "Side of the crop's cube, mm.")
    num_stacks: int = _field(1, "Hourglasses, one after the other.")
    features: int = _field(64, "Channels at the resolution of the heatmaps.")
    growth: int = _field(32, "Channels added at each halving inside an hourglass.", low=0)
    depth: int = _field(2, "Halvings inside an hourglass.")
    block: str = _field("basic", "Residual unit.", ("basic", "bottleneck"))
    normalization: str = _field("none", "Normalization of activations.", ("none", "group", "batch"))
    decoder: str = _field("softmax", "Heatmap to coordinates.", ("softmax", "normalized"))
    alpha: float = _field(10.0, "Annealing factor of the softmax, equation 1.")
    precision: str = _field(
        "float32",
        "Precision of hidden layers while training; weights, maps and estimates are float32.",
        ("float32", "mixed_bfloat16"),
    )


@dataclasses.dataclass(frozen=True)
class PriorOptions:
    """Training of the pose prior (equation 13)."""

    steps: int = _field(1500, "Steps of the prior.")
    batch: int = _field(256, "Hands a step.")


@dataclasses.dataclass(frozen=True)
class InitOptions:
    """Initialization on synthetic samples (section 3.3)."""

    steps: int = _field(2100, "Steps on synthetic samples.")
    batch: int = _field(72, "Synthetic samples a step, over all devices.")
    learning_rate: float = _field(3e-3, "Highest learning rate.")
    optimizer: str = _field(
        "adamw",
        "muon: orthogonal updates of kernels, see `training/muon.py`; less error after as many "
        "steps, at half the learning rate.",
        ("adamw", "muon"),
    )
    hold_steps: int = _field(
        0, "Steps at the highest learning rate, before it falls along a cosine.", low=0
    )
    supervision: str = _field(
        "coordinates",
        "Target of synthetic samples, in all stages: L1 of coordinates, or maps (equation 3).",
        ("coordinates", "maps"),
    )
    noise: str = _field(
        "sensor",
        "Noise of the initialization's samples: the faults of a structured-light sensor; "
        "gaussian: a pixel of jitter and 5 mm along the axis, as in the paper's public code; none. "
        "Fine-tuning draws the first.",
        ("sensor", "gaussian", "none"),
    )

    def __post_init__(self):
        if self.hold_steps >= self.steps:
            raise ValueError(
                f"Expected --init_hold_steps below --init_steps={self.steps}, received "
                f"{self.hold_steps}."
            )


@dataclasses.dataclass(frozen=True)
class FineTuneOptions:
    """Fine-tuning on a recording (section 3.4)."""

    method: str = _field(
        "fit",
        "gradient: the terms' gradient through the network, as in the paper; fit: that, and fitted "
        "hands as targets; labels: the recording's labels, for comparison; none.",
        ("gradient", "fit", "labels", "none"),
    )
    steps: int = _field(1600, "Steps on the recording, over all rounds.")
    batch: int = _field(10, "Recorded samples a step, over all devices.")
    synthetic_batch: int = _field(42, "Synthetic samples mixed into a step, over all devices.")
    synthetic_weight: float = _field(1.0, "Weight of the synthetic samples.")
    learning_rate: float = _field(2e-3, "Highest learning rate.")
    average: float = _field(
        0.0,
        "Share of the averaged weights that every step keeps; the network of a round ends with "
        "the average. 0: with the last weights.",
        high=0.9999,
    )
    rounds: int = _field(1, "Rounds of fitting and training (method fit).")
    target_weight: float = _field(1.0, "Weight of the distance to fitted hands or labels.")
    keep_share: float = _field(
        0.85, "Share of the fits, the best by residual, to learn from.", high=1.0
    )
    keep_parts_share: float = _field(
        1.0, "Share of the fingers and palms of the kept fits to learn from.", high=1.0
    )
    most_residual_mm: float = _field(
        7.0, "Largest residual of a part of a fit to learn from, mm; see `pseudo_labels.Gate`."
    )
    fit_steps: int = _field(60, "Steps of a fit on the depth maps.")
    fit_subject: str = _field(
        "all",
        "Fitted parameters of each subject's hand: all, lengths (thickness is that of the mean "
        "hand), or none (the mean hand).",
        ("all", "lengths", "none"),
    )
    clamp_mm: float = _field(
        50.0, "Largest difference that counts in the data terms, mm; not those of fits."
    )
    stride: int = _field(
        2, "The data terms, but those of fits, use every stride-th row and column."
    )
    splits: str = _field(
        "train",
        "Splits of the records to fine-tune on.",
        ("train", "test", "train_and_test"),
    )
    multi_view_share: float = _field(
        1.0,
        "Share of every subject's samples, the first in time, whose views teach each other.",
        high=1.0,
    )
    single_view_share: float = _field(
        0.0, "Share of them, those that follow, whose views are taken one by one.", high=1.0
    )
    augment: bool = _field(True, "Turn, resize, shift and thin out recorded crops.")
    margin_px: float = _field(
        0.5, "How much nearer and wider than along its rays a crop shows a surface, pixels."
    )
    near_fits: float = _field(
        0.8, "Share of the synthetic samples seen as in the recording (method fit).", high=1.0
    )


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Limits of a training; they do not change the weights of one that ends."""

    checkpoint_steps: int = _field(
        100, "Steps from one checkpoint, and one point of the curves, to the next."
    )
    max_skipped_in_row: int = _field(
        10, "Most steps in a row that may be skipped because a number is not finite.", low=0
    )
    max_skipped: int = _field(100, "Most such steps of a training in all.", low=0)


# Flag prefix of each dataclass.
PREFIXES = {
    NetworkOptions: "",
    PriorOptions: "prior_",
    InitOptions: "init_",
    FineTuneOptions: "tune_",
    LossWeights: "weight_",
    RunOptions: "",
}

_DEFINERS = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    str: flags.DEFINE_string,
}
# Numbers count something, or weigh or measure it, unless a field has a bound of its own.
_LOWEST = {int: 1, float: 0.0}


def _weight_help(name):
    term = TERMS[name]
    number = f"equation {term.equation}" if term.equation.isdigit() else term.equation
    return f"Weight of the term {name} ({number}; values in {term.unit})."


def define_flags(flag_values):
    """Defines one flag for each field of the dataclasses, named prefix + field.

    Args:
        flag_values: absl `FlagValues` to define them on.
    """
    for options, prefix in PREFIXES.items():
        for field in dataclasses.fields(options):
            name = prefix + field.name
            text = field.metadata.get("help") or _weight_help(field.name)
            choices = field.metadata.get("choices")
            if choices:
                flags.DEFINE_enum(name, field.default, choices, text, flag_values=flag_values)
                continue
            bounds = {}
            if type(field.default) in _LOWEST:
                low = field.metadata.get("low")
                bounds["lower_bound"] = _LOWEST[type(field.default)] if low is None else low
                bounds["upper_bound"] = field.metadata.get("high")
            definer = _DEFINERS[type(field.default)]
            definer(name, field.default, text, flag_values=flag_values, **bounds)


def from_flags(options, flag_values):
    """Returns an instance of one of the dataclasses from parsed flags.

    Args:
        options: The dataclass.
        flag_values: Parsed absl `FlagValues`.
    """
    prefix = PREFIXES[options]
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: flag_values[prefix + name].value for name in names})


def requested_settings(flag_values):
    """Returns what a pretrained network and prior must have been made with.

    Args:
        flag_values: Parsed absl `FlagValues`.

    Returns:
        Dict of "init", the whole network and the flags of its training that were given, and of
        "prior", likewise; see `pretrained.find_pretrained`.
    """
    network = dataclasses.asdict(from_flags(NetworkOptions, flag_values))
    # How it computes, not what it is.
    del network["precision"]
    requested = {"init": network, "prior": {}}
    for stage, options in (("init", InitOptions), ("prior", PriorOptions)):
        for field in dataclasses.fields(options):
            flag = flag_values[PREFIXES[options] + field.name]
            if flag.present:
                requested[stage][field.name] = flag.value
    return requested


def check_batches(num_replicas, **batches):
    """Checks that every replica gets the same share of every batch.

    The mean over replicas is that over the batch only then.

    Args:
        num_replicas: Number of replicas.
        **batches: Samples a step over all replicas, by flag.

    Raises:
        ValueError: If a batch cannot be divided.
    """
    for name, size in batches.items():
        if size % num_replicas:
            raise ValueError(
                f"Expected --{name} to be a multiple of the {num_replicas} devices, found {size}."
            )
