"""A process that reads damaged inputs, and is replaced when it crashes or hangs."""

import dataclasses
import json
import os
import pathlib
import select
import subprocess
import sys

__all__ = ["Tally", "Worker", "run_format"]

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# For one input. The first of a format also waits for imports and for graphs to be traced.
SECONDS, FIRST_SECONDS = 20.0, 180.0


@dataclasses.dataclass
class Tally:
    """What became of the inputs of a format.

    Attributes:
        refused: Inputs refused with one clear error.
        accepted: Inputs read, with a sane result.
        violations: (index of the input, what happened) of all others.
    """

    refused: int = 0
    accepted: int = 0
    violations: list = dataclasses.field(default_factory=list)

    @property
    def inputs(self):
        """All inputs."""
        return self.refused + self.accepted + len(self.violations)


class Worker:
    """A process of `worker.py`; a context manager.

    Args:
        program: Another module that serves.
        seconds: Limit on one input, and on the first of a format.
    """

    def __init__(self, program="tests.fuzz.worker", seconds=(SECONDS, FIRST_SECONDS)):
        self._program, self._seconds = program, seconds
        self._process, self._known = None, set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def ask(self, name, seed, index):
        """Has an input read.

        Args:
            name: Of the format.
            seed: Of the damage.
            index: Number of the input, or the name of a bomb.

        Returns:
            ("refused" | "accepted" | "violation", what happened).
        """
        if self._process is None:
            self._start()
        limit = self._seconds[name not in self._known]
        self._process.stdin.write(json.dumps([name, seed, index]).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        if not ready:
            self._stop()
            return "violation", f"no answer within {limit:g} s"
        answer = self._process.stdout.readline()
        if not answer:
            status = self._process.wait()
            self._stop()
            return "violation", f"the process ended with status {status}"
        self._known.add(name)
        return tuple(json.loads(answer))

    def _start(self):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        # Beside what is installed, the checkout that this file is in.
        path = [str(REPOSITORY), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self._known = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._program],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("FUZZ_STDERR") else None,
        )

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
        self._process = None


def run_format(worker, name, seed, indices):
    """Has inputs of one format read.

    Args:
        worker: `Worker`.
        name: Of the format.
        seed: Of the damage.
        indices: Numbers of inputs, or names of bombs.

    Returns:
        `Tally`.
    """
    tally = Tally()
    for index in indices:
        outcome, detail = worker.ask(name, seed, index)
        if outcome == "violation":
            tally.violations.append((index, detail))
        else:
            setattr(tally, outcome, getattr(tally, outcome) + 1)
    return tally
