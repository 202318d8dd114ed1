"""Timing, memory, tables and JSON results that the benchmarks share.

Versions of one thing are timed in interleaved rounds, so that other load on the machine meets all
of them alike. A table shows the median, the fastest round, which other load disturbs least, and
the CPU time of all threads.
"""

import concurrent.futures
import ctypes
import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from absl import flags

__all__ = ["Case", "Report", "compare", "define_flags", "set_threads"]

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")

# Tests' generators and data_prep are imported from the checkout.
if str(_ROOT) not in sys.path:
    sys.path.insert(0, str(_ROOT))


@dataclasses.dataclass(frozen=True)
class Case:
    """Times of one version.

    Attributes:
        name: Its name.
        seconds: Median of the rounds.
        fastest_seconds: Fastest round.
        cpu_seconds: Mean CPU time of a round, all threads.
        peak_extra_mb: Peak of the resident memory during calls above the level before the first,
            after compilation; None if the system does not say, Linux only.
    """

    name: str
    seconds: float
    fastest_seconds: float
    cpu_seconds: float
    peak_extra_mb: float | None

    def memory_text(self):
        """Returns the memory as a table shows it."""
        return "-" if self.peak_extra_mb is None else f"{self.peak_extra_mb:.0f}"


def define_flags(flag_values, rounds):
    """Defines the flags of every benchmark: `--output` and `--rounds`."""
    flags.DEFINE_string("output", None, "JSON file for the results.", flag_values=flag_values)
    flags.DEFINE_integer("rounds", rounds, "Timed rounds.", 1, flag_values=flag_values)


def compare(build, *arguments, rounds, calls=1, warmups=2, memory=True):
    """Times functions in interleaved rounds.

    Args:
        build: Function, of a module that can be imported, that returns a dict from name to a
            function without arguments, which waits for its result.
        *arguments: Its arguments.
        rounds: Timed rounds.
        calls: Calls of each function a round; times are those of one call.
        warmups: Calls of each before, for tracing and compiling.
        memory: Whether to measure the memory as well, each version in a process of its own.

    Returns:
        List of `Case` in the order of the functions.
    """
    functions = build(*arguments)
    times, cpu = ({name: [] for name in functions} for _ in range(2))
    for function in functions.values():
        for _ in range(warmups):
            function()
    for _ in range(rounds):
        for name, function in functions.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls)
            cpu[name].append((time.process_time() - start_cpu) / calls)
    return [
        Case(
            name,
            statistics.median(times[name]),
            min(times[name]),
            statistics.fmean(cpu[name]),
            _peak_extra_mb(build, arguments, name) if memory else None,
        )
        for name in functions
    ]


def _peak_extra_mb(build, arguments, name):
    """Measures `Case.peak_extra_mb` in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_measure_memory, build, arguments, name).result()
        except concurrent.futures.process.BrokenProcessPool:
            return None


def _measure_memory(build, arguments, name):
    function = build(*arguments)[name]
    try:
        trim = ctypes.CDLL(None).malloc_trim
        # Gives freed memory back: what building the function left counts for nothing.
        trim(0)
        before = _status_mb("VmRSS")
        function()
        trim(0)
        # Sets the peak to the present level.
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        for _ in range(3):
            function()
        return _status_mb("VmHWM") - before
    except (OSError, AttributeError):
        return None


def _status_mb(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def set_threads(intra, inter=None):
    """Sets TensorFlow's threads before its first operation; later only to the same number again."""
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != intra:
        threading.set_intra_op_parallelism_threads(intra)
        if inter is not None:
            threading.set_inter_op_parallelism_threads(inter)


class Report:
    """Tables and targets of one benchmark, printed as they come and written as JSON.

    Args:
        script: `__file__` of the benchmark.
        title: What it measures, in a few words.
    """

    def __init__(self, script, title):
        # Where files lie on this machine says nothing.
        arguments = [
            "=".join(part.rsplit("/", 1)[-1] for part in argument.split("=", 1))
            for argument in sys.argv[1:]
            if not argument.startswith("--output")
        ]
        # The load before the benchmark adds its own.
        self._results = {
            "benchmark": pathlib.Path(script).stem,
            "title": title,
            "command": " ".join(["python", f"benchmarks/{pathlib.Path(script).name}", *arguments]),
            "environment": {**environment(), "load": round(os.getloadavg()[0], 1)},
            "tables": [],
            "targets": [],
        }
        print(f"{title} (load {self._results['environment']['load']})", flush=True)

    def table(self, title, columns, rows):
        """Adds a table: a title, names of columns, and rows of as many strings or numbers."""
        rows = [[_text(value) for value in row] for row in rows]
        self._results["tables"].append({"title": title, "columns": columns, "rows": rows})
        widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
        print(f"\n{title}")
        for line in [columns, *rows]:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
            print("  ".join(cells), flush=True)

    def cases(self, title, cases, *, relative_to=None):
        """Adds a table of `Case`s; `relative_to` names the one whose ratio is 1."""
        columns = ["version", "ms", "fastest ms", "CPU ms", "peak extra MB"]
        rows = [
            [
                case.name,
                1e3 * case.seconds,
                1e3 * case.fastest_seconds,
                1e3 * case.cpu_seconds,
                case.memory_text(),
            ]
            for case in cases
        ]
        if relative_to is not None:
            columns.append("ratio")
            base = next(case.seconds for case in cases if case.name == relative_to)
            for row, case in zip(rows, cases):
                row.append(f"{case.seconds / base:.2f}")
        self.table(title, columns, rows)

    def target(self, text, value, *, most=None, least=None):
        """Adds a number to reach: at most or at least so much."""
        reached = value <= most if most is not None else value >= least
        bound = f"at most {most}" if most is not None else f"at least {least}"
        row = {"text": text, "bound": bound, "value": _text(value), "reached": bool(reached)}
        self._results["targets"].append(row)
        print(
            f"{text}: {row['value']}, expected {bound}: {'reached' if reached else 'NOT reached'}"
        )

    def write(self, path):
        """Writes everything as JSON; nothing without a path."""
        if path:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_text(json.dumps(self._results, indent=2) + "\n")


def _text(value):
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def environment():
    """Says what machine, which versions and which commit."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def _cpu_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit():
    """Returns the commit of the checkout, with a plus sign if files differ from it."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--short", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "+" if changes else commit
