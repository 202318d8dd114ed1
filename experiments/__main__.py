"""Runs the experiments of the paper and of this project, one flag file each, and writes their page.

Run in the checkout as

    python -m experiments --size_flags=configs/overnight.flags

on the embedded recording, which is made first, or on records with `--data_dir`. Results are JSON
files in `docs/experiments/`; their numbers also go to the headers of the flag files. A result of
the same flags and records is not made again, and a training that was stopped goes on with the
same command. Another size, as `configs/nyu.flags`, or other records need other `--results` and
another `--page`. `--only=` runs nothing, and writes page and headers from the results. A row that
fails is named at the end; the others run.
"""

import pathlib
import signal
import sys

from absl import flags

from experiments import flags as row_flags
from experiments import headers, page, results, runs
from experiments.rows import ROWS
from tfhand import commands
from tfhand.geometry import crop
from tfhand.runs import embedded_recording, preemption
from tfhand.runs import workdir as stage_folders

RESULTS = "docs/experiments"


def define_flags(flag_values):
    """Defines the flags of this command."""

    def define(definer, *arguments):
        definer(*arguments, flag_values=flag_values)

    define(flags.DEFINE_string, "workdir", "runs/experiments", "Folder of the runs.")
    define(flags.DEFINE_string, "data_dir", None, "Records; none: the embedded recording.")
    define(flags.DEFINE_list, "size_flags", [], "Flag files that come after each row's.")
    define(flags.DEFINE_list, "only", list(ROWS), "Rows to run.")
    define(flags.DEFINE_list, "seeds", ["1"], "Seeds of the trainings, integers.")
    define(flags.DEFINE_string, "results", RESULTS, "Folder of JSON files.")
    define(flags.DEFINE_string, "page", f"{RESULTS}/rows.md", "Page to write.")


def main(flag_values):
    """Runs the command."""
    rows = [name for name in flag_values.only if name]
    if unknown := sorted(set(rows) - set(ROWS)):
        raise ValueError(f"--only: expected some of {list(ROWS)}, received {unknown}.")
    for seed in flag_values.seeds:
        if not seed.isdecimal():
            raise ValueError(f"--seeds: expected integers, received {seed!r}.")
    failures = _run_rows(flag_values, rows) if rows else []
    _write_numbers(flag_values)
    if failures:
        raise ValueError(
            f"Expected all rows to run, {len(failures)} did not: {'; '.join(failures)}"
        )


def _run_rows(flag_values, rows):
    """Runs rows with all seeds; returns the messages of those that failed."""
    workdir, folder = pathlib.Path(flag_values.workdir), pathlib.Path(flag_values.results)
    size_flags, failures = tuple(flag_values.size_flags), []
    data_dir = flag_values.data_dir or _make_recording(workdir, size_flags)
    runs.check_results(folder, data_dir, size_flags)
    for seed in map(int, flag_values.seeds):
        for name in rows:
            try:
                runs.run_row(runs.Experiment(name, seed, size_flags, data_dir), workdir, folder)
            except (flags.Error, ValueError, OSError) as error:
                failures.append(f"{name}, seed {seed}: {error}")
                print(failures[-1], flush=True)
    return failures


def _make_recording(workdir, size_flags):
    """Makes the recording that `tfhand.train` makes without --data_dir, once for all rows."""
    size = row_flags.parse(size_flags)
    spec = crop.CropSpec(size.image_size, size.cube_mm)
    stages = stage_folders.Workdir(workdir)
    return embedded_recording.make_recording(stages, size.recording_samples, spec)


def _write_numbers(flag_values):
    """Writes the page, and the headers of flag files if these are the results of the checkout."""
    folder = pathlib.Path(flag_values.results)
    by_row = results.read_results(folder)
    if not by_row:
        print(f"No results of labeled records in {folder}: {flag_values.page} stays as it is.")
        return
    page.write_page(by_row, folder, pathlib.Path(flag_values.page))
    if folder.resolve() == pathlib.Path(RESULTS).resolve():
        headers.write_headers(by_row, pathlib.Path("configs/experiments"))


if __name__ == "__main__":
    # The training under way ends with the command, and goes on from its last checkpoint.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(preemption.EXIT_PREEMPTED))
    commands.run(main, define_flags)
