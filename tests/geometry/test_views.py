"""Folding views into the batch and back."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import views


def test_fold_keeps_samples_together_and_unfold_reverts_it():
    tensor = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    folded = views.fold_views(tensor)
    assert folded.shape == (6, 4, 5)
    for b, v in np.ndindex(2, 3):
        np.testing.assert_array_equal(folded[b * 3 + v], tensor[b, v])
    np.testing.assert_array_equal(views.unfold_views(folded, 3), tensor)


def test_static_shapes_survive_an_unknown_batch():
    @tf.function(input_signature=[tf.TensorSpec([None, 3, 7, None])], autograph=False)
    def round_trip(tensor):
        folded = views.fold_views(tensor)
        assert folded.shape.as_list() == [None, 7, None]
        unfolded = views.unfold_views(folded, 3)
        assert unfolded.shape.as_list() == [None, 3, 7, None]
        return unfolded

    tensor = np.random.default_rng(0).normal(size=(2, 3, 7, 2)).astype(np.float32)
    np.testing.assert_array_equal(round_trip(tensor), tensor)
    assert round_trip(tensor[:0]).shape == (0, 3, 7, 2)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[batch, view, ...\], received \(4,\)"):
        views.fold_views(np.zeros(4))
    with pytest.raises(ValueError, match="num_views=3 rows, received 7"):
        views.unfold_views(np.zeros((7, 2)), 3)
