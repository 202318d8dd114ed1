"""Numbers of the paper and ours at the head of every row's flag file."""

from experiments import results
from experiments.rows import ROWS
from tfhand import files

__all__ = ["write_headers"]

_PAPER, _HERE, _RUN_AT = "# The paper, on NYU: ", "# Here, in mm: ", "# Run at "
_SCORED_ON = {"recording": "embedded recording", "synthetic": "synthetic hands"}


def write_headers(by_row, folder):
    """Replaces the lines with numbers in the headers of flag files, above the first flag.

    Args:
        by_row: Of `results.read_results`.
        folder: `pathlib.Path` of the flag files, ROW.flags.
    """
    for name, row in ROWS.items():
        path = folder / f"{name}.flags"
        header, flags = path.read_text().split("\n--", 1)
        lines = [
            line for line in header.split("\n") if not line.startswith((_PAPER, _HERE, _RUN_AT))
        ]
        if row.paper_mm is not None:
            lines.append(f"{_PAPER}{row.paper_mm:.2f} mm.")
        if name in by_row:
            lines += _measured(by_row[name])
        files.write_text(path, "\n".join(lines) + "\n--" + flags)


def _measured(of_seeds):
    """Returns the lines on the results of a row."""
    first, machine = of_seeds[0], of_seeds[0]["environment"]
    size = "".join(f" with {path}" for path in first["flag_files"][1:])
    error_mm = results.scores_of(first).mean_joint_error_mm
    seeds = f"; {results.mean_and_spread(of_seeds)}" if len(of_seeds) > 1 else ""
    return [
        f"{_HERE}{error_mm:.2f}{seeds}, {_SCORED_ON[first['flags']['test_on']]}{size}.",
        f"{_RUN_AT}{first['commit']} in {results.minutes(first)} min "
        f"on {machine['cores']} cores ({machine['cpu']}).",
    ]
