"""Shows the content of a folder of records: a table, and a contact sheet of its crops.

python -m data_prep.inspect --data_dir=OUT --split=train --sheet=sheet.png --output=info.json
"""

import dataclasses

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from data_prep import records
from tfhand import commands, files
from tfhand.geometry import crop

__all__ = ["define_flags", "describe", "draw_contact_sheet", "main", "measure"]


def describe(info: records.DatasetInfo) -> str:
    """Returns the splits of a folder as a text table, with the reasons of skipped samples."""
    lines = [
        f"schema {info.schema_version}: {info.num_views} views of {info.spec.image_size} x "
        f"{info.spec.image_size} px, cube {info.spec.cube_mm:g} mm",
        f"{'split':<12}{'samples':>9}{'labelled':>10}{'subjects':>10}{'shards':>8}{'MB':>8}"
        f"{'skipped':>9}  source",
    ]
    for name, split in info.splits.items():
        megabytes = sum(shard.num_bytes for shard in split.shards) / 1e6
        lines.append(
            f"{name:<12}{split.num_samples:>9}{split.num_labelled:>10}{len(split.subjects):>10}"
            f"{len(split.shards):>8}{megabytes:>8.1f}{split.num_skipped:>9}  {split.source}"
        )
        lines += [
            f"    skipped {skips.count}: {reason}, first frames {skips.first_frames[:5]}"
            for reason, skips in split.skipped.items()
        ]
    return "\n".join(lines)


def measure(samples: list[dict], cube_mm: float) -> dict[str, float]:
    """Measures samples.

    Args:
        samples: NumPy samples as `records.load_dataset` gives them, at least one.
        cube_mm: Side of the crop cube.

    Returns:
        `samples` (how many), `foreground_fraction` (mean and, as `smallest_...`, of the emptiest
        view), `center_distance_mm` (mean, from the camera), `nearest_mm` and `farthest_mm` surface
        relative to the center, and `joints_inside`: share of labelled joints inside the cube, None
        where no joint is labelled.
    """
    stacked = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    surface = stacked["depth_mm"][np.asarray(crop.foreground_mask(stacked["depth_mm"], cube_mm))]
    relative_mm = stacked["joints_mm"] - stacked["center_mm"][..., np.newaxis, :]
    inside = (np.abs(relative_mm) <= cube_mm / 2).all(axis=-1)[stacked["joint_mask"] > 0]
    measured = {
        "foreground_fraction": stacked["foreground_fraction"].mean(),
        "smallest_foreground_fraction": stacked["foreground_fraction"].min(),
        "center_distance_mm": np.linalg.norm(stacked["center_mm"], axis=-1).mean(),
        "nearest_mm": surface.min() if surface.size else None,
        "farthest_mm": surface.max() if surface.size else None,
        "joints_inside": inside.mean() if inside.size else None,
    }
    rounded = {
        key: value if value is None else round(float(value), 4) for key, value in measured.items()
    }
    return {"samples": len(samples), **rounded}


def draw_contact_sheet(samples: list[dict], cube_mm: float, columns: int = 4) -> Figure:
    """Draws samples in a grid, the views of each side by side, labelled joints as dots.

    Args:
        samples: NumPy samples as `records.load_dataset` gives them, at least one.
        cube_mm: Side of the crop cube.
        columns: Samples a row.

    Returns:
        The figure. Near is bright (each view has its own range), background is white.
    """
    num_views = samples[0]["depth_mm"].shape[0]
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(1.2 * columns * num_views, 1.35 * rows), dpi=120)
    grid = figure.subplots(rows, columns * num_views, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for position, sample in enumerate(samples):
        row, column = divmod(position, columns)
        first = grid[row, column * num_views]
        first.set_title(
            f"{sample['subject'].decode()} {sample['frame']}", fontsize=6, loc="left", pad=2
        )
        for view in range(num_views):
            _draw_view(grid[row, column * num_views + view], sample, view, cube_mm)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.15 / (1.35 * rows), 0.03, 0.14)
    return figure


def _draw_view(axes, sample, view, cube_mm):
    depth_mm = sample["depth_mm"][view]
    surface = np.ma.masked_where(~np.asarray(crop.foreground_mask(depth_mm, cube_mm)), depth_mm)
    axes.imshow(surface, cmap="viridis_r")
    is_labelled = sample["joint_mask"][view] > 0
    relative_mm = (sample["joints_mm"][view] - sample["center_mm"][view])[is_labelled]
    # Pixel i covers [i, i + 1); imshow puts its middle at i.
    pixels = (relative_mm[:, :2] / cube_mm + 0.5) * depth_mm.shape[0] - 0.5
    axes.scatter(pixels[:, 0], pixels[:, 1], s=1.5, c="red", linewidths=0)
    axes.set(xlim=(-0.5, depth_mm.shape[1] - 0.5), ylim=(depth_mm.shape[0] - 0.5, -0.5))


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("data_dir", None, "Folder of records.", required=True, **define)
    flags.DEFINE_string("split", None, "Split to measure and draw; all, and the first.", **define)
    flags.DEFINE_string("output", None, "JSON file for all of it.", **define)
    flags.DEFINE_string("sheet", None, "PNG file for the contact sheet.", **define)
    flags.DEFINE_integer(
        "max_measured", 1000, "Samples measured a split, evenly spaced.", 1, **define
    )
    flags.DEFINE_integer("max_drawn", 24, "Samples on the contact sheet.", 1, **define)
    flags.DEFINE_boolean("verify", False, "Compare the checksums of all shards.", **define)


def main(flag_values: flags.FlagValues) -> None:
    """Prints the table, and writes what the flags ask for."""
    read = records.verify if flag_values.verify else records.read_info
    info = read(flag_values.data_dir)
    print(describe(info))
    splits = [flag_values.split] if flag_values.split else list(info.splits)
    measured = {}
    for position, split in enumerate(splits):
        samples = _load_evenly(flag_values.data_dir, split, flag_values.max_measured)
        measured[split] = measure(samples, info.spec.cube_mm)
        print(f"{split}: " + ", ".join(f"{key} {value}" for key, value in measured[split].items()))
        if flag_values.sheet and position == 0:
            chosen = np.unique(np.linspace(0, len(samples) - 1, flag_values.max_drawn).round())
            drawn = [samples[int(index)] for index in chosen]
            with files.replacing(flag_values.sheet) as partial:
                draw_contact_sheet(drawn, info.spec.cube_mm).savefig(partial, format="png")
            print(f"contact sheet of {split}: {flag_values.sheet}")
    if flag_values.output:
        values = {**dataclasses.asdict(info), "measured": measured}
        files.write_json(flag_values.output, values)


def _load_evenly(data_dir, split, max_samples):
    dataset = records.load_dataset(data_dir, split)
    every = -(-int(dataset.cardinality()) // max_samples)
    return list(dataset.shard(every, 0).as_numpy_iterator())


if __name__ == "__main__":
    commands.run(main, define_flags)
