"""The pose estimation network of section 3.2: from a depth crop to the centers of the spheres.

A stacked hourglass regresses, for each sphere, a heatmap of its 2D projection and a latent depth
map. Equations 1 and 2 integrate both to a 3D point. With cells i of an h x h grid over a crop of
side `cube_mm`, the center of cell i is at

    x_i = (i + 1/2) cube_mm / h - cube_mm / 2.

Networks are functional Keras models of built-in layers and `keras.ops` alone: a saved one loads
with `keras.models.load_model` where this package is not installed.
"""

import dataclasses

import keras
import numpy as np
from keras import layers, ops

from tfhand.models import hourglass

__all__ = [
    "DECODERS",
    "PoseNetworkConfig",
    "build_inference_network",
    "build_pose_network",
    "cube_mm_of",
]

DECODERS = ("softmax", "normalized")

# Heatmap cells per image pixel in each direction, fixed by the stem.
_STEM_STRIDE = 4
# Keeps the sum of a rectified heatmap away from zero: a map without any positive value decodes to
# the middle of the crop. 256 cells of it are 1e-4 of a target heatmap's sum.
_FLOOR = 1e-6
_HEAD_STDDEV = 1e-3
_TO_MM = "spheres_to_mm"
# Under the root of the spread, in half cubes squared: a bound of 0.15 mm at 300 mm.
_SPREAD_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class PoseNetworkConfig:
    """Architecture of a pose network.

    Attributes:
        image_size: Side S of the depth crop, px.
        heatmap_size: Side h of heatmaps and latent depth maps; must be `image_size / 4`.
        num_stacks: Number K of hourglasses, each with its own estimate.
        features: Channels at heatmap resolution.
        growth: Channels added at each halving of the resolution inside an hourglass.
        depth: Number of halvings inside an hourglass.
        num_spheres: Number N of spheres.
        cube_mm: Side of the crop, mm.
        decoder: "softmax" weighs the cells of a heatmap by softmax(alpha h), as in equations 1 and
            2; "normalized" by max(h, 0) / sum(max(h, 0)).
        alpha: Annealing factor of the softmax.
        block: Residual unit, one of `hourglass.BLOCKS`.
        normalization: One of `hourglass.NORMALIZATIONS`.
    """

    image_size: int = 64
    heatmap_size: int = 16
    num_stacks: int = 1
    features: int = 64
    growth: int = 32
    depth: int = 2
    num_spheres: int = 41
    cube_mm: float = 300.0
    decoder: str = "softmax"
    alpha: float = 10.0
    block: str = "basic"
    normalization: str = "none"

    def __post_init__(self):
        for name in ("image_size", "heatmap_size", "num_stacks", "depth", "num_spheres"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, received {getattr(self, name)}.")
        if self.features < 2 or self.features % 2:
            raise ValueError(f"Expected an even, positive features, received {self.features}.")
        if self.growth < 0 or self.growth % 2:
            raise ValueError(f"Expected an even growth of at least 0, received {self.growth}.")
        if self.image_size != _STEM_STRIDE * self.heatmap_size:
            raise ValueError(
                f"Expected an image_size of {_STEM_STRIDE} times heatmap_size, received "
                f"{self.image_size} and {self.heatmap_size}."
            )
        if self.heatmap_size % 2**self.depth:
            raise ValueError(
                f"Expected a heatmap_size divisible by 2**depth = {2**self.depth}, received "
                f"{self.heatmap_size}."
            )
        if not (self.cube_mm > 0 and self.alpha > 0):
            raise ValueError(
                f"Expected positive cube_mm and alpha, received {self.cube_mm} and {self.alpha}."
            )
        choices = (
            ("decoder", DECODERS),
            ("block", hourglass.BLOCKS),
            ("normalization", hourglass.NORMALIZATIONS),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(allowed)}, received "
                    f"{getattr(self, name)!r}."
                )


def build_pose_network(config):
    """Builds the network with all outputs that training uses.

    With B images of side S, K stacks, h x h heatmap cells and N spheres, the model maps a float32
    depth crop `[B, S, S, 1]`, depth / (cube_mm / 2) with background +1, to a dict of float32:

    * `spheres_mm`: centers estimated by the last stack, crop frame, mm, `[B, N, 3]`.
    * `spread_mm`: spread of the weights of the last heatmap, mm, `[B, N]`: the root of the summed
      variances of x and y. An indication of the uncertainty, not a calibrated one.
    * `heatmaps`: unnormalized, `[B, K, h, h, N]`, rows (y) before columns (x).
    * `latent_depth_mm`: depth from the middle of the crop, mm, `[B, K, h, h, N]`.
    * `stack_spheres_mm`: centers estimated by each stack, crop frame, mm, `[B, K, N, 3]`.

    Args:
        config: A `PoseNetworkConfig`.

    Returns:
        A functional `keras.Model`.
    """
    units = hourglass.UnitConfig(config.block, config.normalization)
    depth = keras.Input((config.image_size, config.image_size, 1), name="depth")
    x = hourglass.stem(depth, config.features, units)
    stacks = []
    for k in range(1, config.num_stacks + 1):
        features = hourglass.hourglass(x, config.depth, config.growth, units, f"stack{k}")
        features = hourglass.residual(features, config.features, units, f"stack{k}_head")
        features = layers.ReLU(name=f"stack{k}_features")(features)
        heatmaps, latent_depth = _predict_maps(features, config, f"stack{k}")
        stacks.append((heatmaps, latent_depth, *_decode(heatmaps, latent_depth, config)))
        if k < config.num_stacks:
            x = _feed_back(x, features, heatmaps, latent_depth, config.features, f"stack{k}")

    heatmaps, latent_depth, spheres, spreads = zip(*stacks, strict=True)
    half_cube_mm = config.cube_mm / 2
    stack_spheres_mm = half_cube_mm * ops.stack(spheres, axis=1)
    # A layer, so that a saved network still tells its cube, see `cube_mm_of`.
    to_mm = layers.Rescaling(half_cube_mm, dtype="float32", name=_TO_MM)
    outputs = {
        "spheres_mm": to_mm(spheres[-1]),
        "spread_mm": half_cube_mm * spreads[-1],
        "heatmaps": ops.stack(heatmaps, axis=1),
        "latent_depth_mm": half_cube_mm * ops.stack(latent_depth, axis=1),
        "stack_spheres_mm": stack_spheres_mm,
    }
    return keras.Model(depth, outputs, name="pose_network")


