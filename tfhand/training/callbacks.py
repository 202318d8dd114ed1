"""Pictures of how training goes, for TensorBoard."""

import keras
import numpy as np
import tensorflow as tf

from tfhand.evaluation import pictures, qualitative
from tfhand.geometry import crop, views

__all__ = ["Pictures"]


class Pictures(keras.callbacks.Callback):
    """Writes input | rendered spheres | overlay of some samples at the end of every epoch.

    Args:
        directory: Folder of the event files.
        depth_mm: float32 [n, V, S, S], crop depth; the first view is drawn.
        cube_mm: Side of the crops.
    """

    def __init__(self, directory, depth_mm, cube_mm=300.0):
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(directory / "pictures"))
        self._depth_mm = np.asarray(depth_mm)[:, :1]
        self._cube_mm = cube_mm

    def on_epoch_end(self, epoch, logs=None):
        """Draws one row a sample."""
        folded = crop.normalize(views.fold_views(tf.constant(self._depth_mm)), self._cube_mm)
        estimate = self.model.network(folded, training=False)["spheres_mm"]
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
        with self._writer.as_default():
            tf.summary.image("input_rendered_overlay", pictures.tile(np.array(rows))[None], epoch)
