"""The loss of another machine of a training: told from defects, and how a process leaves then."""

import contextlib
import os
import sys
import threading

import tensorflow as tf

from tfhand.runs import preemption

__all__ = ["leave_when_one_is_lost", "says_lost", "stop"]

# What a collective operation ends with when a process it waits for is gone or silent.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
# An internal error may be any defect; these words of TensorFlow 2.21 are said of other processes:
# by its collective executor, by gRPC, by the coordination service.
_OF_WORKERS = (
    "collective ops is aborted",
    "from remote target",
    "coordination service",
    "coordinationservice",
    "heartbeat timeout",
)
# Where a group of devices was joined by more or fewer than the others have.
_OTHER_DEVICES = ("but that group has size", "but that group doesn't contain that device")
# Of the process: set where a thread was told that another is lost.
_lost = threading.Event()


@contextlib.contextmanager
def leave_when_one_is_lost():
    """Context in which the loss of another process ends this one with `EXIT_PREEMPTED`.

    At once, without the usual end of a process, which would wait for those that are lost. For
    trainings of several processes only: alone, the same errors mean something else.

    Raises:
        ValueError: If the processes have different numbers of devices.
    """
    try:
        yield
    except (*_LOST, tf.errors.InternalError) as error:
        if any(words in error.message for words in _OTHER_DEVICES):
            raise ValueError(
                f"Expected as many devices on every machine, TensorFlow says: {_cause(error)}"
            ) from error
        if not says_lost(error):
            raise
        _say_lost(error)
        _leave_at_once()
    except SystemExit:
        # A loop that saved first.
        if _lost.is_set():
            _leave_at_once()
        raise


def _leave_at_once():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(preemption.EXIT_PREEMPTED)


def _say_lost(error):
    too_long = isinstance(error, tf.errors.DeadlineExceededError)
    what = "waited longer than --worker_timeout for" if too_long else "lost"
    print(
        f"train: {what} another worker; the same command on all machines goes on from the last "
        f"checkpoint. TensorFlow says: {_cause(error)}",
        file=sys.stderr,
        flush=True,
    )


def says_lost(error):
    """Whether an error says that another process is gone or silent."""
    if not isinstance(error, tf.errors.OpError):
        return False
    said = error.message.lower()
    return isinstance(error, _LOST) or any(words in said for words in _OF_WORKERS)


def _cause(error):
    """Returns the first line of a message that says what happened, not where it was defined."""
    where = ("Graph execution error", "Detected at", "File", "<stack traces", " ")
    lines = [line for line in error.message.splitlines() if line and not line.startswith(where)]
    return (lines or [type(error).__name__])[0][:200]


def stop(error):
    """Stops this process as SIGTERM does, from a thread that met the loss of another.

    Args:
        error: What the thread met, for which `says_lost` holds.
    """
    _say_lost(error)
    _lost.set()
    preemption.stop("the loss of another worker")
