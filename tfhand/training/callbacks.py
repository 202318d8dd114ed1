"""What happens at the end of an epoch: pictures for TensorBoard, and a check of the loss."""

import keras
import numpy as np
import tensorflow as tf

from tfhand.evaluation import pictures, qualitative
from tfhand.geometry import crop, views

__all__ = ["Pictures", "StopAtBadLoss", "Terms"]


class StopAtBadLoss(keras.callbacks.Callback):
    """Stops training whose loss is not finite, before anything of it is kept.

    Args:
        name: Of the training, for the message.
    """

    def __init__(self, name):
        super().__init__()
        self._name = name

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the mean of every metric of the epoch.

        Raises:
            ValueError: If one is not finite.
        """
        bad = {k: float(v) for k, v in (logs or {}).items() if not np.isfinite(v)}
        if bad:
            found = ", ".join(f"{name} is {value}" for name, value in bad.items())
            raise ValueError(
                f"Training of {self._name} went wrong in epoch {epoch + 1}: {found}. A lower "
                f"learning rate may help; the backup is that of the epoch before."
            )


class Terms(keras.callbacks.Callback):
    """Writes every term of equation 4 on some samples at the end of every epoch.

    Terms without a weight are not evaluated in training; here they are, so that runs compare.

    Args:
        directory: Folder of the event files.
        objective: `objectives.RecordedObjective`.
        batch: Dict of `depth_mm` [B, V, S, S] and `ref_from_crop` [B, V, 4, 4].
    """

    def __init__(self, directory, objective, batch):
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(directory / "terms"))
        self._objective = objective
        self._batch = {name: tf.constant(value) for name, value in batch.items()}

    def on_epoch_end(self, epoch, logs=None):
        """Writes the mean of each term over the samples."""
        values = self._objective.measure(self.model.network, self._batch)
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"terms_of_pictures/{name}", tf.reduce_mean(value), epoch)


class Pictures(keras.callbacks.Callback):
    """Writes input | rendered spheres | overlay of some samples at the end of every epoch.

    Args:
        directory: Folder of the event files.
        depth_mm: float32 [n, V, S, S], crop depth; the first view is drawn.
        cube_mm: Side of the crops.
    """

    def __init__(self, directory, depth_mm, cube_mm):
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
