"""SavedModels of the pose network and the pose prior.

What is exported needs TensorFlow alone to run, for example in TensorFlow Serving, and contains the
crop: a client sends depth in mm, and the arithmetic is the one of training.
"""

import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.hand import skeleton

__all__ = ["crop_spec_for", "estimate_from_crop", "export_pose", "export_prior"]


def crop_spec_for(inference_network, cube_mm):
    """Returns the `crop.CropSpec` of what an exported network takes.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        cube_mm: Side of the crop, mm, that the network was built for.

    Raises:
        ValueError: If the network is not one for square depth crops and the hand's spheres.
    """
    _, height, width, channels = inference_network.input_shape
    num_spheres = inference_network.output["spheres_mm"].shape[1]
    if height != width or channels != 1 or num_spheres != len(skeleton.SPHERE_NAMES):
        raise ValueError(
            f"Expected a network from [B, S, S, 1] to {len(skeleton.SPHERE_NAMES)} spheres, "
            f"received one from {inference_network.input_shape} to {num_spheres} spheres."
        )
    return crop.CropSpec(image_size=height, cube_mm=cube_mm)


def estimate_from_crop(inference_network, depth_mm, cube_mm):
    """Returns what every exported model answers, crop frame, mm.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        depth_mm: float32 `[B, S, S]`, a depth crop, mm from its center, cube_mm / 2 where there is
            no surface.
        cube_mm: Side of the crop, mm.

    Returns:
        A dict of float32 `spheres_mm` `[B, 41, 3]`, `joints_mm` `[B, 36, 3]`,
        `evaluation_joints_mm` `[B, 14, 3]` and `spread_mm` `[B, 41]`.
    """
    outputs = inference_network(crop.normalize(depth_mm, cube_mm), training=False)
    spheres_mm = outputs["spheres_mm"]
    return {
        "spheres_mm": spheres_mm,
        "joints_mm": tf.gather(spheres_mm, skeleton.SPHERE_FROM_JOINT, axis=1),
        "evaluation_joints_mm": tf.gather(spheres_mm, skeleton.EVALUATION_SPHERES, axis=1),
        "spread_mm": outputs["spread_mm"],
    }


def export_pose(inference_network, directory, cube_mm):
    """Writes a SavedModel of the network that serves.

    Signatures, all tensors float32, S the side of the network's input:

    * `serving_default`: `depth_mm` `[B, S, S]`, a depth crop in mm from its center with cube_mm / 2
      as background, to results in the crop frame.
    * `frame`: `depth_mm` `[B, H, W]`, camera images with 0 where there is no reading, `intrinsics`
      `[B, 4]` (fx, fy, cx, cy) and the crop's `center_mm` `[B, 3]` in the camera frame, to results
      in the camera frame.

    Results, in mm: `spheres_mm` `[B, 41, 3]`, `joints_mm` `[B, 36, 3]`, `evaluation_joints_mm`
    `[B, 14, 3]` and `spread_mm` `[B, 41]`. The order of spheres and joints is that of
    `tfhand.hand.skeleton`.

    Args:
        inference_network: A model of `pose_network.build_inference_network`.
        directory: Where to write; for TensorFlow Serving a version directory, `.../pose/1`. What
            was there is replaced once the new model is complete.
        cube_mm: Side of the crop, mm, that the network was built for.

    Raises:
        ValueError: If the network is not one for square depth crops and the hand's spheres.
    """
    spec = crop_spec_for(inference_network, cube_mm)

    @tf.function(input_signature=[_spec("depth_mm", spec.image_size, spec.image_size)])
    def serve_crop(depth_mm):
        return estimate_from_crop(inference_network, depth_mm, cube_mm)

    @tf.function(
        input_signature=[
            _spec("depth_mm", None, None),
            _spec("intrinsics", 4),
            _spec("center_mm", 3),
        ]
    )
    def serve_frame(depth_mm, intrinsics, center_mm):
        crop_mm = crop.crop_depth(depth_mm, intrinsics, center_mm, spec)
        results = estimate_from_crop(inference_network, crop_mm, cube_mm)
        for name in ("spheres_mm", "joints_mm", "evaluation_joints_mm"):
            results[name] += center_mm[:, tf.newaxis]
        return results

    signatures = {"serving_default": serve_crop, "frame": serve_frame}
    _save(inference_network, signatures, directory)


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
    spheres = _spec("spheres_mm", prior.pose_config.num_spheres, 3)

    @tf.function(input_signature=[spheres])
    def elbo(spheres_mm):
        return {"elbo": -prior.negative_elbo(spheres_mm, sample=True)}

    @tf.function(input_signature=[spheres])
    def reconstruct(spheres_mm):
        return {"spheres_mm": prior.reconstruct(spheres_mm)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="num_hands")])
    def sample(num_hands):
        return {"spheres_mm": prior.sample(num_hands)}

    _save(prior, {"elbo": elbo, "reconstruct": reconstruct, "sample": sample}, directory)


def _spec(name, *dimensions):
    return tf.TensorSpec([None, *dimensions], tf.float32, name=name)


def _save(model, signatures, directory):
    """Saves beside the directory first: a server that watches it never sees half a model."""
    directory = pathlib.Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory(prefix=".export-", dir=directory.parent) as temporary:
        complete = os.path.join(temporary, "model")
        tf.saved_model.save(module, complete, signatures=signatures)
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(complete, directory)
