"""Start of every command, and its end on bad input.

A command is a module with `define_flags(flag_values)` and `main(options)`, and

    if __name__ == "__main__":
        commands.run(main, define_flags)

Flags are defined when the command runs, not when its module is imported: importing a command has
no side effect, and two commands may use one flag name in the same process.
"""

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import flags, logging

__all__ = ["parse", "run", "sigterm_as_interrupt"]

_EXIT_BAD_INPUT = 1
_EXIT_INTERRUPTED = 130
# Of a message; a damaged file may be quoted in it.
_LONGEST = 1000
# A user can set these right: a wrong flag, file, folder or shape, a full disk.
_BAD_INPUT = (flags.Error, ValueError, OSError)


def parse(
    define_flags: Callable[[flags.FlagValues], None], argv: Sequence[str]
) -> flags.FlagValues:
    """Returns the options of a command line.

    Args:
        define_flags: Defines the command's flags on the `FlagValues` that it gets.
        argv: The command line, program name first; `--flagfile=` is read as absl reads it.

    Raises:
        absl.flags.Error: If a flag is unknown, has a bad value, or a required one is missing.
        ValueError: If there are arguments that are no flags, a flagfile that is no text, or a
            number that is not finite.
    """
    options = flags.FlagValues()
    for flag in flags.FLAGS.get_flags_for_module(logging):
        options[flag.name] = flag
    flags.DEFINE_boolean("help", False, "Show the flags of this command.", flag_values=options)
    define_flags(options)
    try:
        arguments = options(list(argv))[1:]
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in --flagfile, found other bytes: {error}.") from error
    if arguments:
        raise ValueError(f"Expected flags only (--name=value), found {' '.join(arguments)!r}.")
    for name in options:
        value = options[name].value
        # absl takes NaN for a number within any bounds.
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"Expected a finite number for --{name}, found {value}.")
    return options


def run(
    main: Callable[[flags.FlagValues], int | None],
    define_flags: Callable[[flags.FlagValues], None],
    argv: Sequence[str] | None = None,
) -> None:
    """Runs a command and exits the process with its status.

    Bad input (unknown flags, missing files, wrong shapes) ends in one line on standard error and
    status 1; `--verbosity=1` shows the traceback as well. Other exceptions pass through.

    Args:
        main: Does the work; returns the exit status, None for success.
        define_flags: Defines the command's flags on the `FlagValues` that it gets.
        argv: The command line, program name first; None: that of the process.

    Raises:
        SystemExit: Always, unless `main` raises something unexpected.
    """
    argv = sys.argv if argv is None else argv
    # `python -m package` runs its `__main__.py`.
    program = os.path.basename(argv[0].removesuffix("/__main__.py")).removesuffix(".py")
    logging.use_absl_handler()
    try:
        # Required flags are missing beside --help, so it is looked for before parsing.
        if {"--help", "-help", "-h"} & set(argv[1:]):
            print(_help(main, define_flags))
            sys.exit(0)
        options = parse(define_flags, argv)
        flags.FLAGS.mark_as_parsed()
        sys.exit(main(options) or 0)
    except _BAD_INPUT as error:
        logging.debug("Stopped by:", exc_info=True)
        print(f"{program}: {_one_line(error)}", file=sys.stderr)
        sys.exit(_EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Context in which SIGTERM ends a command as Ctrl-C does, with KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _help(main, define_flags):
    """Returns the module's docstring and its flags, without those of absl."""
    options = flags.FlagValues()
    define_flags(options)
    return f"{(sys.modules[main.__module__].__doc__ or '').strip()}\n\nflags:\n{options.get_help()}"


def _one_line(error):
    # OSError's own text starts with the error number, which helps nobody.
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
