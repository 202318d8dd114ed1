"""The terms of the self-supervised loss and their weighted sum, equation 4.

A new term is a function and its entry in `TERMS`. The entry makes the field of `LossWeights`, and
so the flag `--weight_<name>`. Fits of the hand's skeleton have a sum of their own
(`fitting.kinematic_fit`).
"""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from tfhand.geometry import rigid
from tfhand.hand import skeleton, spheres, statistics
from tfhand.losses import data_terms, forearm, multi_view, priors, silhouette, view_pairs
from tfhand.losses.observation import Observation

__all__ = ["TERMS", "LossWeights", "Term", "TermInputs", "weighted_sum"]


@dataclasses.dataclass(frozen=True)
class TermInputs:
    """An estimate and the views of it: what a term may look at.

    What several terms need is computed once, and not before one of them reads it.

    Attributes:
        spheres_mm: float32 `[B, V, 41, 3]`, mm, the estimates, each in its own crop frame.
        ref_from_crop: float32 `[B, V, 4, 4]`.
        is_multi_view: float32 `[B]`, 1 where the views of a sample teach each other, else 0.
        observation: `Observation` of the views.
        margin_px: See `data_terms.grow_radii`.
        negative_elbo: Function from spheres [M, 41, 3] and an rng to the negative ELBO [M] under a
            frozen prior; None without one.
        rng: `StatelessRng` or `tf.random.Generator` for what terms draw.
    """

    spheres_mm: tf.Tensor
    ref_from_crop: tf.Tensor
    is_multi_view: tf.Tensor
    observation: Observation
    margin_px: float = 0.5
    negative_elbo: Callable[..., tf.Tensor] | None = None
    rng: object = None

    @functools.cached_property
    def spheres_ref_mm(self):
        """The estimates in the reference frame of their sample, float32 `[B, V, 41, 3]`, mm."""
        return rigid.apply(self.ref_from_crop, self.spheres_mm)

    @functools.cached_property
    def projected_mm(self):
        """The estimates of view i in the crop frame of view j, float32 `[B, Vi, Vj, 41, 3]`, mm.

        The data terms must not pull the wrist along the arm, see `forearm.hold_wrist`.
        """
        return view_pairs.project_to_views(forearm.hold_wrist(self.spheres_mm), self.ref_from_crop)

    @functools.cached_property
    def dense_spheres(self):
        """(centers `[B, Vi, Vj, M, 3]`, radii `[M]`) of the surface as crops show it, mm."""
        centers, radii = spheres.dense_spheres(self.projected_mm, spheres.load().radii_mm)
        return centers, data_terms.grow_radii(radii, self.observation.spec, self.margin_px)

    @functools.cached_property
    def observed_hand(self):
        """The `Observation` without what is beyond the estimated wrists."""
        return self.observation.without_forearm(self.projected_mm)


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the self-supervised loss.

    Attributes:
        evaluate: Function from `TermInputs` to one unweighted value a sample, float32 `[B]`.
        weight: Default weight, in `1 / unit`.
        equation: Where the paper defines the term.
        unit: Unit of its values.
    """

    evaluate: Callable[[TermInputs], tf.Tensor]
    weight: float
    equation: str
    unit: str


TERMS = {
    "model_to_data": Term(
        lambda x: data_terms.model_to_data(*x.dense_spheres, x.observed_hand),
        weight=1.0, equation="5", unit="mm",
    ),
    "data_to_model": Term(
        lambda x: data_terms.data_to_model(*x.dense_spheres, x.observed_hand),
        weight=1.0, equation="9", unit="mm",
    ),
    "multi_view_consistency": Term(
        lambda x: x.is_multi_view * multi_view.multi_view_consistency(x.spheres_ref_mm),
        weight=0.01, equation="12", unit="mm^2",
    ),
    "pose_prior": Term(
        lambda x: priors.pose_prior(x.spheres_mm, functools.partial(x.negative_elbo, rng=x.rng)),
        weight=0.1, equation="13", unit="nats a coordinate",
    ),
    "bone_length": Term(
        lambda x: priors.bone_length(
            x.spheres_mm, skeleton.LENGTH_PAIRS, *statistics.length_ranges()
        ),
        weight=0.1, equation="14", unit="mm^2",
    ),
    "collision": Term(
        lambda x: priors.collision(
            x.spheres_mm, skeleton.COLLISION_PAIRS, statistics.collision_distances()
        ),
        weight=1.0, equation="16", unit="mm",
    ),
    "silhouette": Term(
        lambda x: silhouette.silhouette(x.projected_mm, x.observation),
        weight=0.5, equation="not in the paper", unit="mm",
    ),
}  # fmt: skip


def _active(weights):
    """The weights above 0 by name, in the order of `TERMS`."""
    return {name: weight for name, weight in dataclasses.asdict(weights).items() if weight > 0.0}


def _check_weights(weights):
    for name, weight in dataclasses.asdict(weights).items():
        if not 0.0 <= weight < float("inf"):
            raise ValueError(
                f"Expected a finite weight of 0 or more for {name}, received {weight}."
            )


LossWeights = dataclasses.make_dataclass(
    "LossWeights",
    [(name, float, term.weight) for name, term in TERMS.items()],
    namespace={
        "active": property(_active),
        "__post_init__": _check_weights,
        "__module__": __name__,
    },
    frozen=True,
)
LossWeights.__doc__ = """Weights of `TERMS`, the lambdas of equation 4; 0 skips a term.

All terms are means, so the weights do not depend on batch, image size or number of views. `active`
is the dict of those above 0.

Raises:
    ValueError: If a weight is negative or not finite.
"""


def weighted_sum(inputs, weights):
    """Adds up the terms that have a weight, equation 4.

    Args:
        inputs: `TermInputs`.
        weights: `LossWeights`.

    Returns:
        (total float32 `[B]`, dict from name to the unweighted float32 `[B]` of each term with a
        weight, in the order of `TERMS`).

    Raises:
        ValueError: If no term has a weight.
    """
    active = weights.active
    if not active:
        raise ValueError(f"Expected at least one weight above 0, received {weights}.")
    values = {name: TERMS[name].evaluate(inputs) for name in active}
    total = tf.add_n([weight * values[name] for name, weight in active.items()])
    return total, values
