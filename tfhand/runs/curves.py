"""Curves of a training, read back from its TensorBoard logs."""

import numpy as np
import tensorflow as tf
from absl import logging

__all__ = ["read"]


def read(folder):
    """Reads the scalars that were logged.

    Args:
        folder: `pathlib.Path` of event files.

    Returns:
        Dict from a tag to its points [(step, value)], by step; pictures are left out. A point that
        a restarted training wrote again counts once.
    """
    points = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for record in _records(path):
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                if np.issubdtype(content.dtype, np.number) and content.ndim == 0:
                    points.setdefault(value.tag, {})[event.step] = float(content)
    return {tag: sorted(values.items()) for tag, values in points.items()}


def _records(path):
    """Yields the records of a file; the last one may have been cut off."""
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError:
        logging.warning("%s ends with a damaged record.", path)
