import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow as tf

from tfhand.losses import terms

NO_WEIGHTS = {field.name: 0.0 for field in dataclasses.fields(terms.LossWeights)}


def test_registry_and_weights_name_the_same_terms():
    assert list(terms.TERMS) == [field.name for field in dataclasses.fields(terms.LossWeights)]


def test_registered_functions_carry_their_name_and_document_their_unit():
    for name, term in terms.TERMS.items():
        assert term.function.__name__ == name
        returns = inspect.getdoc(term.function).split("Returns:")[1]
        assert term.unit in returns


def test_weighted_sum_evaluates_only_terms_with_a_weight():
    weights = terms.LossWeights(**{**NO_WEIGHTS, "collision": 2.0, "model_to_data": 0.5})

    def must_not_run():
        raise AssertionError

    total, values = terms.weighted_sum(
        {
            "bone_length": must_not_run,
            "collision": lambda: tf.constant([1.0, 2.0]),
            "model_to_data": lambda: tf.constant([10.0, 20.0]),
        },
        weights,
    )
    np.testing.assert_allclose(total, [7.0, 14.0])
    assert list(values) == ["model_to_data", "collision"]
    np.testing.assert_array_equal(values["model_to_data"], [10.0, 20.0])


def test_unknown_missing_and_no_terms_are_rejected():
    weights = terms.LossWeights(**{**NO_WEIGHTS, "collision": 1.0})
    with pytest.raises(ValueError, match="colision"):
        terms.weighted_sum({"colision": lambda: tf.zeros([1])}, weights)
    with pytest.raises(ValueError, match=r"missing \['collision'\]"):
        terms.weighted_sum({}, weights)
    with pytest.raises(ValueError, match="at least one weight"):
        terms.weighted_sum({}, terms.LossWeights(**NO_WEIGHTS))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_invalid_weights_are_rejected(weight):
    with pytest.raises(ValueError, match="silhouette"):
        terms.LossWeights(silhouette=weight)
