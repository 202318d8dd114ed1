"""Command lines with two parts: `--name=value` of the command, then `--`, then options of Beam.

Beam is imported when a command starts, not when its module is: it is optional.
"""

import contextlib
import functools
import io
import sys
from collections.abc import Callable, Sequence

from absl import flags

from data_prep.records import storage
from tfhand import commands

__all__ = ["check", "run"]

# Their job servers know options that Beam's Python does not.
_RUNNERS_WITH_OPTIONS = ("portable", "flink", "spark")


def run(
    main: Callable[[flags.FlagValues, list[str]], int | None],
    define_flags: Callable[[flags.FlagValues], None],
    argv: Sequence[str] | None = None,
) -> None:
    """Runs a command as `commands.run`; its `main` takes Beam's options as second argument."""
    argv = list(sys.argv if argv is None else argv)
    end = argv.index("--") if "--" in argv else len(argv)

    @functools.wraps(main)
    def with_beam(options):
        check(argv[end + 1 :])
        with storage.os_errors():
            return main(options, argv[end + 1 :])

    commands.run(with_beam, define_flags, argv[:end])


def check(arguments: Sequence[str]) -> None:
    """Checks options of Beam, so that bad ones stop a command before it has done anything.

    Raises:
        ValueError: If Beam or its runner would refuse or not know one of them, or there is no Beam.
    """
    try:
        import apache_beam as beam
        from apache_beam.options import pipeline_options
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise ValueError(
            "Expected the package apache-beam, found none: install the extra 'beam', "
            "for example pip install '.[beam]'."
        ) from error
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            options = pipeline_options.PipelineOptions(list(arguments))
            beam_options = options.get_all_options()
            all_options = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        problem = stderr.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ValueError(f"Expected options of Beam after --, found {problem}.") from None
    unknown = [f"--{name}" for name in all_options if name not in beam_options]
    runner = (beam_options["runner"] or "").lower().removesuffix("runner")
    if unknown and runner not in _RUNNERS_WITH_OPTIONS:
        raise ValueError(f"Expected options of Beam after --, found {' '.join(unknown)}.")
    try:
        beam.Pipeline(options=options)
    except ImportError as error:
        raise ValueError(str(error)) from error
