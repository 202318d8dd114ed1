"""The pose network for other runtimes than TensorFlow: ONNX, and LiteRT (once TensorFlow Lite).

Not in the paper. Both files have the inputs and outputs of the SavedModel's `serving_default`
signature, see `exporting.export_pose`: `depth_mm` `[B, S, S]` to results in the crop's frame, by
the arithmetic of `exporting.estimate_from_crop`. The crop itself is left to the client.
"""

import importlib.util
import os
import warnings

import keras
import tensorflow as tf

from tfhand import files
from tfhand.models import exporting

__all__ = ["FORMATS", "FILE_NAMES", "check_exporter", "export_file"]

FORMATS = ("saved_model", "onnx", "litert")
FILE_NAMES = {"onnx": "pose.onnx", "litert": "pose.tflite"}

# Packages that `keras.Model.export` needs beside TensorFlow.
_NEEDED = {"onnx": ("onnx", "tf2onnx")}
# The first Keras that exports LiteRT.
_LITERT_KERAS = (3, 13)


def check_exporter(name):
    """Checks that a format can be written here.

    Args:
        name: The format, one of `FORMATS`.

    Raises:
        ValueError: If it is none of them, a package is missing, or Keras is too old.
    """
    if name not in FORMATS:
        raise ValueError(f"Expected formats among {', '.join(FORMATS)}, received {name!r}.")
    missing = [n for n in _NEEDED.get(name, ()) if importlib.util.find_spec(n) is None]
    if missing:
        raise ValueError(
            f"Expected the extra 'runtimes' for the format {name}, did not find "
            f"{' and '.join(missing)}: pip install 'tfhand[runtimes]'."
        )
    if name == "litert" and tuple(map(int, keras.__version__.split(".")[:2])) < _LITERT_KERAS:
        raise ValueError(
            "Expected Keras 3.13 or newer (Python 3.11 or newer) for the format litert, found "
            f"Keras {keras.__version__}."
        )


def export_file(inference_network, path, cube_mm, name):
    """Writes an ONNX or a LiteRT file that takes a batch of any size.

    LiteRT files hold built-in operations alone; an interpreter of one starts with a batch of 1,
    and its signature runner or `resize_tensor_input` sets another.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        path: The file, by custom `.onnx` or `.tflite`; replaced once the new one is complete.
        cube_mm: Side of the crop, mm, that the network was built for.
        name: The format, a key of `FILE_NAMES`.

    Raises:
        ValueError: If the network is not one for square depth crops and the hand's spheres, or the
            format cannot be written here.
    """
    if name not in FILE_NAMES:
        raise ValueError(f"Expected a format among {', '.join(FILE_NAMES)}, received {name!r}.")
    check_exporter(name)
    spec = exporting.crop_spec_for(inference_network, cube_mm)
    model = _CropNetwork(inference_network, cube_mm)
    shape = (spec.image_size, spec.image_size)
    model(tf.zeros((1, *shape)))
    options = {"input_signature": [keras.InputSpec("float32", (None, *shape), name="depth_mm")]}
    if name == "litert":
        # By itself Keras also allows TensorFlow's operations, which the interpreter may lack.
        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}

    # Beside the file first: a reader never meets half of one.
    with files.folder_beside(path) as temporary:
        complete = str(temporary / FILE_NAMES[name])
        with warnings.catch_warnings():
            # Keras asks NumPy for a name that it then patches in for tf2onnx.
            warnings.filterwarnings("ignore", r".*`np\.object`", FutureWarning)
            model.export(complete, format=name, verbose=False, **options)
        if name == "onnx":
            _name_the_batch(complete)
        os.replace(complete, path)


class _CropNetwork(keras.Model):
    """A pose network from depth crops in mm; a class, as its arithmetic is TensorFlow's own."""

    def __init__(self, network, cube_mm):
        super().__init__(name="pose")
        self.network = network
        self.cube_mm = cube_mm

    def call(self, depth_mm):
        far_mm = self.cube_mm / 2
        # In ONNX, `where` becomes a sum of products with 0 and 1, which NaN and infinity survive;
        # only after this very test for NaN it stays a choice.
        depth_mm = tf.where(tf.not_equal(depth_mm, depth_mm), far_mm, depth_mm)
        # What lies outside of the cube counts as its faces: such a graph has no errors of its own.
        depth_mm = tf.minimum(tf.maximum(depth_mm, -far_mm), far_mm)
        return exporting.estimate_from_crop(self.network, depth_mm, self.cube_mm)


def _name_the_batch(path):
    """Gives the open dimension of all inputs and outputs of an ONNX file one name."""
    import onnx

    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, path)
