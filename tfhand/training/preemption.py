"""SIGTERM: what a scheduler sends before it takes the machine away.

Inside a training loop the request waits for the end of the step, and the loop saves; elsewhere
nothing that is worth saving would be lost, and the process leaves at once. Both leave with
`EXIT_PREEMPTED`, which tells a scheduler to start the same command again.
"""

import contextlib
import os
import signal
import sys
import threading

__all__ = ["EXIT_PREEMPTED", "deferred", "leave", "leave_on_sigterm"]

# EX_TEMPFAIL of sysexits.h: "try again later", which no other way to end gives.
EXIT_PREEMPTED = getattr(os, "EX_TEMPFAIL", 75)


def leave(where):
    """Ends the process, saying where it goes on.

    Args:
        where: What the same command will go on from.

    Raises:
        SystemExit: Always, with `EXIT_PREEMPTED`.
    """
    print(f"Stopped by SIGTERM {where}; the same command goes on from there.", flush=True)
    sys.exit(EXIT_PREEMPTED)


@contextlib.contextmanager
def leave_on_sigterm():
    """Context in which SIGTERM ends the process with `EXIT_PREEMPTED`."""
    with _handling(lambda number, frame: leave("between two steps")):
        yield


@contextlib.contextmanager
def deferred():
    """Context in which SIGTERM only makes what is yielded, a function, return True."""
    asked = threading.Event()
    with _handling(lambda number, frame: asked.set()):
        yield asked.is_set


@contextlib.contextmanager
def _handling(handler):
    # Python takes handlers from its main thread only; elsewhere SIGTERM stays as it is.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
