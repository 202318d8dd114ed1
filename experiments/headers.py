"""Writes into the flag file of every row what the paper has for it, and what was measured here."""

import experiment_results
from experiment_rows import ROWS

from tfhand import files

__all__ = ["write"]

_PAPER, _HERE, _RUN_AT = "# The paper, on NYU: ", "# Here, in mm: ", "# Run at "

_SCORED_ON = {"recording": "embedded recording", "synthetic": "synthetic hands"}


def write(results, folder):
    """Replaces the lines with numbers in the headers of flag files, above the first flag.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.
        folder: `pathlib.Path` of the flag files, `ROW.flags`; one that is missing is left out.

    Raises:
        NoScoresError: If there is no result with a score.
    """
    found = experiment_results.read(results)
    for name, row in ROWS.items():
        path = folder / f"{name}.flags"
        if not path.exists():
            continue
        text = path.read_text()
        lines = text.splitlines()
        first_flag = next((i for i, line in enumerate(lines) if line.startswith("--")), len(lines))
        kept = [x for x in lines[:first_flag] if not x.startswith((_PAPER, _HERE, _RUN_AT))]
        paper = [] if row.paper_mm is None else [f"{_PAPER}{row.paper_mm:.2f} mm."]
        here = _measured(found[name]) if name in found else []
        changed = "\n".join([*kept, *paper, *here, *lines[first_flag:], ""])
        if changed != text:
            files.write_text(path, changed)


def _measured(runs):
    run, machine = runs[0], runs[0]["environment"]
    size = "".join(f" with {path}" for path in run["flag_files"][1:])
    error_mm = experiment_results.scores_of(run).mean_joint_error_mm
    seeds = f"; {experiment_results.mean_and_spread(runs)}" if len(runs) > 1 else ""
    changed = "" if experiment_results.is_of_today(run) else " Changed since."
    scored_on = _SCORED_ON[run["flags"]["test_on"]]
    return [
        f"{_HERE}{error_mm:.2f}{seeds}, {scored_on}{size}.",
        f"{_RUN_AT}{run['commit']} in {experiment_results.minutes(run)} min "
        f"on {machine['cores']} cores ({machine['cpu']}).{changed}",
    ]
