"""How far an estimate looks like a hand, and where none is taken for one.

The network estimates a hand in whatever is cropped. Where there is none, its heatmaps spread and
their means draw together, so that fingers get lengths that no hand has. Badness is the doubt
(`hand_center`: mean logarithm of the spread, mm) plus the mean `|log|` of the ratio between the
estimated distances of neighboring spheres on the fingers and the template's.
"""

import functools

import numpy as np

from tfhand.hand import skeleton, spheres
from tfhand.models import frame_model

__all__ = [
    "LARGE_BADNESS",
    "LEAST_SCORE",
    "STAYING_SHARE",
    "badness_at",
    "badness_of",
    "score_of",
]

# The badness at which the score is a half. It belongs to the weights of the package and changes
# with them; `benchmarks/hand_presence.py` says what it should be.
LARGE_BADNESS = 4.28
# Rise of the score's logit; a logistic regression on frames with and without a hand gives 10 to 12.
_STEEPNESS = 10.0
# A hand appears in a stream with such a score, and stays until its score is below that share of it.
LEAST_SCORE, STAYING_SHARE = 0.9, 1.0 / 3.0


@functools.cache
def _neighbors():
    """Returns neighbors on the fingers, int [K, 2], and their distances in the template [K], mm."""
    chains = (skeleton.FINGER_SPHERES[finger] for finger in skeleton.FINGERS)
    pairs = np.array([pair for chain in chains for pair in zip(chain[:-1], chain[1:], strict=True)])
    return pairs, _distances(spheres.load().centers_mm, pairs)


def _distances(centers_mm, pairs):
    ends_mm = centers_mm[..., pairs, :]
    return np.linalg.norm(ends_mm[..., 0, :] - ends_mm[..., 1, :], axis=-1)


def badness_of(spheres_mm, confidence):
    """Returns the badness [...] of hands: spheres_mm [..., 41, 3], confidence [..., 41]."""
    pairs, template_mm = _neighbors()
    # Spheres that coincide are as bad as any.
    lengths_mm = np.maximum(_distances(spheres_mm, pairs), 0.1)
    stretch = np.abs(np.log(lengths_mm / template_mm)).mean(axis=-1)
    return frame_model.doubt_of(confidence) + stretch


def score_of(spheres_mm, confidence):
    """Returns how far hands look like one, in [0, 1]: [...], arguments as for `badness_of`."""
    logit = _STEEPNESS * (LARGE_BADNESS - badness_of(spheres_mm, confidence))
    return 1.0 / (1.0 + np.exp(-logit))


def badness_at(score):
    """Returns the badness of a score, between 0 and 1."""
    return LARGE_BADNESS - np.log(score / (1.0 - score)) / _STEEPNESS
