"""Serves readers with every fault that is looked for, so that tests see each of them found."""

import json
import os
import signal
import time

import numpy as np

from tests.fuzz.case import Format
from tests.fuzz.worker import serve

WHOLE = b"whole"


def _crash(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def _use_memory(_):
    return len(np.ones(7 << 28, np.uint8))


def _ask_for_memory(_):
    return len(np.empty(1 << 40))


def _raise(error):
    def read(_):
        raise error

    return read


FAULTS = {
    "crash": _crash,
    "exit": lambda _: os._exit(0),
    "hang": lambda _: time.sleep(1000),
    "memory used": _use_memory,
    "memory asked": _ask_for_memory,
    "key error": _raise(KeyError("x")),
    "decoding": lambda _: b"\xff".decode(),
    "json": lambda _: json.loads("{"),
    "unnamed": _raise(ValueError("Expected something.")),
    "long": _raise(ValueError("file.bin" + "x" * 5000)),
    "warning": lambda _: np.float32(1e38) * np.float32(1e38),
    "insane": lambda _: -1,
}
NO_FAULTS = {"refusing": _raise(ValueError("Expected a whole file.bin.")), "accepting": len}


def _check(result, _):
    assert result > 0, result


def _format(fault):
    return Format(
        count=1,
        make=lambda _: WHOLE,
        read=lambda data, _: len(data) if data == WHOLE else fault(data),
        check=_check,
        named="file.bin",
        bombs={"none": lambda data: data},
    )


if __name__ == "__main__":
    serve({name: _format(fault) for name, fault in (FAULTS | NO_FAULTS).items()})
