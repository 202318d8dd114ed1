"""Samples of a recording, a pretrained network to estimate them with, and a table of results."""

import numpy as np
from absl import flags

from data_prep import records
from tfhand import files
from tfhand.data import recordings
from tfhand.geometry import crop
from tfhand.runs import pretrained
from tfhand.training import pretraining

__all__ = ["define_flags", "load_samples", "write_rows"]


def define_flags(flag_values, samples):
    """Defines the flags of this module; `samples` is the default number."""
    flags.DEFINE_string("data_dir", None, "Records.", required=True, flag_values=flag_values)
    flags.DEFINE_string("split", "train", "Split of the records.", flag_values=flag_values)
    flags.DEFINE_integer("samples", samples, "Samples, evenly spaced.", 1, flag_values=flag_values)
    flags.DEFINE_string(
        "init_from", "shipped", "As for tfhand.train, but not none.", flag_values=flag_values
    )
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)


def load_samples(flag_values):
    """Loads what the flags name.

    Args:
        flag_values: Parsed flags.

    Returns:
        (`pathlib.Path` of the folder of prior and network, the network in float32,
        `crop.CropSpec`, `recordings.RecordedSamples`).

    Raises:
        FileNotFoundError: If network or records are not there.
        ValueError: If they are damaged or do not go together.
    """
    folder = pretrained.find_pretrained(flag_values.init_from, {"init": {}, "prior": {}})
    options = pretraining.read_network_options(folder)
    network = pretraining.load_network(folder, options)
    spec = crop.CropSpec(options.image_size, options.cube_mm)
    recording = recordings.read_recording(
        records.load_dataset(flag_values.data_dir, flag_values.split, spec=spec)
    )
    chosen = np.unique(np.linspace(0, len(recording) - 1, flag_values.samples).astype(int))
    print(f"{len(chosen)} samples of {flag_values.data_dir}, {flag_values.split}")
    return folder, network, spec, recordings.select(recording, chosen)


def write_rows(rows, output=None):
    """Prints a table, and writes it as JSON.

    Args:
        rows: List of dicts from a column to text or a number; missing cells stay empty.
        output: Path of the JSON file; None: none.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([_text(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    if output:
        files.write_json(output, rows)


def _text(cell):
    return cell if isinstance(cell, str) else f"{cell:.3f}"
