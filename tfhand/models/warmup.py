"""Requests that TensorFlow Serving replays when it loads a SavedModel. Not in the paper.

The first requests to a model just loaded are slow; a server that finds requests in the file
`assets.extra/tf_serving_warmup_requests` of the SavedModel runs them before it reports the model as
available. A model with a request that fails is not loaded at all.

The file is a TFRecord of `tensorflow.serving.PredictionLog`. Of that message only these fields are
written, and each is a length-delimited one, so that package tensorflow-serving-api is not needed:

    PredictionLog.predict_log = 6    PredictRequest.model_spec = 1    ModelSpec.signature_name = 3
    PredictLog.request = 1           PredictRequest.inputs = 2, a map: key = 1, value = 2
"""

import pathlib

import numpy as np
import tensorflow as tf

__all__ = ["pose_requests", "prior_requests", "write_warmup"]

# TensorFlow Serving refuses files with more.
_MAX_REQUESTS = 1000
# A ball as large as a fist, held before a depth camera of common size: pixels and mm.
_HEIGHT, _WIDTH, _FOCAL_PX = 480, 640, 588.0
_RADIUS_MM, _DISTANCE_MM = 45.0, 700.0


def write_warmup(directory, requests):
    """Writes requests to replay into a SavedModel.

    Args:
        directory: The SavedModel, a version directory, which exists.
        requests: List of `(signature_name, {input_name: array})`, in the order of replay; arrays
            of the signature's types, with all its inputs. With batching, inputs of one request
            need the same first dimension.

    Returns:
        The file, a `pathlib.Path`; an older one is replaced.

    Raises:
        FileNotFoundError: If there is no SavedModel in the directory.
        ValueError: If there are no requests or more than 1,000, or one is not of that form.
    """
    directory = pathlib.Path(directory)
    if not tf.saved_model.contains_saved_model(str(directory)):
        raise FileNotFoundError(f"Expected a SavedModel in {directory}, found none.")
    if not 1 <= len(requests) <= _MAX_REQUESTS:
        raise ValueError(f"Expected 1 to {_MAX_REQUESTS} requests, received {len(requests)}.")
    records = [_prediction_log(name, inputs) for name, inputs in requests]
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def pose_requests(image_size, cube_mm, batch_sizes=(1, 2)):
    """Returns requests to all signatures of an exported pose network: a ball in place of a hand.

    Args:
        image_size: Side of the network's crops, px.
        cube_mm: Side of the crop's cube, mm.
        batch_sizes: One request a size and signature.

    Returns:
        For `write_warmup`: `serving_default`, `frame`, `frame_uint16`, `frames`, `frames_uint16`.
    """
    ball_mm = _ball(_HEIGHT, _WIDTH, _FOCAL_PX)
    # The same ball in parallel rays; the crop's zero is at its center.
    offset_mm = (np.arange(image_size) + 0.5) * cube_mm / image_size - cube_mm / 2
    squared = _RADIUS_MM**2 - offset_mm[:, None] ** 2 - offset_mm**2
    crop_mm = np.where(squared > 0, -np.sqrt(np.maximum(squared, 0.0)), cube_mm / 2)
    intrinsics = (_FOCAL_PX, _FOCAL_PX, _WIDTH / 2, _HEIGHT / 2)
    requests = []
    for size in batch_sizes:
        requests.append(("serving_default", {"depth_mm": _repeat(crop_mm, size)}))
        for signature in ("frame", "frame_uint16", "frames", "frames_uint16"):
            dtype = np.uint16 if signature.endswith("uint16") else np.float32
            inputs = {
                "depth_mm": _repeat(ball_mm, size, dtype),
                "intrinsics": _repeat(intrinsics, size),
                # Zero: find the hand. Not left out, because the default has one row.
                "center_mm": _repeat((0.0, 0.0, 0.0), size),
            }
            requests.append((signature, inputs))
    return requests


def prior_requests(spheres_mm):
    """Returns requests to all signatures of an exported pose prior.

    Args:
        spheres_mm: float32 [B, N, 3], hands in any frame, mm; requests are of one and of all B.

    Returns:
        For `write_warmup`: `elbo`, `reconstruct` and `sample`.
    """
    spheres_mm = np.asarray(spheres_mm, np.float32)
    requests = []
    for size in sorted({1, len(spheres_mm)}):
        hands = {"spheres_mm": spheres_mm[:size]}
        requests += [("elbo", hands), ("reconstruct", hands)]
        requests.append(("sample", {"num_hands": np.int32(size)}))
    return requests


def _ball(height, width, focal_px):
    """Returns the depth of a ball in the middle of an image, [height, width], mm, 0 beside it."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.hypot(columns - width / 2, rows - height / 2)
    side_mm = pixels * _DISTANCE_MM / focal_px
    near_mm = _DISTANCE_MM - np.sqrt(np.maximum(_RADIUS_MM**2 - side_mm**2, 0.0))
    return np.where(side_mm < _RADIUS_MM, near_mm, 0.0)


def _repeat(values, size, dtype=np.float32):
    return np.repeat(np.asarray(values, dtype)[np.newaxis], size, axis=0)


def _prediction_log(signature_name, inputs):
    """Returns a serialized `PredictionLog` of one `PredictRequest`."""
    if not inputs:
        raise ValueError(f"Expected inputs for signature {signature_name!r}, received none.")
    request = _field(1, _field(3, signature_name.encode()))
    for name, array in sorted(inputs.items()):
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"Expected numbers for input {name!r} of signature {signature_name!r}, "
                f"received {array.dtype}."
            )
        tensor = tf.make_tensor_proto(array).SerializeToString(deterministic=True)
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))


def _field(number, payload):
    """Returns a length-delimited field (wire type 2) of a serialized protocol buffer message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    """Returns seven bits a byte, the lowest first; only the last byte lacks the high bit."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
