"""Shared by both clients: arguments, depth pictures, the answer as JSON. Without TensorFlow."""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import PIL.Image

# Order of the outputs evaluation_joints_*: F1 is the pinky, F4 the index finger, TH the thumb;
# KNU3_A is a finger tip; PALM_1 and PALM_2 are the sides of the wrist.
JOINT_NAMES = (
    *(f"F{finger}_{end}" for finger in (1, 2, 3, 4) for end in ("KNU3_A", "KNU2_B")),
    *("TH_KNU3_A", "TH_KNU3_B", "TH_KNU2_B", "PALM_1", "PALM_2", "PALM_3"),
)

# Of signature `frames`, what is printed.
OUTPUTS = (
    "found",
    "center_mm",
    "evaluation_joints_mm",
    "evaluation_joints_px",
    "evaluation_joints_confidence",
)


class ClientError(Exception):
    """Ends a client with one line."""


def parse(description, default_server, arguments=None):
    """Parses the command line of a client.

    Returns:
        Namespace of `server`, `model`, `depth`, `intrinsics` (4 floats), `center` (3 floats),
        `strict` and `timeout` (seconds).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--server", default=default_server, help="default: %(default)s")
    parser.add_argument("--model", default="pose", help="its name in models.config")
    parser.add_argument(
        "--depth", required=True, help="16-bit gray PNG or .npy (mm), or RGB PNG in NYU's coding"
    )
    parser.add_argument(
        "--intrinsics", required=True, type=_numbers(4), metavar="FX,FY,CX,CY", help="px"
    )
    parser.add_argument(
        "--center",
        type=_numbers(3),
        metavar="X,Y,Z",
        default=(0.0, 0.0, 0.0),
        help="where the hand is, mm in the camera frame; found in the picture if not given",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="let the server answer INVALID_ARGUMENT where no hand is found; not with batching",
    )
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds")
    return parser.parse_args(arguments)


def _seconds(text):
    value = float(text)
    if not 0.0 < value < math.inf:
        raise ValueError(text)
    return value


# argparse names the type in its message.
_seconds.__name__ = "positive number of seconds"


def _numbers(count):
    def parse_numbers(text):
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise ValueError(text)
        return values

    # argparse names the type in its message.
    parse_numbers.__name__ = f"{count} numbers"
    return parse_numbers


def read_depth(path):
    """Reads a depth picture.

    Args:
        path: 16-bit gray PNG in mm; 8-bit RGB PNG in NYU's coding, mm = green * 256 + blue; or
            `.npy`, [H, W], mm.

    Returns:
        uint16 or float32 [H, W], mm, 0 where there is no reading.

    Raises:
        ClientError: If there is no such file, or it holds no depth.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ClientError(f"Expected a depth picture at {path}, found none.")
    try:
        if path.suffix == ".npy":
            depth = np.load(path, allow_pickle=False)
        else:
            with PIL.Image.open(path) as image:
                depth, mode = np.asarray(image), image.mode
            if mode == "RGB":
                depth = depth[..., 1].astype(np.uint16) * 256 + depth[..., 2]
            elif not mode.startswith("I"):
                raise ClientError(
                    f"Expected a 16-bit gray or an 8-bit RGB (NYU) picture in {path}, "
                    f"found mode {mode}."
                )
    except (
        OSError, ValueError, EOFError, SyntaxError, PIL.Image.DecompressionBombError
    ) as error:  # fmt: skip
        raise ClientError(f"Expected a depth picture in {path}: {error}") from error
    if depth.ndim != 2 or depth.dtype.kind not in "iuf":
        raise ClientError(f"Expected [H, W] in {path}, found {depth.dtype} {list(depth.shape)}.")
    if depth.dtype == np.uint16:
        return depth
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32)


def inputs_of(options):
    """Returns the inputs of signature `frames`: a dict of arrays for a batch of one.

    Raises:
        ClientError: If the picture cannot be read, or the intrinsics are none.
    """
    focal_lengths = options.intrinsics[:2]
    if not all(map(math.isfinite, options.intrinsics)) or min(focal_lengths) <= 0:
        # With batching, the server's error would hit the requests of others too.
        raise ClientError(f"Expected positive focal lengths, received {options.intrinsics}.")
    return {
        "depth_mm": read_depth(options.depth)[np.newaxis],
        "intrinsics": np.array([options.intrinsics], np.float32),
        # Zero asks the server to find the hand. Sent although it is the default: that has one
        # row, which batching does not take with more than one frame.
        "center_mm": np.array([options.center], np.float32),
    }


def run(ask, options):
    """Asks a server and prints the hand as JSON, or one line of what is wrong; exits.

    Args:
        ask: Function of (options, inputs) to a dict of arrays, the signature's outputs.
        options: Of `parse`.
    """
    try:
        outputs = ask(options, inputs_of(options))
        print(json.dumps(_hand(options, outputs), indent=1))
    except ClientError as error:
        # TensorFlow's messages have line breaks.
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(str(error).split())}")


def _hand(options, outputs):
    if not set(OUTPUTS) <= set(outputs):
        raise ClientError(
            f"Expected outputs {sorted(OUTPUTS)} from model {options.model!r}, "
            f"received {sorted(outputs)}."
        )
    if not np.asarray(outputs["found"])[0]:
        raise ClientError(f"No hand found in {options.depth}.")
    mm, px, confidence = (
        np.asarray(outputs[f"evaluation_joints_{kind}"], np.float64)[0]
        for kind in ("mm", "px", "confidence")
    )
    return {
        "center_mm": _rounded(np.asarray(outputs["center_mm"])[0]),
        "joints": [
            {
                "name": name,
                "mm": _rounded(mm[i]),
                "px": _rounded(px[i]),
                "confidence": round(float(confidence[i]), 3),
            }
            for i, name in enumerate(JOINT_NAMES)
        ],
    }


def _rounded(values):
    return [round(float(value), 2) for value in values]
