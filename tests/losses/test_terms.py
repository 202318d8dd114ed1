import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop
from tfhand.losses import terms
from tfhand.losses.observation import observe

NO_WEIGHTS = dict.fromkeys(terms.TERMS, 0.0)


def test_every_term_has_a_weight_with_its_default():
    defaults = dataclasses.asdict(terms.LossWeights())
    assert defaults == {name: term.weight for name, term in terms.TERMS.items()}


def test_a_new_term_is_one_entry(monkeypatch):
    monkeypatch.setitem(
        terms.TERMS, "size", terms.Term(lambda x: x.spheres_mm[:, 0, 0, 0], 2.0, "none", "mm")
    )
    fields = {"fields": [("size", float, 2.0)], "bases": (terms.LossWeights,), "frozen": True}
    weights = dataclasses.make_dataclass("Weights", **fields)(**NO_WEIGHTS)
    inputs = terms.TermInputs(tf.ones([3, 1, 41, 3]), None, None, None)
    total, values = terms.weighted_sum(inputs, weights)
    np.testing.assert_array_equal(total, [2.0] * 3)
    np.testing.assert_array_equal(values["size"], [1.0] * 3)


def test_weighted_sum_evaluates_only_terms_with_a_weight():
    weights = terms.LossWeights(**{**NO_WEIGHTS, "collision": 2.0, "bone_length": 0.5})
    spheres_mm = tf.random.stateless_normal([2, 3, 41, 3], [1, 2], stddev=30.0)
    # Nothing to see: a term of the depth maps would fail.
    total, values = terms.weighted_sum(
        terms.TermInputs(spheres_mm, ref_from_crop=None, is_multi_view=None, observation=None),
        weights,
    )
    assert list(values) == ["bone_length", "collision"]
    assert (values["bone_length"].numpy() > 0.0).all() and (values["collision"].numpy() > 0.0).all()
    expected = 2.0 * values["collision"] + 0.5 * values["bone_length"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_what_terms_share_is_computed_once():
    observation = observe(tf.zeros([2, 1, 16, 16]), crop.CropSpec(16, 300.0))
    inputs = terms.TermInputs(
        tf.zeros([2, 1, 41, 3]), tf.eye(4, batch_shape=[2, 1]), tf.ones([2]), observation
    )
    assert inputs.projected_mm is inputs.projected_mm
    assert inputs.observed_hand is inputs.observed_hand
    assert inputs.dense_spheres[0] is inputs.dense_spheres[0]


def test_no_weight_at_all_is_rejected():
    with pytest.raises(ValueError, match="at least one weight"):
        terms.weighted_sum(None, terms.LossWeights(**NO_WEIGHTS))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_invalid_weights_are_rejected(weight):
    with pytest.raises(ValueError, match="silhouette"):
        terms.LossWeights(silhouette=weight)
