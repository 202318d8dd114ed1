"""One row of docs/experiments.md with one seed: what it is made of, its runs, and its result."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import signal
import subprocess
import sys

import experiment_flags
import measure
from experiment_rows import ROWS

from data_prep import records
from tfhand import files
from tfhand.runs import preemption, provenance
from tfhand.training import options

__all__ = ["Experiment", "check_results", "records_of", "run_row", "stoppable"]

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The training under way, and whether SIGTERM came.
_now = {"child": None, "starting": False, "stopped": False}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row with a seed.

    Attributes:
        name: Of the row.
        seed: Seed of its trainings.
        size: Flag files that come after the row's.
        data_dir: `pathlib.Path` of the records.
    """

    name: str
    seed: int
    size: tuple[str, ...]
    data_dir: pathlib.Path

    @property
    def flag_files(self):
        """Paths from the root of the checkout, later ones win."""
        return (f"configs/experiments/{self.name}.flags", *self.size)

    @property
    def arguments(self):
        """Arguments of `tfhand.train` but for the place."""
        return [
            *experiment_flags.named(self.flag_files),
            f"--seed={self.seed}",
            f"--data_dir={self.data_dir.resolve()}",
        ]

    def made_of(self):
        """Returns what decides the result beside the seed and the code: flags, and the records."""
        return {
            "flags": experiment_flags.flags_of(self.flag_files),
            "data": _hash(records_of(self.data_dir)),
        }


@contextlib.contextmanager
def stoppable():
    """Context in which SIGTERM is passed on to the training under way and ends the command.

    Raises:
        SystemExit: With the status that says that the same command goes on.
    """

    def stop(*_):
        _now["stopped"] = True
        if _now["child"] is not None:
            _now["child"].terminate()
        elif not _now["starting"]:
            raise SystemExit(preemption.EXIT_PREEMPTED)

    _now["stopped"] = False
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def records_of(data_dir):
    """Returns what records are, but for their bytes: other machines render other last bits.

    Args:
        data_dir: Folder of the records.

    Returns:
        Dict of JSON values: `dataset_info.json` without its shards.

    Raises:
        FileNotFoundError: If there are no records.
        ValueError: If their description is damaged.
    """
    info = dataclasses.asdict(records.read_info(data_dir))
    for split in info["splits"].values():
        del split["shards"]
    return info


def run_row(experiment, workdir, results):
    """Runs a row with a seed, unless its result is there.

    Args:
        experiment: `Experiment`.
        workdir: `pathlib.Path` where runs, and the starts that rows share, are kept.
        results: `pathlib.Path` of the folder of results.

    Raises:
        ValueError: If a training failed.
        SystemExit: With the status of a training that was stopped, to be gone on with.
    """
    what = f"{experiment.name}, seed {experiment.seed}"
    made_of = experiment.made_of()
    other = ROWS[experiment.name].compared_with
    if other is not None:
        flag_files = dataclasses.replace(experiment, name=other).flag_files
        if experiment_flags.are_equal(made_of["flags"], experiment_flags.flags_of(flag_files)):
            print(f"{what}: at this size it is {other}, and left out.", flush=True)
            return
    output = results / experiment.name / f"seed-{experiment.seed}.json"
    if output.exists():
        found = files.read_json(output)
        if experiment_flags.are_equal(found["flags"], made_of["flags"]):
            print(f"{what}: its result is there, made at commit {found['commit']}.", flush=True)
            return
    print(what, flush=True)
    places = []
    start = experiment_flags.parse(experiment.flag_files).init_from
    if start == "none":
        start = workdir / "starts" / f"{_start_key(experiment)}-seed-{experiment.seed}"
        _train([*experiment.arguments, "--tune_method=none", "--test_on=recording"], start)
        places.append(start)
    # Named by what it is made of: a run of other flags or records is another run.
    run = workdir / experiment.name / f"seed-{experiment.seed}-{_hash(made_of)}"
    _train([*experiment.arguments, f"--init_from={start}"], run)
    places.append(run)
    files.write_json(
        output,
        {
            "row": experiment.name,
            "seed": experiment.seed,
            "flag_files": list(experiment.flag_files),
            **made_of,
            "commit": _commits(places),
            "environment": {k: v for k, v in measure.environment().items() if k != "commit"},
            "minutes": {
                stage.parent.name: files.read_json(stage)["seconds"] / 60.0
                for place in places
                for stage in sorted(place.glob("*/done.json"))
            },
            "metrics": files.read_json(run / "report" / "metrics.json"),
        },
    )


def check_results(results, data_dir, size):
    """Checks that all results in a folder are of some records and size.

    Args:
        results: `pathlib.Path` of the folder of results.
        data_dir: `pathlib.Path` of the records.
        size: Flag files that come after those of the rows.

    Raises:
        ValueError: If one is not.
    """
    data = _hash(records_of(data_dir))
    for path in sorted(results.glob("*/seed-*.json")):
        found, remedy = files.read_json(path), "give another --results and --page"
        if found.get("data") != data:
            raise ValueError(
                f"Expected in {path} a result of the records in {data_dir}, found one "
                f"of others: {remedy}."
            )
        if found["flag_files"][1:] != list(size):
            raise ValueError(
                f"Expected in {path} a result with {list(size)} after the row's flag file, found "
                f"one with {found['flag_files'][1:]}: {remedy}."
            )


def _start_key(experiment):
    """Returns a short name of the settings that the start of a row depends on."""
    parsed = experiment_flags.parse(experiment.flag_files)
    made_with = [
        dataclasses.asdict(options.from_flags(kind, parsed))
        for kind in (options.NetworkOptions, options.PriorOptions, options.InitOptions)
    ]
    return _hash(made_with)


def _commits(places):
    """Returns the commits that the runs were made at, in order; "+": with files that differed."""
    commits = []
    for place in places:
        for entry in files.read_json(place / provenance.NAME):
            found = entry["commit"]
            commit = found["id"][:7] + "+" * found["is_dirty"] if found else "unknown"
            if commit not in commits:
                commits.append(commit)
    return ", ".join(commits)


def _hash(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _train(arguments, workdir):
    """Runs `tfhand.train` in a process of its own, which does only what is not done."""
    if (workdir / "report" / "metrics.json").exists():
        return
    command = [sys.executable, "-m", "tfhand.train", *arguments, f"--workdir={workdir}"]
    log = workdir / "log.txt"
    status = _call(command, log)
    if _now["stopped"] or status in (preemption.EXIT_PREEMPTED, -signal.SIGTERM):
        raise SystemExit(preemption.EXIT_PREEMPTED)
    if status:
        raise ValueError(f"{' '.join(command[1:])} ended with status {status}, see {log}.")


def _call(command, log):
    """Runs a command; what it prints goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as stream:
        _now["starting"] = True
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
        _now.update(child=process, starting=False)
        try:
            if _now["stopped"]:
                process.terminate()
            return process.wait()
        finally:
            _now["child"] = None
