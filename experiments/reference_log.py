"""Prints what the curves of finished runs begin and end with: the normal range of every term.

    python benchmarks/reference_log.py --workdirs=runs/seed1,runs/seed2

One table a stage, in Markdown. A cell is the least and the greatest value among the runs; `lowest`
and `highest` are those of all points after the first tenth, where a curve has settled. With
`--points=10` the cells are ten points of the way instead, evenly spaced.
"""

import pathlib

import numpy as np
from absl import flags

from tfhand import commands
from tfhand.training import curves

_STAGES = ("prior", "init", "tune")
_COLUMNS = ("tag", "first point", "last point", "lowest", "highest")


def define_flags(flag_values):
    flags.DEFINE_list(
        "workdirs", None, "Working directories of runs.", required=True, flag_values=flag_values
    )
    flags.DEFINE_integer(
        "points", None, "Points of the way; none: its ends.", 2, flag_values=flag_values
    )


def main(values):
    workdirs = [pathlib.Path(path) for path in values.workdirs]
    shown = False
    for stage in _STAGES:
        folders = [f for w in workdirs for f in sorted((w / stage / "logs").glob("*"))]
        runs = [run for run in map(curves.read, folders) if run]
        if runs:
            shown = True
            print(f"\n{stage}, {len(runs)} trainings:\n")
            print("\n".join(_way(runs, values.points) if values.points else _ends(runs)))
    if not shown:
        raise ValueError(f"Expected stages with logs in {[str(w) for w in workdirs]}, found none.")


def _ends(runs):
    yield from _head(_COLUMNS)
    for tag in sorted(set().union(*runs)):
        of_tag = [[value for _, value in run[tag]] for run in runs if tag in run]
        settled = [value for values in of_tag for value in values[len(values) // 10 :]]
        cells = (
            _range([values[0] for values in of_tag]),
            _range([values[-1] for values in of_tag]),
            f"{min(settled):.3g}",
            f"{max(settled):.3g}",
        )
        yield f"| `{tag}` | " + " | ".join(cells) + " |"


def _way(runs, count):
    longest = max((points for run in runs for points in run.values()), key=len)
    steps = [step for step, _ in longest]
    places = np.unique(np.linspace(0, len(steps) - 1, count).round().astype(int))
    chosen = [steps[place] for place in places]
    yield from _head(["tag", *map(str, chosen)])
    for tag in sorted(set().union(*runs)):
        at_step = [dict(run[tag]) for run in runs if tag in run]
        found = [[values[step] for values in at_step if step in values] for step in chosen]
        yield f"| `{tag}` | " + " | ".join(_range(v) if v else "" for v in found) + " |"


def _head(columns):
    yield "| " + " | ".join(columns) + " |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"


def _range(values):
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    commands.run(main, define_flags)
