"""Runs all benchmarks and writes their tables to RESULTS.md.

Run as

    python benchmarks/results.py --model=runs/selfsup/pose.keras

or with `--only=frame,synthesis` for some: the others keep their last results, JSON files in
`results/`. Remarks on the numbers are in `remarks.md`, a section a benchmark.
"""

import json
import pathlib
import subprocess
import sys

from absl import flags

from tfhand import commands

FOLDER = pathlib.Path(__file__).parent
# In the order of the page.
BENCHMARKS = (
    "data_terms", "synthesis", "sensor_crops", "record_reading", "nyu_conversion", "networks",
    "train_step", "frame", "live", "runtimes",
)  # fmt: skip
NEED_MODEL = {"frame", "live", "runtimes"}


def define_flags(flag_values):
    flags.DEFINE_string("model", None, "Trained network, pose.keras.", flag_values=flag_values)
    flags.DEFINE_list("only", list(BENCHMARKS), "Benchmarks to run.", flag_values=flag_values)


def main(flag_values):
    unknown = sorted(set(flag_values.only) - {*BENCHMARKS, ""})
    if unknown:
        raise ValueError(f"--only: expected some of {BENCHMARKS}, received {unknown}.")
    if NEED_MODEL & set(flag_values.only) and not flag_values.model:
        raise ValueError(f"--model: expected a trained network, which {sorted(NEED_MODEL)} need.")
    folder = FOLDER / "results"
    for name in flag_values.only:
        if name:
            run(name, folder / f"{name}.json", flag_values.model)
    results = [
        json.loads(path.read_text())
        for path in (folder / f"{name}.json" for name in BENCHMARKS)
        if path.exists()
    ]
    (FOLDER / "RESULTS.md").write_text(render(results))


def run(name, output, model):
    """Runs one benchmark in a process of its own."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), f"--output={output}"]
    if name in NEED_MODEL:
        command.append(f"--model={model}")
    subprocess.run(command, check=True)


def render(results):
    """Returns the page, Markdown."""
    lines = [
        "# Speed",
        "",
        "Written by `make bench`; what the numbers are made of: [remarks.md](remarks.md). Times",
        "are medians of rounds in which the compared versions are interleaved; *fastest* is the",
        "fastest round, *CPU* the time of all threads. *Peak extra* is the memory that calls take,",
        "in a process of their own, above the level before the first. A commit with `+` had",
        "changes.",
    ]
    for result in results:
        lines += ["", f"## {result['title']}", "", f"    {result['command']}", ""]
        lines += [environment_line(result["environment"])]
        for table in result["tables"]:
            lines += ["", f"**{table['title']}**", "", *markdown_table(table)]
        if result["targets"]:
            lines.append("")
        for target in result["targets"]:
            mark = "reached" if target["reached"] else "**not reached**"
            lines.append(f"- {target['text']}: {target['value']}, {target['bound']}: {mark}.")
    return "\n".join(lines) + "\n"


def environment_line(environment):
    """Returns the machine, the versions and the commit in one line."""
    others = ("cpu", "cores", "system", "commit", "load")
    versions = ", ".join(f"{k} {v}" for k, v in environment.items() if k not in others)
    return (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['system']}; {versions}; "
        f"commit {environment['commit']}; load before {environment['load']}."
    )


def markdown_table(table):
    """Returns the lines of a table; the first column is text, the others numbers."""
    ruler = ["---", *["---:"] * (len(table["columns"]) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (table["columns"], ruler, *table["rows"])]


if __name__ == "__main__":
    commands.run(main, define_flags)
