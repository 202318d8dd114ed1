"""Estimates replaced by hands that are fitted to the depth, starting from them. Not in the paper.

A forward pass gives spheres that no skeleton holds together. A fit takes longer, and is nearer to
the truth where network and depth agree on the fingers.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfhand.evaluation.predictions import Predictions
from tfhand.fitting import batched_fits, kinematic_fit
from tfhand.geometry import crop, rigid

__all__ = ["fit_predictions"]


def fit_predictions(
    predicted: Predictions,
    dataset: tf.data.Dataset,
    spec: crop.CropSpec,
    *,
    view: int | None = None,
    share_shape: bool = True,
    config: kinematic_fit.FitConfig | None = None,
) -> Predictions:
    """Fits one hand to each sample.

    Labels take no part.

    Args:
        predicted: Estimates of a network for `dataset`, which the fits start from.
        dataset: Samples as `data_prep.records.load_dataset` yields them, in the same order.
        spec: Crops of the data set.
        view: The one view to fit to, the others stay; None: all views of the sample together.
        share_shape: True for one shape of all samples of a subject; False for one a sample, as
            where a recording shows a person in one frame.
        config: Settings of the fits; None: the default ones.

    Returns:
        The predictions with fitted spheres.

    Raises:
        ValueError: If there is no such view.
    """
    rows = list(dataset.as_numpy_iterator())
    depth_mm = np.stack([row["depth_mm"] for row in rows])
    subjects = [row["subject"] for row in rows]
    group = np.unique(subjects, return_inverse=True)[1] if share_shape else None
    ref_from_view = np.stack([row["ref_from_view"] for row in rows])
    ref_from_crop = rigid.ref_from_crop(ref_from_view, predicted.center_mm).numpy()
    if view is not None and not 0 <= view < depth_mm.shape[1]:
        raise ValueError(f"Expected a view below {depth_mm.shape[1]}, received {view}.")
    fitted_views = slice(None) if view is None else [view]
    spheres_mm = predicted.spheres_mm.copy()
    samples = kinematic_fit.Samples(
        depth_mm[:, fitted_views], ref_from_crop[:, fitted_views], group, spec
    )
    spheres_mm[:, fitted_views] = batched_fits.refine(
        spheres_mm[:, fitted_views], samples, config or kinematic_fit.FitConfig()
    )
    return dataclasses.replace(predicted, spheres_mm=spheres_mm)
