"""Writes the SavedModel of a trained network for TensorFlow Serving.

    python -m tfhand.export --model=W/pose.keras --output_dir=DIR

DIR becomes a versioned folder: the next free number below it holds the new model.
"""

import pathlib

from absl import flags

from tfhand import commands, inference
from tfhand.models import exporting

__all__ = ["define_flags", "main"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "model", None, "Trained network, pose.keras.", required=True, flag_values=flag_values
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder of versions.", required=True, flag_values=flag_values
    )


def main(values):
    """Runs the command."""
    network = inference.load_network(values.model)
    folder = pathlib.Path(values.output_dir)
    versions = [int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()]
    target = folder / str(max(versions, default=0) + 1)
    exporting.export_pose(network, str(target), inference.crop_spec_of(network).cube_mm)
    print(f"Exported {values.model} to {target}")


if __name__ == "__main__":
    commands.run(main, define_flags)
