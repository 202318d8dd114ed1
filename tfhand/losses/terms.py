"""The weighted sum of terms, equation 4: names, weights and what each term is."""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfhand.losses import data_terms, multi_view, priors, silhouette

__all__ = ["TERMS", "LossWeights", "Term", "weighted_sum"]


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the self-supervised loss.

    Attributes:
      function: the term; returns one unweighted value a sample.
      equation: where the paper defines it.
      unit: of its values.
    """

    function: Callable[..., tf.Tensor]
    equation: str
    unit: str


TERMS: Mapping[str, Term] = {
    "model_to_data": Term(data_terms.model_to_data, "5", "mm"),
    "data_to_model": Term(data_terms.data_to_model, "9", "mm"),
    "multi_view_consistency": Term(multi_view.multi_view_consistency, "12", "mm^2"),
    "pose_prior": Term(priors.pose_prior, "13", "nats a coordinate"),
    "bone_length": Term(priors.bone_length, "14", "mm^2"),
    "collision": Term(priors.collision, "16", "mm"),
    "silhouette": Term(silhouette.silhouette, "not in the paper", "mm"),
}


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, the lambdas of equation 4; a term with weight 0 is not evaluated.

    All terms are means, so the weights do not depend on batch, image size or number of views.

    Attributes:
      model_to_data: per mm.
      data_to_model: per mm.
      multi_view_consistency: per mm^2.
      pose_prior: per unit of the negative ELBO.
      bone_length: per mm^2.
      collision: per mm.
      silhouette: per mm.

    Raises:
      ValueError: if a weight is negative or not finite.
    """

    model_to_data: float = 1.0
    data_to_model: float = 1.0
    multi_view_consistency: float = 0.01
    pose_prior: float = 0.1
    bone_length: float = 0.1
    collision: float = 1.0
    silhouette: float = 0.1

    def __post_init__(self):
        for name, weight in dataclasses.asdict(self).items():
            if not 0.0 <= weight < float("inf"):
                raise ValueError(
                    f"Expected a finite weight of 0 or more for {name}, received {weight}."
                )


def weighted_sum(terms, weights):
    """Adds up the terms that have a weight, equation 4.

    Args:
      terms: dict from name to a callable without arguments, which returns float32 `[B]`. Those
        whose weight is 0 are not called.
      weights: `LossWeights`.

    Returns:
      total float32 `[B]`, and a dict from name to the unweighted float32 `[B]` of each term that
      was evaluated, in the order of `TERMS`.

    Raises:
      ValueError: if a name is unknown, a term with a weight is missing, or no term has a weight.
    """
    unknown = sorted(set(terms) - set(TERMS))
    if unknown:
        raise ValueError(f"Expected terms among {list(TERMS)}, received {unknown}.")
    active = {name: getattr(weights, name) for name in TERMS if getattr(weights, name) > 0.0}
    missing = [name for name in active if name not in terms]
    if missing:
        raise ValueError(f"Expected a term for each weight above 0, missing {missing}.")
    if not active:
        raise ValueError(f"Expected at least one weight above 0, received {weights}.")
    values = {name: terms[name]() for name in active}
    total = tf.add_n([weight * values[name] for name, weight in active.items()])
    return total, values
