"""Writes a trained network for serving: as a SavedModel, an ONNX file or a LiteRT file.

    python -m tfhand.export --model=W/pose.keras --output_dir=DIR
    python -m tfhand.export --model=W/pose.keras --output_dir=DIR --formats=saved_model,onnx,litert

DIR becomes a versioned folder for TensorFlow Serving: the next free number below it holds the new
SavedModel. Beside the numbers, DIR/pose.onnx and DIR/pose.tflite are replaced. See
docs/runtimes.md.
"""

import pathlib

from absl import flags

from tfhand import commands, inference
from tfhand.models import exporting, runtimes

__all__ = ["define_flags", "main"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("model", None, "Trained network, pose.keras.", required=True, **define)
    flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True, **define)
    text = f"Formats to write, of {', '.join(runtimes.FORMATS)}."
    flags.DEFINE_list("formats", ["saved_model"], text, **define)


def main(flag_values):
    """Runs the command."""
    if not flag_values.formats:
        raise ValueError(f"Expected --formats among {', '.join(runtimes.FORMATS)}, received none.")
    # A missing package is an error before anything is written.
    for name in flag_values.formats:
        runtimes.check_exporter(name)
    network = inference.load_network(flag_values.model)
    cube_mm = inference.crop_spec_of(network).cube_mm
    folder = pathlib.Path(flag_values.output_dir)
    for name in dict.fromkeys(flag_values.formats):
        if name == "saved_model":
            target = _next_version(folder)
            exporting.export_pose(network, str(target), cube_mm)
        else:
            target = folder / runtimes.FILE_NAMES[name]
            runtimes.export_file(network, target, cube_mm, name)
        print(f"Exported {flag_values.model} to {target}")


def _next_version(folder):
    versions = [int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()]
    return folder / str(max(versions, default=0) + 1)


if __name__ == "__main__":
    commands.run(main, define_flags)
