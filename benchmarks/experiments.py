"""Runs the experiments of the paper and of this project, one flag file each, and writes their page.

Run as

    python benchmarks/experiments.py --size_flags=configs/overnight.flags

on the embedded recording, which is made first, or on records with `--data_dir`. Results lie in
`docs/experiments/` as JSON, and one made with the same flags is not made again: what
was stopped goes on with the same command. Another size, as `configs/nyu.flags`, needs other
`--results` and another `--page`.
"""

import dataclasses
import hashlib
import json
import pathlib
import subprocess
import sys

import experiments_page
import measure
from absl import flags
from experiment_rows import ROWS

from tfhand import commands, files, train
from tfhand.training import options

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Of what a run is made from, not part of what it is.
_PLACES = ("workdir", "data_dir", "flagfile", "seed")
_NO_PLACES = ("none", "shipped")


def define_flags(flag_values):
    def define(definer, *arguments):
        definer(*arguments, flag_values=flag_values)

    define(flags.DEFINE_string, "workdir", "runs/experiments", "Where the runs are kept.")
    define(flags.DEFINE_string, "data_dir", None, "Records; none: the embedded recording.")
    define(flags.DEFINE_string, "size_flags", None, "A flag file that comes after each row's.")
    define(flags.DEFINE_list, "only", list(ROWS), "Rows to run.")
    define(flags.DEFINE_list, "seeds", ["1"], "Seeds of the trainings.")
    define(flags.DEFINE_string, "results", str(ROOT / "docs" / "experiments"), "Folder of JSON.")
    define(flags.DEFINE_string, "page", str(ROOT / "docs" / "experiments.md"), "Page to write.")


def main(values):
    unknown = sorted(set(values.only) - {*ROWS, ""})
    if unknown:
        raise ValueError(f"--only: expected some of {list(ROWS)}, received {unknown}.")
    workdir = pathlib.Path(values.workdir).resolve()
    results = pathlib.Path(values.results)
    data_dir = values.data_dir or _embedded_recording(workdir)
    for seed in values.seeds:
        for name in values.only:
            if name:
                _run_row(name, seed, workdir, data_dir, values.size_flags, results)
    experiments_page.write(results, pathlib.Path(values.page))


def _embedded_recording(workdir):
    """Makes the recording that `tfhand.train` makes without --data_dir, once for all rows."""
    folder = workdir / "recording"
    if not (folder / "dataset_info.json").exists():
        count = commands.parse(train.define_flags, ["", "--workdir=unused"]).recording_samples
        arguments = [f"--output_dir={folder}", f"--num_samples={count}", "--overwrite"]
        _call(["-m", "data_prep.synthetic", *arguments], workdir / "recording.log")
    return folder


def _run_row(name, seed, workdir, data_dir, size_flags, results):
    """Runs a row with a seed, unless its result is there."""
    flag_files = [f"configs/experiments/{name}.flags", *([size_flags] if size_flags else [])]
    arguments = [f"--flagfile={path}" for path in flag_files]
    arguments += [f"--seed={seed}", f"--data_dir={pathlib.Path(data_dir).resolve()}"]
    parsed = commands.parse(train.define_flags, ["train", *arguments, "--workdir=unused"])
    wanted = {
        flag: value
        for flag, value in sorted(parsed.flag_values_dict().items())
        if flag not in _PLACES and flag in _flags_of_a_run()
    }
    if wanted["init_from"] not in _NO_PLACES:
        wanted["init_from"] = "another run"
    output = results / name / f"seed-{seed}.json"
    if output.exists() and files.read_json(output)["flags"] == wanted:
        print(f"{name}, seed {seed}: its result is there.", flush=True)
        return
    print(f"{name}, seed {seed}", flush=True)
    start, where = parsed.init_from, []
    if start == "none":
        start = workdir / "starts" / f"{_start_key(parsed)}-seed-{seed}"
        _train([*arguments, "--tune_method=none", "--test_on=recording"], start)
        where = [start]
    # Named by its flags too: a run of other flags is another run.
    run = workdir / name / f"seed-{seed}-{_hash(wanted)}"
    _train([*arguments, f"--init_from={start}"], run)
    metrics = files.read_json(run / "report" / "metrics.json")
    files.write_json(
        output,
        {
            "row": name,
            "seed": int(seed),
            "flag_files": flag_files,
            "flags": wanted,
            "environment": measure.environment(),
            "minutes": {
                stage.parent.name: files.read_json(stage)["seconds"] / 60.0
                for place in (*where, run)
                for stage in sorted(place.glob("*/done.json"))
            },
            "metrics": metrics,
        },
    )


def _flags_of_a_run():
    """Returns the names of the flags of `tfhand.train` without those of the logging."""
    values = flags.FlagValues()
    train.define_flags(values)
    return set(values)


def _start_key(parsed):
    """Returns a short name of the settings that the start of a row depends on."""
    made_with = [
        dataclasses.asdict(options.from_flags(kind, parsed))
        for kind in (options.NetworkOptions, options.PriorOptions, options.InitOptions)
    ]
    return _hash(made_with)


def _hash(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _train(arguments, workdir):
    """Runs `tfhand.train` in a process of its own, which does only what is not done."""
    if (workdir / "report" / "metrics.json").exists():
        return
    _call(["-m", "tfhand.train", *arguments, f"--workdir={workdir}"], workdir / "log.txt")


def _call(arguments, log):
    """Runs a command of this package; what it prints goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as stream:
        status = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT
        ).returncode
    if status:
        raise ValueError(f"python {' '.join(arguments)} ended with status {status}, see {log}.")


if __name__ == "__main__":
    commands.run(main, define_flags)
