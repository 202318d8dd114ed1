"""Estimates the hand in one depth image or a folder of them.

    python -m tfhand.predict --depth=FRAME.png [--model=W/pose.keras] [--intrinsics=fx,fy,cx,cy]

Without --model it is the network that comes with the package, which never saw a real image.

Depth images are 16-bit PNG, 8-bit RGB PNG in the coding of the NYU data set, or `.npy`. The result
is JSON: 41 spheres and 14 joints of every image in camera mm and in pixels, with a confidence.
"""

import contextlib
import json

import numpy as np
from absl import flags
from tqdm import tqdm

from tfhand import commands, files
from tfhand.estimator import NoHandError, PoseEstimator
from tfhand.evaluation import qualitative, sheets
from tfhand.geometry import camera, crop, depth_image
from tfhand.hand import skeleton
from tfhand.hands import HANDS
from tfhand.models import package_weights

__all__ = ["define_flags", "main"]

_MOST_PICTURED = 8
# Images from which the shape of a hand is found.
_LEAST_FOR_SHAPE, _MOST_FOR_SHAPE = 8, 36


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    text = "Trained network, pose.keras; shipped: that of the package."
    flags.DEFINE_string("model", package_weights.NAME, text, **define)
    flags.DEFINE_string("depth", None, "Depth image, or a folder of them.", required=True, **define)
    text = "fx,fy,cx,cy of the camera in px."
    flags.DEFINE_list("intrinsics", list(map(str, camera.NYU_INTRINSICS)), text, **define)
    units = tuple(depth_image.UNITS_MM)
    flags.DEFINE_enum("depth_unit", "mm", units, "Unit of stored values.", **define)
    flags.DEFINE_float("depth_scale", 1.0, "Factor from stored values to that unit.", **define)
    text = "The hand in the images; auto: looked at in each, in twice the time, not with --fit."
    flags.DEFINE_enum("hand", "right", HANDS, text, **define)
    text = (
        "Fit a hand to the depth, starting from the estimate: slower, more accurate. A folder "
        "shows one person, whose shape is fitted first; with fewer than 8 images every hand has "
        "its own."
    )
    flags.DEFINE_boolean("fit", False, text, **define)
    flags.DEFINE_string("output", None, "JSON file; none: standard output.", **define)
    flags.DEFINE_string("overlay", None, "PNG with crop and joints of the first images.", **define)


def main(flag_values):
    """Runs the command."""
    intrinsics = camera.parse_intrinsics(flag_values.intrinsics)
    scale = flag_values.depth_scale * depth_image.UNITS_MM[flag_values.depth_unit]
    if not 0.0 < scale < float("inf"):
        raise ValueError(f"Expected a positive --depth_scale, received {flag_values.depth_scale}.")
    images = depth_image.find_images(flag_values.depth)
    estimator = PoseEstimator.load(flag_values.model, flag_values.hand, fit=flag_values.fit)
    if flag_values.fit and len(images) >= _LEAST_FOR_SHAPE:
        _learn_shape(estimator, images, scale, intrinsics)
    results, pictured = {}, []
    for path in tqdm(images, desc="predict", unit="image", disable=len(images) == 1):
        try:
            depth_mm = depth_image.read_depth(path, scale)
            hand = estimator(depth_mm, intrinsics)
        except NoHandError:
            results[path.name] = {"found_hand": False}
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            results[path.name] = {"found_hand": False, "error": str(error)}
        else:
            results[path.name] = {"found_hand": True, **hand.to_dict()}
            if len(pictured) < _MOST_PICTURED:
                pictured.append(hand)
    if flag_values.overlay and pictured:
        _draw(pictured, intrinsics, estimator.spec, flag_values.overlay)
    if flag_values.output:
        files.write_json(flag_values.output, results)
    else:
        print(json.dumps(results, indent=2))
    unread = [name for name, result in results.items() if "error" in result]
    if unread:
        raise ValueError(
            f"{len(unread)} of {len(images)} images could not be used, the first: "
            f"{results[unread[0]]['error']}"
        )
    missing = [name for name, result in results.items() if not result["found_hand"]]
    if missing:
        raise ValueError(f"No hand found in {len(missing)} of {len(images)} images: {missing[:5]}.")


def _learn_shape(estimator, images, scale, intrinsics):
    """Finds the shape of the hand from images spread over a folder, as far as they can be used."""
    frames = []
    for i in np.unique(np.linspace(0, len(images) - 1, _MOST_FOR_SHAPE).astype(int)):
        with contextlib.suppress(ValueError, OSError):
            frames.append(depth_image.read_depth(images[i], scale))
    frames = [frame for frame in frames if frame.shape == frames[0].shape]
    # Without a hand in any of them, what is wrong is said image by image.
    with contextlib.suppress(NoHandError):
        if frames:
            estimator.learn_shape(np.stack(frames), intrinsics)


def _draw(pictured, intrinsics, spec, path):
    crops = [
        crop.crop_depth(hand.depth_mm[None], [intrinsics], hand.center_mm[None], spec).numpy()
        for hand in pictured
    ]
    spheres = np.stack([hand.spheres_mm - hand.center_mm for hand in pictured])[:, None]
    rendered = qualitative.render_own_views(
        spheres, image_size=spec.image_size, cube_mm=spec.cube_mm
    )
    joints = spheres[:, :, skeleton.EVALUATION_SPHERES]
    rows = sheets.Rows(np.stack(crops), rendered, spec.cube_mm)
    sheets.draw_picture_sheet(rows, path, joints_mm=joints)


if __name__ == "__main__":
    commands.run(main, define_flags)
