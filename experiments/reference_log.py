"""Ranges of the curves of finished runs: what is normal for every term.

    python -m experiments.reference_log --workdirs=runs/seed1,runs/seed2 --points=8

One Markdown table a stage. A cell is the least and the greatest value among the runs at a point of
the way, evenly spaced from the first to the last of each run; columns are named by the steps of
the longest.
"""

import pathlib

import numpy as np
from absl import flags

from tfhand import commands
from tfhand.runs import curves

_STAGES = ("prior", "init", "tune")


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_list(
        "workdirs", None, "Working directories of runs.", required=True, flag_values=flag_values
    )
    flags.DEFINE_integer("points", 2, "Points of each curve.", 2, flag_values=flag_values)


def main(flag_values):
    """Runs the command."""
    workdirs = [pathlib.Path(path) for path in flag_values.workdirs]
    tables = []
    for stage in _STAGES:
        folders = [f for workdir in workdirs for f in sorted(workdir.glob(f"{stage}/logs/*"))]
        runs = [run for run in map(curves.read, folders) if run]
        if runs:
            tables += [f"\n{stage}, {len(runs)} trainings:\n", *_table(runs, flag_values.points)]
    if not tables:
        raise ValueError(f"Expected stages with logs in {flag_values.workdirs}, found none.")
    print("\n".join(tables))


def _table(runs, count):
    """Yields the lines of a table of runs, each a dict from a tag to its points (step, value)."""
    longest = max((points for run in runs for points in run.values()), key=len)
    count = min(count, len(longest))
    yield f"| tag | {' | '.join(str(step) for step, _ in _spread(longest, count))} |"
    yield "|---" + "|---:" * count + "|"
    for tag in sorted(set().union(*runs)):
        curves_of_tag = [_spread(run[tag], count) for run in runs if tag in run]
        cells = [_range([value for _, value in points]) for points in zip(*curves_of_tag)]
        yield f"| `{tag}` | {' | '.join(cells)} |"


def _spread(points, count):
    """Returns so many of the points, evenly spaced, with the first and the last."""
    return [points[i] for i in np.linspace(0, len(points) - 1, count).round().astype(int)]


def _range(values):
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    commands.run(main, define_flags)
