"""SIGTERM: what a scheduler sends before it takes the machine away.

Inside a training loop the request waits for the end of the step, and the loop saves. Elsewhere the
process ends at once: files are there whole or not at all (`tfhand.files`), so what is not finished
is merely done again. Both end with `EXIT_PREEMPTED`, which tells a scheduler to start the same
command again.

A thread ends the process, not the handler: Python runs handlers between two of its own
instructions, which may be long in coming while TensorFlow waits for another machine, and drops
what they raise inside of a `__del__`. This module needs nothing but Python, so that it can be
there before TensorFlow is imported.
"""

import contextlib
import os
import signal
import sys
import threading

__all__ = [
    "EXIT_PREEMPTED",
    "begun_again",
    "deferred",
    "leave",
    "leave_on_sigterm",
    "stop",
    "take_back",
]

# EX_TEMPFAIL of sysexits.h: "try again later", which no other way to end gives.
EXIT_PREEMPTED = getattr(os, "EX_TEMPFAIL", 75)

# Of the process, as signals are: events of loops that save first, and what is done meanwhile.
_lock = threading.Lock()
_loops: list[threading.Event] = []
_under_way: list[str] = []
# What the message of the end names.
_reasons = ["SIGTERM"]


def leave_on_sigterm():
    """Makes SIGTERM end the process with `EXIT_PREEMPTED` from now on, see also `deferred`.

    For programs, which call it once, from their main thread: it is never undone.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The system's handler writes the signal's number there at once, whatever Python is doing, but
    # only for signals that Python has a handler of.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    threading.Thread(target=_watch, args=(reader,), name="sigterm", daemon=True).start()


def take_back():
    """Makes SIGTERM Python's again: TensorFlow takes it where several machines meet."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def leave(where):
    """Ends the process, saying where it goes on.

    Args:
        where: What the same command will go on from.

    Raises:
        SystemExit: Always, with `EXIT_PREEMPTED`.
    """
    print(f"Stopped by {_reasons[-1]} {where}; the same command goes on from there.", flush=True)
    sys.exit(EXIT_PREEMPTED)


@contextlib.contextmanager
def begun_again(what):
    """Context whose work is done again from its beginning if SIGTERM ends it.

    Args:
        what: The work, for the message.
    """
    _under_way.append(what)
    try:
        yield
    finally:
        _under_way.remove(what)


@contextlib.contextmanager
def deferred():
    """Context in which SIGTERM only makes what is yielded, a function, return True.

    Who uses it leaves once that is so; what comes too late to be looked at ends the process after
    the context.
    """
    asked = threading.Event()
    with _handling(asked):
        with _lock:
            _loops.append(asked)
        try:
            yield asked.is_set
        finally:
            with _lock:
                _loops.remove(asked)
    if asked.is_set():
        leave("after a training")


@contextlib.contextmanager
def _handling(asked):
    # Python takes handlers from its main thread only; elsewhere SIGTERM stays as it is.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(reader):
    while True:
        if signal.SIGTERM in os.read(reader, 64):
            stop()


def stop(reason=None):
    """Ends the process as SIGTERM does: a training loop saves first, anything else ends at once.

    Args:
        reason: What the message names instead of SIGTERM.
    """
    if reason is not None:
        _reasons.append(reason)
    with _lock:
        for asked in _loops:
            asked.set()
        if not _loops:
            _end()


def _end():
    kept = "goes on from what is finished: stages, fits, checkpoints"
    if _under_way:
        kept = f"begins {_under_way[-1]} again and keeps what was finished before"
    try:
        print(f"Stopped by {_reasons[-1]}; the same command {kept}.", flush=True)
    finally:
        os._exit(EXIT_PREEMPTED)