def build_inference_network(pose_network):
    """Returns the part of a pose network that serves, with the same weights.

    Args:
        pose_network: A model of `build_pose_network`, trained or not.

    Returns:
        A functional `keras.Model` from the same input to a dict of `spheres_mm` `[B, N, 3]` and
        `spread_mm` `[B, N]`.
    """
    outputs = {name: pose_network.output[name] for name in ("spheres_mm", "spread_mm")}
    return keras.Model(pose_network.input, outputs, name="pose")


def cube_mm_of(network):
    """Returns the side in mm of the cube that a network's crops have.

    Args:
        network: A model of this module, saved and loaded or not.

    Raises:
        ValueError: If it is another model.
    """
    try:
        return 2.0 * float(network.get_layer(_TO_MM).scale)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"Expected a pose network, found the model {network.name!r}.") from None


def _predict_maps(features, config, name):
    """Regresses heatmaps and latent depth maps (in half cubes) from features, `[B, h, h, N]`."""
    # A rectified heatmap learns only where it is positive, so it starts there.
    start = 0.1 if config.decoder == "normalized" else 0.0
    # Small weights: all heatmaps start flat and all points in the middle of the crop. A softmax
    # that starts saturated hardly learns. What becomes millimeters is float32 in any precision.
    small = keras.initializers.RandomNormal(stddev=_HEAD_STDDEV)
    heatmaps = layers.Conv2D(
        config.num_spheres,
        1,
        kernel_initializer=small,
        bias_initializer=keras.initializers.Constant(start),
        dtype="float32",
        name=f"{name}_heatmaps",
    )(features)
    latent_depth = layers.Conv2D(
        config.num_spheres,
        1,
        kernel_initializer=small,
        dtype="float32",
        name=f"{name}_latent_depth",
    )(features)
    return heatmaps, latent_depth


def _feed_back(x, features, heatmaps, latent_depth, channels, name):
    """Adds features and estimates of a stack to its input (Newell et al., section 3.3)."""
    estimates = layers.Concatenate(name=f"{name}_estimates")([heatmaps, latent_depth])
    return layers.Add(name=f"{name}_output")(
        [
            x,
            layers.Conv2D(channels, 1, name=f"{name}_remap_features")(features),
            layers.Conv2D(channels, 1, name=f"{name}_remap_estimates")(estimates),
        ]
    )


def _decode(heatmaps, latent_depth, config):
    """Integrates heatmaps and latent depth maps to points (equations 1 and 2).

    Returns:
        Points `[B, N, 3]` and the spread of the weights `[B, N]`, both in half cubes.
    """
    num_cells = config.heatmap_size**2
    heatmaps = ops.reshape(heatmaps, (-1, num_cells, config.num_spheres))
    latent_depth = ops.reshape(latent_depth, (-1, num_cells, config.num_spheres))
    if config.decoder == "softmax":
        weights = ops.softmax(config.alpha * heatmaps, axis=1)
    else:
        rectified = ops.relu(heatmaps) + _FLOOR
        weights = rectified / ops.sum(rectified, axis=1, keepdims=True)

    cells = _cell_centers(config.heatmap_size)
    # xy_bnk = sum_p weights_bpn * cells_pk
    xy = ops.einsum("bpn,pk->bnk", weights, cells)
    z = ops.sum(weights * latent_depth, axis=1)
    points = ops.concatenate([xy, ops.expand_dims(z, -1)], axis=-1)
    # Steiner: sum_p w_p |c_p - xy|^2 = sum_p w_p |c_p|^2 - |xy|^2.
    square_norms = np.sum(np.square(cells), axis=-1)
    mean_square = ops.einsum("bpn,p->bn", weights, square_norms)
    variance = ops.relu(mean_square - ops.sum(ops.square(xy), axis=-1))
    return points, ops.sqrt(variance + _SPREAD_EPSILON)


def _cell_centers(heatmap_size):
    """Returns x and y of the centers of the heatmap cells in half cubes, float32 `[h * h, 2]`."""
    centers = (np.arange(heatmap_size) + 0.5) * (2.0 / heatmap_size) - 1.0
    y, x = np.meshgrid(centers, centers, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
