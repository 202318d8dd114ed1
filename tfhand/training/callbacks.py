"""What is drawn and measured at every point of the curves, for TensorBoard."""

import numpy as np
import tensorflow as tf

from tfhand.data import stateless_rng
from tfhand.evaluation import pictures, qualitative
from tfhand.geometry import crop, views

__all__ = ["Pictures", "Terms"]


class Terms:
    """Writes every term of equation 4 on some samples.

    Terms without a weight are not evaluated in training; here they are, so that runs compare.

    Args:
        objective: `objectives.RecordedObjective`.
        batch: Dict of `depth_mm` [B, V, S, S] and `ref_from_crop` [B, V, 4, 4].
    """

    def __init__(self, objective, batch):
        self._objective = objective
        self._batch = {name: tf.constant(value) for name, value in batch.items()}

    def __call__(self, model, step):
        """Writes the mean of each term over the samples."""
        # The prior draws: the same for every step, so that points compare.
        draws = stateless_rng.for_step(0, "terms of pictures", 0)
        values = self._objective.measure(model.network, self._batch, draws)
        for name, value in values.items():
            tf.summary.scalar(f"terms_of_pictures/{name}", tf.reduce_mean(value), step)


class Pictures:
    """Writes input | rendered spheres | overlay of some samples.

    Args:
        depth_mm: float32 [n, V, S, S], crop depth; the first view is drawn.
        cube_mm: Side of the crops.
    """

    def __init__(self, depth_mm, cube_mm):
        self._depth_mm = np.asarray(depth_mm)[:, :1]
        self._cube_mm = cube_mm

    def __call__(self, model, step):
        """StatelessRng one row a sample."""
        folded = crop.normalize(views.fold_views(tf.constant(self._depth_mm)), self._cube_mm)
        estimate = model.network(folded, training=False)["spheres_mm"]
        rendered = qualitative.render_own_views(
            np.asarray(estimate)[:, None], image_size=folded.shape[1], cube_mm=self._cube_mm
        )
        rows = [
            [
                pictures.colorize(self._depth_mm[i, 0], self._cube_mm),
                pictures.colorize(rendered[i, 0], self._cube_mm),
                pictures.overlay(self._depth_mm[i, 0], rendered[i, 0], self._cube_mm),
            ]
            for i in range(len(rendered))
        ]
        tf.summary.image("input_rendered_overlay", pictures.tile(np.array(rows))[None], step)
