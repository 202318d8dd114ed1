"""Trainings behind a row of docs/experiments/rows.md with one seed, and the result they leave."""

import dataclasses
import hashlib
import json
import pathlib
import subprocess
import sys

from benchmarks import measure
from data_prep import records
from experiments import flags
from tfhand import files
from tfhand.runs import provenance
from tfhand.training import options

__all__ = ["Experiment", "check_results", "describe_records", "run_row"]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row with a seed.

    Attributes:
        name: Row.
        seed: Seed of its trainings.
        size_flags: Flag files that come after the row's.
        data_dir: Folder of the records.
    """

    name: str
    seed: int
    size_flags: tuple[str, ...]
    data_dir: str | pathlib.Path

    @property
    def flag_files(self):
        """Paths from the root of the checkout, later ones win."""
        return (f"configs/experiments/{self.name}.flags", *self.size_flags)

    def inputs(self):
        """Returns what decides the result beside the seed and the code: flags and records."""
        return {
            "flags": flags.result_flags(self.flag_files),
            "data": _hash(describe_records(self.data_dir)),
        }


def describe_records(data_dir):
    """Describes records without their bytes: other machines render other last bits.

    Args:
        data_dir: Folder of the records.

    Returns:
        Dict of JSON values: `dataset_info.json` without its shards.
    """
    info = dataclasses.asdict(records.read_info(data_dir))
    for split in info["splits"].values():
        del split["shards"]
    return info


def check_results(folder, data_dir, size_flags):
    """Checks that all results in a folder are of the same records and size.

    Args:
        folder: `pathlib.Path` of the results.
        data_dir: Folder of the records.
        size_flags: Flag files that come after those of the rows.

    Raises:
        ValueError: If one is not.
    """
    data = _hash(describe_records(data_dir))
    for path in sorted(folder.glob("*/seed-*.json")):
        result = files.read_json(path)
        if (result["data"], result["flag_files"][1:]) != (data, list(size_flags)):
            raise ValueError(
                f"Expected in {path} a result of the records in {data_dir} ({data}) with "
                f"{list(size_flags)} after the row's flag file, found one of {result['data']} with "
                f"{result['flag_files'][1:]}: give another --results and --page."
            )


def run_row(experiment, workdir, results):
    """Runs a row with a seed, unless its result is there.

    Args:
        experiment: `Experiment`.
        workdir: `pathlib.Path` of the runs, and of the initializations that rows share.
        results: `pathlib.Path` of the folder of results.

    Raises:
        ValueError: If a training failed.
    """
    title = f"{experiment.name}, seed {experiment.seed}"
    inputs = experiment.inputs()
    output = results / experiment.name / f"seed-{experiment.seed}.json"
    if output.exists():
        result = files.read_json(output)
        if not flags.changed_flags(inputs["flags"], result["flags"]):
            print(f"{title}: its result is there, made at commit {result['commit']}.", flush=True)
            return
    print(title, flush=True)
    # Named by its inputs: a run of other flags or records is another run.
    run = workdir / experiment.name / f"seed-{experiment.seed}-{_hash(inputs)}"
    folders = [run]
    start = inputs["flags"]["init_from"]
    if start == "none":
        start = workdir / "starts" / f"{_start_key(experiment)}-seed-{experiment.seed}"
        _train(experiment, start, "--tune_method=none", "--test_on=recording")
        folders.insert(0, start)
    _train(experiment, run, f"--init_from={start}")
    result = {
        "row": experiment.name,
        "seed": experiment.seed,
        "flag_files": list(experiment.flag_files),
        **inputs,
        "commit": ", ".join(_commits(folders)),
        "environment": {k: v for k, v in measure.environment().items() if k != "commit"},
        "minutes": {
            stage.parent.name: files.read_json(stage)["seconds"] / 60.0
            for folder in folders
            for stage in sorted(folder.glob("*/done.json"))
        },
        "metrics": files.read_json(run / "report" / "metrics.json"),
    }
    files.write_json(output, result)


def _start_key(experiment):
    """Returns a short name of the settings that prior and initialization of a row depend on."""
    values = flags.parse(experiment.flag_files)
    kinds = (options.NetworkOptions, options.PriorOptions, options.InitOptions)
    return _hash([dataclasses.asdict(options.from_flags(kind, values)) for kind in kinds])


def _commits(folders):
    """Returns the commits that runs were made at, in order; "+": with changes."""
    commits = []
    for folder in folders:
        for entry in files.read_json(folder / provenance.NAME):
            commit = entry["commit"]
            commits.append(commit["id"][:7] + "+" * commit["is_dirty"] if commit else "unknown")
    return list(dict.fromkeys(commits))


def _hash(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _train(experiment, workdir, *more_flags):
    """Runs `tfhand.train` in a process of its own, unless its report is there."""
    if (workdir / "report" / "metrics.json").exists():
        return
    arguments = [
        *(f"--flagfile={path}" for path in experiment.flag_files),
        f"--seed={experiment.seed}",
        f"--data_dir={experiment.data_dir}",
        *more_flags,
        f"--workdir={workdir}",
    ]
    log = workdir / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as stream:
        command = [sys.executable, "-m", "tfhand.train", *arguments]
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
    if status:
        raise ValueError(f"tfhand.train {' '.join(arguments)} ended with {status}, see {log}.")
