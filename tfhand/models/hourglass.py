"""The hourglass of Newell et al. (2016), the fully convolutional network of section 3.2.

Every function maps a symbolic Keras tensor `[B, H, W, C]` to another. They use built-in layers and
`keras.ops` only, so that a saved network loads without this package and under any backend.

A residual unit is in pre-activation order (normalization, ReLU, convolution) and ends in a
convolution whose kernel starts at zero. A new network is therefore a chain of identities, whatever
its depth (Zhang et al., "Fixup initialization", 2019), which lets it train without normalization.
"""

from typing import NamedTuple

from keras import layers, ops

__all__ = ["BLOCKS", "NORMALIZATIONS", "UnitConfig", "hourglass", "residual", "stem"]

BLOCKS = ("basic", "bottleneck")
NORMALIZATIONS = ("none", "group", "batch")

_GROUP_CHANNELS = 16
_VARIANCE_EPSILON = 1e-5
# Statistics over a batch of a hundred maps are good estimates, and a run has only thousands of
# steps: the moving averages forget faster than with Keras' default of 0.99.
_BATCH_MOMENTUM = 0.95


class UnitConfig(NamedTuple):
    """Form of the units of a network.

    Attributes:
        block: One of `BLOCKS`. "basic" has two 3 x 3 convolutions; "bottleneck" is Newell's
            1 x 1, 3 x 3, 1 x 1 with half as many channels inside.
        normalization: One of `NORMALIZATIONS`.
    """

    block: str = "basic"
    normalization: str = "none"


def stem(x, channels, config, name="stem"):
    """Reduces an image fourfold in each direction, from `[B, S, S, 1]` to `[B, S/4, S/4, C]`."""
    x = _convolve(x, channels // 2, 5, f"{name}_conv1", strides=2)
    x = _normalize_activate(x, config.normalization, f"{name}_norm")
    x = _convolve(x, channels, 3, f"{name}_conv2", strides=2)
    return residual(x, channels, config, f"{name}_residual")


def residual(x, channels, config, name):
    """Adds a correction to `x`, which is projected first if its channels are not `channels`."""
    shortcut = x
    if x.shape[-1] != channels:
        shortcut = _convolve(x, channels, 1, f"{name}_project", kernel_initializer="lecun_normal")
    if config.block == "basic":
        widths, kernel_sizes = (channels, channels), (3, 3)
    else:
        widths, kernel_sizes = (channels // 2, channels // 2, channels), (1, 3, 1)
    last = len(widths)
    for i, (width, kernel_size) in enumerate(zip(widths, kernel_sizes, strict=True), start=1):
        x = _normalize_activate(x, config.normalization, f"{name}_norm{i}")
        initializer = "zeros" if i == last else "he_normal"
        x = _convolve(x, width, kernel_size, f"{name}_conv{i}", kernel_initializer=initializer)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def hourglass(x, depth, growth, config, name):
    """Halves the resolution `depth` times, then doubles it again, with a skip at each resolution.

    Args:
        x: Feature map `[B, H, W, C]`; H and W are divisible by `2**depth`.
        depth: Number of times the resolution is halved, at least 1.
        growth: Channels added at each halving (Newell et al., "Associative embedding", 2017). Wide
            maps are cheap where they are small.
        config: A `UnitConfig`.
        name: Prefix of the layers' names.

    Returns:
        Feature map of the shape of `x`.
    """
    channels = x.shape[-1]
    skip = residual(x, channels, config, f"{name}_skip{depth}")
    lower = layers.MaxPooling2D(2, name=f"{name}_pool{depth}")(x)
    lower = residual(lower, channels + growth, config, f"{name}_down{depth}")
    if depth > 1:
        lower = hourglass(lower, depth - 1, growth, config, name)
    else:
        lower = residual(lower, channels + growth, config, f"{name}_middle")
    lower = residual(lower, channels, config, f"{name}_up{depth}")
    lower = layers.UpSampling2D(2, name=f"{name}_upsample{depth}")(lower)
    return layers.Add(name=f"{name}_merge{depth}")([skip, lower])


def _convolve(x, channels, kernel_size, name, *, strides=1, kernel_initializer="he_normal"):
    return layers.Conv2D(
        channels,
        kernel_size,
        strides=strides,
        padding="same",
        kernel_initializer=kernel_initializer,
        name=name,
    )(x)


def _normalize_activate(x, normalization, name):
    if normalization == "group":
        x = _group_normalize(x, name)
    elif normalization == "batch":
        x = layers.BatchNormalization(
            momentum=_BATCH_MOMENTUM, epsilon=_VARIANCE_EPSILON, name=name
        )(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _group_normalize(x, name):
    """Applies group normalization (Wu & He, 2018) as one scale and one shift of the feature map.

    The moments of a group are averages of its channels' moments, so that only two reductions and
    the fused scale and shift touch the whole map; `keras.layers.GroupNormalization` reshapes and
    broadcasts it several times.
    """
    channels = x.shape[-1]
    groups = max(1, channels // _GROUP_CHANNELS)

    def average_groups(moments):
        grouped = ops.reshape(moments, (-1, groups, channels // groups))
        return ops.repeat(ops.mean(grouped, axis=-1), channels // groups, axis=-1)

    mean = average_groups(ops.mean(x, axis=(1, 2)))
    mean_square = average_groups(ops.mean(ops.square(x), axis=(1, 2)))
    variance = ops.relu(mean_square - ops.square(mean))
    scale = _scale_channels(ops.rsqrt(variance + _VARIANCE_EPSILON), f"{name}_scale")
    shift = _scale_channels(-mean * scale, f"{name}_shift", bias_axes="c")
    return x * ops.reshape(scale, (-1, 1, 1, channels)) + ops.reshape(shift, (-1, 1, 1, channels))


def _scale_channels(x, name, *, bias_axes=None):
    """Scales the channels of `[B, C]` by learned factors, at first 1; `bias_axes` adds a bias."""
    # y_bc = x_bc * kernel_c + bias_c
    return layers.EinsumDense(
        "bc,c->bc",
        output_shape=(x.shape[-1],),
        bias_axes=bias_axes,
        kernel_initializer="ones",
        name=name,
    )(x)
