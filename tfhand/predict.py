"""Estimates the hand in one depth image or a folder of them.

    python -m tfhand.predict --model=W/pose.keras --depth=FRAME.png [--intrinsics=fx,fy,cx,cy]

Depth images are 16-bit PNG, 8-bit RGB PNG in the coding of the NYU data set, or `.npy`. The result
is JSON: 41 spheres and 14 joints of every image in camera mm and in pixels, with a confidence.
"""

import json

import numpy as np
from absl import flags
from tqdm import tqdm

from tfhand import commands, inference
from tfhand.evaluation import qualitative, report, sheets
from tfhand.geometry import camera, crop, depth_image
from tfhand.hand import skeleton

__all__ = ["define_flags", "main", "to_dict"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "model", None, "Trained network, pose.keras.", required=True, flag_values=flag_values
    )
    flags.DEFINE_string(
        "depth", None, "Depth image, or a folder of them.", required=True, flag_values=flag_values
    )
    flags.DEFINE_list(
        "intrinsics",
        [str(value) for value in camera.NYU_INTRINSICS],
        "fx,fy,cx,cy of the camera in px.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "depth_unit",
        "mm",
        tuple(depth_image.UNITS_MM),
        "Unit of stored values.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "depth_scale", 1.0, "Factor from stored values to that unit.", flag_values=flag_values
    )
    flags.DEFINE_enum(
        "hand", "right", ("right", "left"), "Which hand is seen.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "output", None, "JSON file; none: standard output.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "overlay", None, "PNG with crop and joints of the first images.", flag_values=flag_values
    )


def to_dict(hands, index):
    """Returns the estimate of one image as plain types, names with every value."""
    if not hands.found[index]:
        return {"found_hand": False}

    def points(names, indices):
        return {
            name: {
                "mm": _rounded(hands.spheres_mm[index, i]),
                "px": _rounded(hands.spheres_px[index, i]),
                "confidence": round(float(hands.confidence[index, i]), 3),
            }
            for name, i in zip(names, indices, strict=True)
        }

    return {
        "found_hand": True,
        "center_mm": _rounded(hands.center_mm[index]),
        "spheres": points(skeleton.SPHERE_NAMES, range(len(skeleton.SPHERE_NAMES))),
        "joints": points(skeleton.EVALUATION_JOINT_NAMES, skeleton.EVALUATION_SPHERES),
    }


def _rounded(vector):
    return np.round(vector.astype(np.float64), 2).tolist()


def main(values):
    """Runs the command."""
    intrinsics = camera.parse_intrinsics(values.intrinsics)
    scale = values.depth_scale * depth_image.UNITS_MM[values.depth_unit]
    if not 0.0 < scale < float("inf"):
        raise ValueError(f"Expected a positive --depth_scale, received {values.depth_scale}.")
    images = depth_image.find_images(values.depth)
    network = inference.load_network(values.model)
    spec = inference.crop_spec_of(network)
    results, pictured = {}, []
    for path in tqdm(images, desc="predict", unit="image", disable=len(images) == 1):
        try:
            depth_mm = depth_image.read_depth(path, scale)[None]
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            results[path.name] = {"found_hand": False, "error": str(error)}
            continue
        hands = inference.estimate_hands(
            network, depth_mm, intrinsics, spec, left_hand=values.hand == "left"
        )
        results[path.name] = to_dict(hands, 0)
        if values.overlay and hands.found[0] and len(pictured) < 8:
            pictured.append((depth_mm, hands))
    if values.overlay and pictured:
        _draw(pictured, intrinsics, spec, values.overlay)
    if values.output:
        report.write_json(values.output, results)
    else:
        print(json.dumps(results, indent=2))
    missing = [name for name, result in results.items() if not result["found_hand"]]
    if missing:
        raise ValueError(f"No hand found in {len(missing)} of {len(images)} images: {missing[:5]}.")


def _draw(pictured, intrinsics, spec, path):
    crops, spheres = [], []
    for depth_mm, hands in pictured:
        crops.append(crop.crop_depth(depth_mm, [intrinsics], hands.center_mm, spec).numpy())
        spheres.append(hands.spheres_mm - hands.center_mm[:, None])
    crops, spheres = np.stack(crops), np.stack(spheres)
    rendered = qualitative.render_own_views(
        spheres, image_size=spec.image_size, cube_mm=spec.cube_mm
    )
    joints = spheres[:, :, skeleton.EVALUATION_SPHERES]
    sheets.draw_picture_sheet(crops, rendered, path, joints_mm=joints, cube_mm=spec.cube_mm)


if __name__ == "__main__":
    commands.run(main, define_flags)
