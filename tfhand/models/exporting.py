"""SavedModels of the pose network and the pose prior.

What is exported needs TensorFlow alone to run, for example in TensorFlow Serving, and contains the
center finder and the crop: a client sends camera frames, and the arithmetic is that of training.
"""

import contextlib
import os
import pathlib
import shutil

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfhand import files
from tfhand.geometry import camera, crop
from tfhand.hand import skeleton
from tfhand.models import frame_model, warmup

__all__ = ["crop_spec_for", "estimate_from_crop", "export_pose", "export_prior"]

# The points of a result by the prefix of their names: indices of spheres.
_POINTS = {
    "joints": skeleton.SPHERE_FROM_JOINT,
    "evaluation_joints": skeleton.EVALUATION_SPHERES,
}
# Limits of the batches that TensorFlow Serving makes of several requests, see docs/serving.md.
_BATCHING = pathlib.Path(__file__).parent / "batching_params.pbtxt"
# An input that a request may leave out: the depth tells where the hand is.
_FIND_CENTER = ((0.0, 0.0, 0.0),)
# Clients may round.
_ROUNDING_MM = 1.0
# No hand is farther from its camera, mm; squares of it are far from overflowing.
_FARTHEST_MM = 1e6
# In one request for samples of the prior.
_MOST_HANDS = 10000


def crop_spec_for(inference_network, cube_mm):
    """Returns the `crop.CropSpec` of the crops that an exported network takes.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        cube_mm: Side of the crop, mm, that the network was built for.

    Raises:
        ValueError: If the network is not one for square depth crops and the hand's spheres.
    """
    outputs = inference_network.output if isinstance(inference_network.output, dict) else {}
    shapes = {name: outputs[name].shape for name in ("spheres_mm", "spread_mm") if name in outputs}
    shapes["input"] = inference_network.input_shape
    count = len(skeleton.SPHERE_NAMES)
    # A model of several inputs has a list of shapes, or a dict.
    is_one = isinstance(shapes["input"], tuple) and len(shapes["input"]) == 4
    side = shapes["input"][1] if is_one else None
    expected = {"input": (side, side, 1), "spheres_mm": (count, 3), "spread_mm": (count,)}
    if side is None or {name: tuple(shape[1:]) for name, shape in shapes.items()} != expected:
        raise ValueError(
            f"Expected a network from [B, S, S, 1] to spheres_mm [B, {count}, 3] and spread_mm "
            f"[B, {count}], received one of shapes {shapes}."
        )
    return crop.CropSpec(image_size=side, cube_mm=cube_mm)


def estimate_from_crop(inference_network, depth_mm, cube_mm):
    """Returns the answer of every exported model to crops, crop frame, mm.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        depth_mm: float32 `[B, S, S]`, a depth crop, mm from its center, cube_mm / 2 where there is
            no surface.
        cube_mm: Side of the crop, mm.

    Returns:
        A dict of float32 `spheres_mm` `[B, 41, 3]`, `joints_mm` `[B, 36, 3]`,
        `evaluation_joints_mm` `[B, 14, 3]` and `spread_mm` `[B, 41]`.
    """
    results = frame_model.estimate_crops(inference_network, depth_mm, cube_mm)
    for name, indices in _POINTS.items():
        results[f"{name}_mm"] = tf.gather(results["spheres_mm"], indices, axis=1)
    return results


