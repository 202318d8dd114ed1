"""An initialized network, and samples of a recording to look at with it."""

import numpy as np
import tensorflow as tf

from data_prep import records
from tfhand.data import recordings
from tfhand.geometry import crop
from tfhand.runs import pretrained

__all__ = ["load"]


def load(init_from, data_dir, split, samples):
    """Loads both.

    Args:
        init_from: As for `tfhand.train`, but not none.
        data_dir: Folder of the records.
        split: Of the records.
        samples: How many, evenly spaced.

    Returns:
        (`pathlib.Path` of the start, its network in float32, `crop.CropSpec`,
        `recordings.RecordedSamples`).

    Raises:
        FileNotFoundError: If the start or the records are not there.
        ValueError: If they are damaged or do not go together.
    """
    start = pretrained.find_start(init_from, {"init": {}, "prior": {}})
    options = pretrained.network_options_of(start)
    network = pretrained.load_network(start, tf.distribute.get_strategy(), options)
    spec = crop.CropSpec(options.image_size, options.cube_mm)
    whole = recordings.read_recording(records.load_dataset(data_dir, split, spec=spec))
    chosen = np.unique(np.linspace(0, len(whole) - 1, samples).astype(int))
    return start, network, spec, recordings.select(whole, chosen)
