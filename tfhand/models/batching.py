"""How TensorFlow Serving puts requests to an exported pose network together. Not in the paper."""

import pathlib

import tensorflow as tf

__all__ = ["write_batching"]

_PARAMETERS = """\
# Read by tensorflow_model_server --enable_batching --enable_per_model_batching_parameters. A model
# without this file is served without batching. Threads are set for the whole server, in
# --batching_parameters_file.

# Frames put together at most. A request with more frames than this is refused.
max_batch_size { value: 16 }
# How long a request waits for others. 2 ms is little beside the time that a frame takes.
batch_timeout_micros { value: 2000 }
# Beyond this many waiting batches requests are refused (UNAVAILABLE) rather than kept waiting.
max_enqueued_batches { value: 64 }
"""


def write_batching(directory):
    """Writes `batching_params.pbtxt` into the SavedModel of a pose network.

    Only for models all of whose inputs and outputs have the batch as first dimension: not for the
    prior, whose signature `sample` takes a scalar.

    Args:
        directory: The SavedModel, a version directory, which exists.

    Returns:
        The file, a `pathlib.Path`. What was there is replaced.

    Raises:
        FileNotFoundError: If there is no SavedModel in the directory.
    """
    directory = pathlib.Path(directory)
    if not tf.saved_model.contains_saved_model(str(directory)):
        raise FileNotFoundError(f"Expected a SavedModel in {directory}, found none.")
    path = directory / "batching_params.pbtxt"
    path.write_text(_PARAMETERS)
    return path
