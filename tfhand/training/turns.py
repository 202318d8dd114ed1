"""Who works by itself while other machines wait, and how all of them learn of bad input."""

import contextlib
import threading
import traceback

from tfhand.training import lost_workers, workers

__all__ = ["one_by_one", "side_by_side"]

# How often a process that works while others wait says so; any --worker_timeout is far longer.
_SECONDS_BETWEEN_SIGNS = 2.0
_WORKING, _DONE = "working", "done"
# What a user can set right, and what the other workers therefore have to hear of.
_BAD_INPUT = (ValueError, OSError)


@contextlib.contextmanager
def one_by_one(strategy):
    """Context that the chief goes through first, and then, when it has left, the others.

    What the chief makes in it is there for the others to read. No process leaves before all have
    been through, and bad input that one of them meets ends all of them. There may be nothing in it
    that the processes do together.

    Raises:
        ValueError: If another process met bad input.
    """
    if not workers.is_chief(strategy):
        with _signs_of_life(strategy, is_at_work=False):
            pass
        _report(strategy)
    met = []
    with _turn(strategy, met):
        yield
    # Each takes part in both rounds, unless the first has ended all of them.
    if workers.is_chief(strategy):
        _report(strategy, *met)
        with _signs_of_life(strategy, is_at_work=False):
            pass
    _report(strategy, *met)


@contextlib.contextmanager
def side_by_side(strategy):
    """Context that all go through at once; as `one_by_one` for all else.

    Raises:
        ValueError: If another process met bad input.
    """
    met = []
    with _turn(strategy, met):
        yield
    _report(strategy, *met)


@contextlib.contextmanager
def _turn(strategy, met):
    """Context of this process's own work; bad input goes into the list `met`."""
    with _signs_of_life(strategy):
        try:
            yield
        except _BAD_INPUT as error:
            met.append(error)


@contextlib.contextmanager
def _signs_of_life(strategy, is_at_work=True):
    """Context that nobody leaves before all are at its end, however long they work in it.

    A thread of each that works tells the others every few seconds that it is there: a wait that
    lasts longer than the strategy's timeout would end them, whatever they wait for. If another
    process is lost meanwhile, this one stops as at SIGTERM.

    Args:
        strategy: `tf.distribute.Strategy`.
        is_at_work: Whether this process does anything in the context.
    """
    if workers.num_workers(strategy) == 1:
        yield
        return
    done, defects = threading.Event(), []

    def tell():
        try:
            while True:
                done.wait(_SECONDS_BETWEEN_SIGNS)
                if _WORKING not in workers.gather(strategy, _DONE if done.is_set() else _WORKING):
                    return
        except Exception as error:  # A thread's own error would be printed, and nothing else.
            if not lost_workers.says_lost(error):
                traceback.print_exc()
                defects.append(error)
                return
            lost_workers.stop(error)

    if not is_at_work:
        done.set()
        while _WORKING in workers.gather(strategy, _DONE):
            pass
        yield
        return
    thread = threading.Thread(target=tell, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        # Now: whether the others come to the end of their work is not certain.
        traceback.print_exc()
        raise
    finally:
        done.set()
        thread.join()
    if defects:
        raise defects[0]


def _report(strategy, problem=None):
    """Tells the other processes of bad input; raises what any of them tells."""
    told = workers.gather(
        strategy, "" if problem is None else str(problem) or type(problem).__name__
    )
    if problem is not None:
        raise problem
    for index, text in enumerate(told):
        if text:
            raise ValueError(f"Worker {index} stopped: {text}")
