"""SIGTERM: what a scheduler sends before it takes the machine away.

The process ends at once, wherever it is: files are there whole or not at all (`tfhand.files`), so
the same command goes on from what is finished and from the last checkpoint. `EXIT_PREEMPTED` tells
a scheduler to start it again. This module needs nothing but Python, so that it can be there before
TensorFlow is imported.
"""

import os
import signal
import threading

__all__ = ["EXIT_PREEMPTED", "exit_on_sigterm"]

# EX_TEMPFAIL of sysexits.h: "try again later", which no other way to end gives.
EXIT_PREEMPTED = getattr(os, "EX_TEMPFAIL", 75)


def exit_on_sigterm():
    """Makes SIGTERM end the process with `EXIT_PREEMPTED` from now on.

    For programs, from their main thread. A thread ends the process, not the handler: Python runs
    handlers between two of its own instructions, which may be long in coming while TensorFlow
    works.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The system's handler writes the signal's number there at once, whatever Python is doing, but
    # only for signals that Python has a handler of.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    threading.Thread(target=_exit_on, args=(reader,), name="sigterm", daemon=True).start()


def _exit_on(reader):
    while signal.SIGTERM not in os.read(reader, 64):
        pass
    try:
        print("Stopped by SIGTERM; the same command goes on from the last checkpoint.", flush=True)
    finally:
        os._exit(EXIT_PREEMPTED)
