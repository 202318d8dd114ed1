"""Hands from camera frames in one graph: center, crop, network, camera coordinates.

The same function serves the Python API, which estimates twice by default, and the exported
SavedModel, which estimates once.
Letters: B frames of H x W pixels, N spheres, S the side of the network's input.
"""

import numpy as np
import tensorflow as tf

from tfhand.geometry import camera, crop, hand_center

__all__ = [
    "MIN_FRAME_SIDE",
    "are_cameras",
    "check",
    "doubt_of",
    "estimate_crops",
    "estimate_frames",
    "judge_of",
    "leave_out",
]

# A smaller picture shows no hand.
MIN_FRAME_SIDE = 16
# A heatmap that spreads over this much is worth half of a sharp one, mm.
_HALF_CONFIDENCE_MM = 25.0


def estimate_crops(network, crop_mm, cube_mm):
    """Runs the network on depth crops.

    Args:
        network: Pose network: normalized crops to a dict of `spheres_mm` and `spread_mm`.
        crop_mm: float32 [B, S, S], mm from the crop's center, background cube_mm / 2.
        cube_mm: Side of the crop's cube, mm, that the network was built for.

    Returns:
        Dict of float32 `spheres_mm` [B, N, 3], crop frame, and `spread_mm` [B, N].
    """
    outputs = network(crop.normalize(crop_mm, cube_mm), training=False)
    return {name: outputs[name] for name in ("spheres_mm", "spread_mm")}


def judge_of(network, depth_mm, intrinsics, spec, is_left=False):
    """Returns the judge of `hand_center` that a pose network is.

    Args:
        network: As in `estimate_crops`.
        depth_mm: float32 or uint16 [B, H, W], mm along the camera axis; 0, negative or non-finite
            values are no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        spec: `crop.CropSpec` that the network was built for.
        is_left: Whether left hands are seen; the network knows right ones.

    Returns:
        Function of center_mm float32 [B, 3], camera frame, to a dict of float32 `spheres_mm`
        [B, N, 3], camera frame; `spread_mm` [B, N]; `middle_mm` [B, 3], the mean of the spheres;
        `doubt` [B], the mean logarithm of the spread, infinite where the crop is empty.
    """

    def judge(center_mm):
        crops = crop.crop_depth(depth_mm, intrinsics, center_mm, spec)
        is_empty = ~tf.reduce_any(crop.foreground_mask(crops, spec.cube_mm), axis=[1, 2])
        outputs = estimate_crops(network, crops[..., ::-1] if is_left else crops, spec.cube_mm)
        spheres_mm = outputs["spheres_mm"]
        if is_left:
            spheres_mm *= tf.constant([-1.0, 1.0, 1.0])
        spheres_mm += center_mm[:, tf.newaxis]
        doubt = tf.reduce_mean(tf.math.log(outputs["spread_mm"]), axis=1)
        return {
            "spheres_mm": spheres_mm,
            "spread_mm": outputs["spread_mm"],
            "middle_mm": tf.reduce_mean(spheres_mm, axis=1),
            "doubt": tf.where(is_empty, float("inf"), doubt),
        }

    # In a graph it is traced once, however often it is called.
    return judge if tf.executing_eagerly() else tf.function(judge, autograph=False)


def estimate_frames(network, depth_mm, intrinsics, center_mm, spec, refine=False):
    """Finds, crops and estimates the hand in each frame.

    Args:
        network: As in `estimate_crops`.
        depth_mm: float32 or uint16 [B, H, W], mm along the camera axis; 0, negative or non-finite
            values are no reading.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.
        center_mm: float32 [B, 3], the crop's center in the camera frame, or [1, 3] for all frames.
            Where z is not positive, or a value not finite, the depth decides.
        spec: `crop.CropSpec` that the network was built for.
        refine: Whether a crop around a center from the depth is moved to the middle of the
            estimated spheres and estimated again.

    Returns:
        Dict of `found` bool [B], True where the frame shows a hand at the center; all other values
        are zero where it is False: `center_mm` float32 [B, 3]; `spheres_mm` [B, N, 3], camera
        frame; `spheres_px` [B, N, 2], u right and v down; `confidence` [B, N], in (0, 1), from the
        spread of the heatmaps, not calibrated.

    Raises:
        tf.errors.InvalidArgumentError: (when run) if sizes do not fit, a picture is smaller than
            `MIN_FRAME_SIDE`, or intrinsics are none of a camera, see `are_cameras`.
    """
    with tf.control_dependencies(_checks(depth_mm, intrinsics, center_mm)):
        depth_mm, intrinsics = tf.identity(depth_mm), tf.identity(intrinsics)
    center_mm = tf.broadcast_to(center_mm, [tf.shape(depth_mm)[0], 3])
    has_center = tf.reduce_all(tf.math.is_finite(center_mm), axis=1) & (center_mm[:, 2] > 0.0)
    center_mm = tf.where(has_center[:, tf.newaxis], center_mm, 0.0)
    judge = judge_of(network, depth_mm, intrinsics, spec)

    def estimate_at(center_mm):
        hand = judge(center_mm)
        return {**hand, "center_mm": center_mm, "has_hand": hand["doubt"] < float("inf")}

    def find():
        hand = hand_center.find_hand(depth_mm, intrinsics, judge)
        moved_mm = hand["middle_mm" if refine else "center_mm"]
        moved_mm = tf.where(has_center[:, tf.newaxis], center_mm, moved_mm)
        if refine:
            moved = estimate_at(moved_mm)
        else:
            # The estimates are there already, but for given centers.
            moved = tf.cond(tf.reduce_any(has_center), lambda: estimate_at(moved_mm), lambda: hand)
        return {**moved, "has_hand": moved["has_hand"] & (has_center | hand["has_hand"])}

    hand = tf.cond(tf.reduce_all(has_center), lambda: estimate_at(center_mm), find)
    results = {
        "center_mm": hand["center_mm"],
        "spheres_mm": hand["spheres_mm"],
        "spheres_px": camera.project(hand["spheres_mm"], intrinsics)[..., :2],
        "confidence": _HALF_CONFIDENCE_MM / (_HALF_CONFIDENCE_MM + hand["spread_mm"]),
    }
    return leave_out({"found": hand["has_hand"], **results}, hand["has_hand"])