def export_pose(inference_network, directory, cube_mm):
    """Writes a SavedModel of the network that serves.

    Signatures, for B crops of side S or B frames of H x W pixels; all tensors are float32 unless
    said otherwise, and all numbers may differ from request to request:

    * `serving_default`: `depth_mm` `[B, S, S]`, depth crops in mm from their center with
      cube_mm / 2 as background. Results in the crop frame: `spheres_mm` `[B, 41, 3]`, `joints_mm`
      `[B, 36, 3]`, `evaluation_joints_mm` `[B, 14, 3]`, `spread_mm` `[B, 41]`.
    * `frame`: `depth_mm` `[B, H, W]`, camera frames in mm, 0 or not finite where there is no
      reading; `intrinsics` `[B, 4]` (fx, fy, cx, cy, px); `center_mm` `[B, 3]` or `[1, 3]`, the
      crop's center in the camera frame, which may be left out: where z is not positive, the
      depth tells it. Results: `found` bool `[B]`, `center_mm` `[B, 3]`, and for `spheres`
      (41), `joints` (36) and `evaluation_joints` (14) `..._mm` `[B, N, 3]` in the camera frame,
      `..._px` `[B, N, 2]` and `..._confidence` `[B, N]` in (0, 1); the spheres' is `confidence`.
      A frame without a hand is an invalid argument.
    * `frames`: the same, but where a frame shows no hand, or its intrinsics are none while those of
      another frame are, `found` is False and its values are zero. For requests that a server puts
      together, of which one should not fail the others.
    * `frame_uint16`, `frames_uint16`: the same with `depth_mm` uint16.

    The order of spheres and joints is that of `tfhand.hand.skeleton`.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        directory: The SavedModel; for TensorFlow Serving a version directory, `.../pose/1`. An
            older one is replaced once the new one is complete.
        cube_mm: Side of the crop, mm, that the network was built for.

    Raises:
        ValueError: If the network is not one for square depth crops and the hand's spheres.
    """
    spec = crop_spec_for(inference_network, cube_mm)

    # Traced once for each type of depth, and saved once.
    @tf.function(autograph=False)
    def estimate(depth_mm, intrinsics, center_mm):
        return frame_model.estimate_frames(inference_network, depth_mm, intrinsics, center_mm, spec)

    signatures = {
        "serving_default": _serve_crops(inference_network, spec),
        "frame": _serve_frames(estimate, tf.float32, strict=True),
        "frame_uint16": _serve_frames(estimate, tf.uint16, strict=True),
        "frames": _serve_frames(estimate, tf.float32, strict=False),
        "frames_uint16": _serve_frames(estimate, tf.uint16, strict=False),
    }
    with _saved(inference_network, signatures, directory) as complete:
        warmup.write_warmup(complete, warmup.pose_requests(spec.image_size, cube_mm))
        shutil.copy(_BATCHING, complete)


def _serve_crops(network, spec):
    shape = (None, spec.image_size, spec.image_size)

    @tf.function(autograph=False, input_signature=[_input("depth_mm")])
    def serve(depth_mm):
        depth_mm = _shaped("depth_mm", depth_mm, shape)
        conditions = [
            frame_model.check(tf.shape(depth_mm)[0] >= 1, ["depth_mm: expected crops, got none"]),
            frame_model.check(
                tf.reduce_all(tf.math.is_finite(depth_mm)), ["depth_mm: expected finite values"]
            ),
            # Raw depth, or crops of another cube, would be answered with nonsense.
            _assert_each(
                tf.reduce_all(depth_mm >= -spec.far_mm - _ROUNDING_MM, axis=[1, 2]),
                f"depth_mm: expected mm from the crop's center, {-spec.far_mm:g} or more, found "
                "less in crops",
            ),
            _assert_each(
                tf.reduce_any(crop.foreground_mask(depth_mm, spec.cube_mm), axis=[1, 2]),
                "depth_mm: expected a surface in every crop, found background only in crops",
            ),
        ]
        with tf.control_dependencies(conditions):
            return estimate_from_crop(network, tf.identity(depth_mm), spec.cube_mm)

    return serve, {"depth_mm": shape}


def _serve_frames(estimate, dtype, *, strict):
    shapes = {"depth_mm": (None, None, None), "intrinsics": (None, 4), "center_mm": (None, 3)}

    @tf.function(
        autograph=False,
        input_signature=[_input("depth_mm", dtype), _input("intrinsics"), _input("center_mm")],
    )
    def serve(depth_mm, intrinsics, center_mm=tf.constant(_FIND_CENTER)):  # noqa: B008
        depth_mm = _shaped("depth_mm", depth_mm, shapes["depth_mm"])
        intrinsics = _shaped("intrinsics", intrinsics, shapes["intrinsics"])
        center_mm = _shaped("center_mm", center_mm, shapes["center_mm"])
        if not strict:
            is_camera = frame_model.are_cameras(depth_mm, intrinsics)
            # Others are replaced by some that are, if there are any: the errors of one client are
            # not those of the rest.
            rows = is_camera[:, tf.newaxis]
            usable = tf.reduce_max(tf.where(rows, intrinsics, -camera.LARGEST_PX), axis=0)
            intrinsics = tf.where(rows | ~tf.reduce_any(is_camera), intrinsics, usable)
        results = estimate(depth_mm, intrinsics, center_mm)
        if not strict:
            results = frame_model.leave_out(results, is_camera)
        for name, indices in _POINTS.items():
            results[f"{name}_mm"] = tf.gather(results["spheres_mm"], indices, axis=1)
            results[f"{name}_px"] = tf.gather(results["spheres_px"], indices, axis=1)
            results[f"{name}_confidence"] = tf.gather(results["confidence"], indices, axis=1)
        if strict:
            check = _assert_each(results["found"], "depth_mm: no hand found in frames")
            with tf.control_dependencies([check]):
                results = {name: tf.identity(value) for name, value in results.items()}
        return results

    return serve, shapes


