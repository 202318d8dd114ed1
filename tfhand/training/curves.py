"""The TensorBoard logs of a training that may be cut off: each point once, none missing."""

import numpy as np
import tensorflow as tf
from absl import logging

from tfhand import files

__all__ = ["read", "rewind"]


def read(folder):
    """Reads the scalars that were logged.

    Args:
        folder: `pathlib.Path` of event files.

    Returns:
        Dict from a tag to its points [(step, value)], by step; pictures are left out.
    """
    found = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                if np.issubdtype(content.dtype, np.number) and content.ndim == 0:
                    found.setdefault(value.tag, []).append((event.step, float(content)))
    return {tag: sorted(points) for tag, points in found.items()}


def rewind(folder, step):
    """Drops what was logged after a step, from which the training goes on.

    Args:
        folder: `pathlib.Path` of event files; need not exist.
        step: int; later points go, and so does a last record that was cut off.

    Raises:
        OSError: If they cannot be written; what was there stays.
    """
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        # What was logged before the cut is on disk: writers are flushed before a checkpoint.
        kept, dropped = _split(path, step)
        if not dropped:
            continue
        # TensorBoard reads whatever has "tfevents" in its name, so this has not.
        with files.folder_beside(path) as hidden:
            partial = hidden / "rewound"
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for record in kept:
                    writer.write(record)
            partial.replace(path)


def _split(path, step):
    """Returns the records up to a step, and whether there is anything else."""
    kept, dropped = [], False
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            if event.HasField("summary") and event.step > step:
                dropped = True
            else:
                kept.append(record)
    except tf.errors.DataLossError:
        dropped = True
        last = max((tf.compat.v1.Event.FromString(record).step for record in kept), default=0)
        logging.warning("%s ends with a damaged record, after step %d.", path, last)
    return kept, dropped