def doubt_of(confidence):
    """Returns the doubt of `hand_center` about estimates of `confidence` [..., N], NumPy: [...]."""
    return np.log(_HALF_CONFIDENCE_MM / confidence - _HALF_CONFIDENCE_MM).mean(axis=-1)


def leave_out(results, is_valid):
    """Returns the results of `estimate_frames` with some frames as if they showed no hand.

    Args:
        results: Dict of `found` bool [B] and of float32 [B, ...].
        is_valid: bool [B], False for frames to leave out.
    """
    changed = {"found": results["found"] & is_valid}
    for name, values in results.items():
        if name != "found":
            # A selection takes several times longer.
            factor = tf.reshape(tf.cast(is_valid, tf.float32), [-1] + [1] * (values.shape.rank - 1))
            changed[name] = tf.math.multiply_no_nan(values, factor)
    return changed


def are_cameras(depth_mm, intrinsics):
    """Tells intrinsics of cameras from other numbers.

    Args:
        depth_mm: [B, H, W], of any type.
        intrinsics: float32 [B, 4], fx, fy, cx, cy in px.

    Returns:
        bool [B], False where they are not finite, not positive, or far from any camera's, see
        `camera.check_intrinsics`.
    """
    sides = tf.cast(tf.gather(tf.shape(depth_mm), [2, 1]), tf.float32)
    # Comparisons are False for NaN.
    is_wide = intrinsics[:, :2] >= camera.LEAST_FOCAL_SHARE * sides
    in_range = tf.abs(intrinsics) < camera.LARGEST_PX
    return tf.reduce_all(is_wide, axis=1) & tf.reduce_all(in_range, axis=1)


def _checks(depth_mm, intrinsics, center_mm):
    """Returns the operations that check the inputs of `estimate_frames`."""
    batch, height, width = tf.unstack(tf.shape(depth_mm))
    is_camera = tf.reduce_all(are_cameras(depth_mm, intrinsics))
    centers = tf.shape(center_mm)[0]
    conditions = [
        (batch >= 1, ["depth_mm: expected at least one frame, received none"]),
        (
            tf.minimum(height, width) >= MIN_FRAME_SIDE,
            ["depth_mm: expected frames of at least", MIN_FRAME_SIDE, "pixels a side, received",
             height, "x", width],
        ),
        (
            tf.shape(intrinsics)[0] == batch,
            ["intrinsics: expected a row for each of", batch, "frames, received",
             tf.shape(intrinsics)[0]],
        ),
        (
            (centers == batch) | (centers == 1),
            ["center_mm: expected a row for each of", batch, "frames or one, received", centers],
        ),
        (
            is_camera,
            ["intrinsics: expected finite fx, fy, cx, cy in px with positive fx and fy, of at "
             "least a tenth of width and height and below 1e6, received", intrinsics],
        ),
    ]  # fmt: skip
    operations = [check(condition, message) for condition, message in conditions]
    return [operation for operation in operations if operation is not None]


def check(condition, message):
    """Returns an operation that fails as an invalid argument where a condition does not hold.

    It is for `tf.control_dependencies`. `tf.debugging.Assert` does the same, but puts itself into
    a conditional of its own, which takes longer than many a check.

    Args:
        condition: bool scalar.
        message: List of strings and tensors that make the message.

    Returns:
        The operation, None outside of graphs.

    Raises:
        tf.errors.InvalidArgumentError: (when run) if the condition is False.
    """
    data = [tf.convert_to_tensor(part) for part in message]
    return tf.raw_ops.Assert(condition=condition, data=data, summarize=10)