def _assert_each(condition, message):
    """Asserts a condition bool `[B]`; the error lists the first frames where it is False."""
    failing = tf.reshape(tf.where(~condition), [-1])
    return frame_model.check(tf.reduce_all(condition), [message, failing])


def export_prior(prior, directory):
    """Writes a SavedModel of a `PosePrior`.

    Signatures, all tensors float32, N the number of spheres:

    * `elbo`: `spheres_mm` `[B, N, 3]` in any frame to `elbo` `[B]`, the evidence lower bound in
      nats a coordinate, with one sample of the latent. Higher is more like a hand.
    * `reconstruct`: `spheres_mm` `[B, N, 3]` to `spheres_mm` `[B, N, 3]` in the same frame, through
      the mean of the latent.
    * `sample`: `num_hands`, an int32 scalar, to `spheres_mm` `[num_hands, N, 3]`, canonical frame.

    Args:
        prior: A `pose_prior.PosePrior`.
        directory: As in `export_pose`.
    """
    shape = (None, len(skeleton.SPHERE_NAMES), 3)

    def checked(spheres_mm):
        spheres_mm = _shaped("spheres_mm", spheres_mm, shape)
        conditions = [
            frame_model.check(
                tf.shape(spheres_mm)[0] >= 1, ["spheres_mm: expected hands, got none"]
            ),
            # Comparisons are False for NaN.
            frame_model.check(
                tf.reduce_all(tf.abs(spheres_mm) < _FARTHEST_MM),
                [f"spheres_mm: expected finite values below {_FARTHEST_MM:g} mm"],
            ),
        ]
        with tf.control_dependencies(conditions):
            return tf.identity(spheres_mm)

    @tf.function(autograph=False, input_signature=[_input("spheres_mm")])
    def elbo(spheres_mm):
        return {"elbo": -prior.negative_elbo(checked(spheres_mm), sample=True)}

    @tf.function(autograph=False, input_signature=[_input("spheres_mm")])
    def reconstruct(spheres_mm):
        return {"spheres_mm": prior.reconstruct(checked(spheres_mm))}

    @tf.function(autograph=False, input_signature=[_input("num_hands", tf.int32)])
    def sample(num_hands):
        num_hands = _shaped("num_hands", num_hands, ())
        message = ["num_hands: expected 1 to", _MOST_HANDS, ", received", num_hands]
        check = frame_model.check((num_hands >= 1) & (num_hands <= _MOST_HANDS), message)
        with tf.control_dependencies([check]):
            return {"spheres_mm": prior.sample(tf.identity(num_hands))}

    signatures = {
        "elbo": (elbo, {"spheres_mm": shape}),
        "reconstruct": (reconstruct, {"spheres_mm": shape}),
        "sample": (sample, {"num_hands": ()}),
    }
    with _saved(prior, signatures, directory) as complete:
        warmup.write_warmup(complete, warmup.prior_requests(prior.sample(2)))


def _input(name, dtype=tf.float32):
    """Declares an input of any shape.

    A session takes tensors of other shapes than the declared one without a word, and the graph
    optimizer believes the declaration: a check would be optimized away. So nothing is declared,
    `_shaped` checks, and `_declare_shapes` writes down what is right for a reader.
    """
    return tf.TensorSpec(None, dtype, name=name)


def _shaped(name, values, shape):
    """Returns the values with their static shape; other shapes are invalid arguments."""
    return tf.ensure_shape(values, shape, name=f"shape_of_{name}")


@contextlib.contextmanager
def _saved(model, signatures, directory):
    """Saves beside the directory first: a server that watches it never meets half a model.

    Args:
        model: The Keras model that owns the variables.
        signatures: Dict from name to (function, shapes of its inputs by name).
        directory: Place of the model once the block is left.

    Yields:
        Place of the model until then.
    """
    directory = pathlib.Path(directory)
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    functions = {name: function for name, (function, _) in signatures.items()}
    with files.folder_beside(directory) as temporary:
        complete = temporary / "model"
        tf.saved_model.save(module, str(complete), signatures=functions)
        _declare_shapes(complete, {name: shapes for name, (_, shapes) in signatures.items()})
        yield complete
        if directory.exists():
            # Moved, which takes no time: a process may be killed at any moment.
            os.replace(directory, temporary / "before")
        os.replace(complete, directory)


def _declare_shapes(directory, shapes):
    """Writes the shapes of inputs into the signatures of a SavedModel."""
    path = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    for signature, inputs in shapes.items():
        for name, shape in inputs.items():
            declared = definitions[signature].inputs[name].tensor_shape
            declared.CopyFrom(tf.TensorShape(shape).as_proto())
    path.write_bytes(saved.SerializeToString(deterministic=True))
