"""Flags and the dataclasses they fill."""

import dataclasses

import pytest
from absl import flags

from tfhand.fitting import kinematic_fit
from tfhand.losses import terms
from tfhand.models import pose_network
from tfhand.synthesis import samples
from tfhand.training import options

CLASSES = (*options.PREFIXES,)


def parse(*arguments):
    values = flags.FlagValues()
    options.define_flags(values)
    values(["program", *arguments])
    return values


def test_every_field_is_a_flag_and_nothing_else_is():
    values = parse()
    expected = {
        prefix + field.name
        for cls, prefix in options.PREFIXES.items()
        for field in dataclasses.fields(cls)
    }
    built_in = set(flags.FlagValues())
    assert set(values) - built_in - {"flagfile", "undefok"} == expected
    assert all(values[name].help for name in expected)


def test_weights_are_the_terms():
    names = [field.name for field in dataclasses.fields(terms.LossWeights)]
    assert names == list(terms.TERMS)


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_agree(cls):
    assert options.from_flags(cls, parse()) == cls()


@pytest.mark.parametrize("cls", CLASSES)
def test_every_flag_reaches_its_field(cls):
    prefix = options.PREFIXES[cls]
    other = {}
    for field in dataclasses.fields(cls):
        choices = field.metadata.get("choices")
        if choices:
            other[field.name] = next(c for c in choices if c != field.default)
        elif isinstance(field.default, bool):
            other[field.name] = not field.default
        elif isinstance(field.default, str):
            other[field.name] = "elsewhere"
        else:
            other[field.name] = field.default + 2
            if field.metadata.get("high"):
                other[field.name] = 0.5 * field.metadata["high"]
    assert all(getattr(cls(), name) != value for name, value in other.items())
    values = parse(*(f"--{prefix}{name}={value}" for name, value in other.items()))
    assert dataclasses.asdict(options.from_flags(cls, values)) == other


def test_network_options_are_those_of_the_network():
    fields = dataclasses.asdict(options.NetworkOptions())
    # A matter of training.
    del fields["precision"]
    config = pose_network.PoseNetworkConfig(**fields)
    # The number of spheres is the hand's, the heatmap's size follows from the image's.
    assert set(vars(config)) - set(fields) == {"num_spheres", "heatmap_size"}


@pytest.mark.parametrize(
    "argument",
    ["--tune_keep_share=1.5", "--init_steps=0", "--tune_learning_rate=-1", "--tune_method=guess",
     "--prior_batch=many"],
)  # fmt: skip
def test_bad_values(argument):
    with pytest.raises(flags.IllegalFlagValueError, match=argument.split("=")[0].lstrip("-")):
        parse(argument)


def test_an_hourglass_need_not_grow():
    assert options.from_flags(options.NetworkOptions, parse("--growth=0")).growth == 0


def test_choices_are_those_that_are_understood():
    by_name = {field.name: field for cls in CLASSES for field in dataclasses.fields(cls)}
    assert by_name["noise"].metadata["choices"] == samples.NOISES
    assert by_name["fit_subject"].metadata["choices"] == kinematic_fit.FREE_SHAPES


def test_batches_are_shared_evenly():
    options.check_batches(2, tune_batch=10, init_batch=72)
    with pytest.raises(ValueError, match=r"--tune_batch.*multiple of the 4 devices, found 10"):
        options.check_batches(4, tune_batch=10)
