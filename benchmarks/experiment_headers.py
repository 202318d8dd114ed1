"""Writes into the flag file of every row what the paper has for it, and what was measured here."""

import experiment_results
from experiment_rows import ROWS

from tfhand import files

__all__ = ["write"]

_PAPER, _HERE, _RUN_AT = "# The paper, on NYU: ", "# Here: ", "# Run at "


def write(results, folder):
    """Replaces the lines with numbers in the headers of flag files.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.
        folder: `pathlib.Path` of the flag files, `ROW.flags`.

    Raises:
        ValueError: If there is no result.
    """
    found = experiment_results.read(results)
    for name, row in ROWS.items():
        path = folder / f"{name}.flags"
        old = path.read_text().splitlines()
        lines = [line for line in old if not line.startswith((_PAPER, _HERE, _RUN_AT))]
        first_flag = next(i for i, line in enumerate(lines) if line.startswith("--"))
        paper = [] if row.paper_mm is None else [f"{_PAPER}{row.paper_mm:.2f} mm."]
        here = _measured(found[name]) if name in found else []
        lines[first_flag:first_flag] = [*paper, *here]
        files.write_text(path, "\n".join([*lines, ""]))


def _measured(runs):
    size = "".join(f" with {path}" for path in runs[0]["flag_files"][1:])
    machine = runs[0]["environment"]
    changed = "" if experiment_results.is_of_today(runs[0]) else " Changed since."
    return [
        f"{_HERE}{experiment_results.error_mm(runs)} mm on the embedded recording{size}.",
        f"{_RUN_AT}{experiment_results.commits(runs)} in {experiment_results.minutes(runs)} min "
        f"on {machine['cores']} cores of an {machine['cpu']}.{changed}",
    ]
