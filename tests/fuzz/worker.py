"""Reads damaged inputs in a process of its own, with a limit on memory.

Lines of JSON on standard input name an input, [format, seed, index]; each is answered by one line,
[outcome, detail]. A reader that ends the process or never comes back is the parent's to notice.
"""

import json
import os
import resource
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np

from tests.fuzz.case import find_problem_of_error

__all__ = ["serve"]

# What a reader may use, and what it may ask for, beyond what the process has after reading an
# undamaged input.
USED_BYTES, ASKED_BYTES = 3 << 29, 6 << 30


def _memory_bytes(name):
    """Returns a line of the system's status of this process: VmSize, VmRSS or its peak VmHWM."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{name}:", 1)[1].split(maxsplit=1)[0])


def _limit_memory(num_bytes=None):
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = hard if num_bytes is None else _memory_bytes("VmSize") + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _is_about_memory(error):
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            return True
        error = error.__cause__ or error.__context__
    return False


def _judge(case, data, folder, reference):
    """Reads an input; returns ("refused" | "accepted" | "violation", what happened)."""
    # The peak counts from here.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_bytes("VmRSS")
    outcome = _read(case, data, folder, reference)
    used = _memory_bytes("VmHWM") - before
    if used > USED_BYTES:
        return "violation", f"{used / 1e6:.0f} MB of memory used"
    return outcome


def _read(case, data, folder, reference):
    try:
        result = case.read(data, folder)
    except Exception as error:
        if _is_about_memory(error):
            return "violation", f"too much memory asked: {type(error).__name__}: {error}"
        problem = find_problem_of_error(case, error)
        if problem:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return "violation", f"{problem} ({Path(last.filename).name}:{last.lineno})"
        return "refused", str(error)
    try:
        case.check(result, reference)
    except Exception as error:
        return "violation", f"accepted, but {type(error).__name__}: {error}"
    return "accepted", ""


def serve(formats):
    """Answers until standard input ends.

    Args:
        formats: `Format` by name.
    """
    # Readers may print: standard output is theirs, the answers have a channel of their own.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("error", RuntimeWarning)
    original = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        for line in sys.stdin:
            name, seed, index = json.loads(line)
            case = formats[name]
            folder = Path(temporary) / name
            if name not in original:
                folder.mkdir()
                data = case.make(folder)
                _limit_memory()
                original[name] = data, case.read(data, folder)
                case.check(case.read(data, folder), original[name][1])
                _limit_memory(ASKED_BYTES)
            data, reference = original[name]
            if isinstance(index, str):
                damaged = case.bombs[index](data)
            else:
                rng = np.random.default_rng([seed, index, *name.encode()])
                damaged = case.mutate(data, rng)
            outcome = _judge(case, damaged, folder, reference)
            print(json.dumps(outcome), file=replies, flush=True)


if __name__ == "__main__":
    from tests.fuzz.formats import FORMATS

    serve(FORMATS)
