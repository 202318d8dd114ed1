"""Runs the experiments of the paper and of this project, one flag file each, and writes their page.

Run as

    python benchmarks/experiments.py --size_flags=configs/overnight.flags

on the embedded recording, which is made first, or on records with `--data_dir`. Results lie in
`docs/experiments/` as JSON, and their numbers also in the headers of the flag files. One made of
the same flags and records is not made again: what was stopped goes on with the same command.
Another size, as `configs/nyu.flags`, or other records need other `--results` and another `--page`.
`--only=` runs nothing, and writes page and headers of the results that are there.
A row that fails is named at the end; the others run. Exit status 75: stopped by SIGTERM, the same
command goes on.
"""

import contextlib
import pathlib

import experiment_flags
import experiment_headers
import experiment_results
import experiment_runs
import experiments_page
from absl import flags
from experiment_rows import ROWS

from tfhand import commands, files
from tfhand.geometry import crop
from tfhand.runs import embedded
from tfhand.runs import workdir as stage_folders

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "experiments"


def define_flags(flag_values):
    def define(definer, *arguments):
        definer(*arguments, flag_values=flag_values)

    define(flags.DEFINE_string, "workdir", "runs/experiments", "Where the runs are kept.")
    define(flags.DEFINE_string, "data_dir", None, "Records; none: the embedded recording.")
    define(flags.DEFINE_string, "size_flags", None, "A flag file that comes after each row's.")
    define(flags.DEFINE_list, "only", list(ROWS), "Rows to run.")
    define(flags.DEFINE_list, "seeds", ["1"], "Seeds of the trainings, integers.")
    define(flags.DEFINE_string, "results", str(RESULTS), "Folder of JSON.")
    define(flags.DEFINE_string, "page", str(ROOT / "docs" / "experiments.md"), "Page to write.")


def main(values):
    unknown = sorted(set(values.only) - {*ROWS, ""})
    if unknown:
        raise ValueError(f"--only: expected some of {list(ROWS)}, received {unknown}.")
    for seed in values.seeds:
        if not seed.isdecimal():
            raise ValueError(f"--seeds: expected integers, received {seed!r}.")
    workdir = pathlib.Path(values.workdir).resolve()
    with experiment_runs.stoppable(), files.alone_in(workdir, "running experiments", ".lock"):
        _run(values, workdir)


def _run(values, workdir):
    results = pathlib.Path(values.results)
    size = (_from_root(values.size_flags),) if values.size_flags else ()
    rows = [name for name in values.only if name]
    failed = []
    if rows:
        data_dir = pathlib.Path(values.data_dir or _embedded_recording(workdir, size))
        experiment_runs.check_results(results, data_dir, size)
    for seed in map(int, values.seeds):
        for name in rows:
            experiment = experiment_runs.Experiment(name, seed, size, data_dir)
            try:
                experiment_runs.run_row(experiment, workdir, results)
                with contextlib.suppress(experiment_results.NoScoresError):
                    _write_numbers(results, pathlib.Path(values.page))
            except (flags.Error, ValueError, OSError) as error:
                failed.append(f"{name}, seed {seed}: {error}")
                print(failed[-1], flush=True)
    if failed:
        raise ValueError(f"Expected all rows to run, {len(failed)} did not: {'; '.join(failed)}")
    _write_numbers(results, pathlib.Path(values.page))


def _write_numbers(results, page):
    """Writes the page, and the headers of flag files if these are the results of the checkout."""
    experiments_page.write(results, page)
    if results.resolve() == RESULTS:
        experiment_headers.write(results, ROOT / "configs" / "experiments")


def _from_root(path):
    """Returns the path of a file from the root of the checkout, if it is in there."""
    found = pathlib.Path(path)
    found = (found if found.exists() else ROOT / found).resolve()
    return str(found.relative_to(ROOT) if found.is_relative_to(ROOT) else found)


def _embedded_recording(workdir, size):
    """Makes the recording that `tfhand.train` makes without --data_dir, once for all rows."""
    parsed = experiment_flags.parse(size)
    return embedded.make_recording(
        stage_folders.Workdir(workdir),
        parsed.recording_samples,
        crop.CropSpec(parsed.image_size, parsed.cube_mm),
    )


if __name__ == "__main__":
    commands.run(main, define_flags)
