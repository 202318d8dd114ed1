"""Results of `experiments.py` as they are kept, and those of a row that may be averaged."""

import experiment_flags
import numpy as np
from absl import flags
from experiment_rows import ROWS

from tfhand import files
from tfhand.evaluation.metrics import Scores

__all__ = [
    "NoScoresError",
    "changes_of",
    "is_of_today",
    "mean_and_spread",
    "mean_difference",
    "minutes",
    "read",
    "scores_of",
]

_METHODS = ("with_labels", "self_supervised", "synthetic_only")


class NoScoresError(ValueError):
    """There is no result, or none of records that have labels."""


def read(results):
    """Returns the scored runs of every row that has any, those of equal flags.

    They have the flags that the row's files have now. Where none does, the runs are those with the
    flags of the first.

    Args:
        results: `pathlib.Path` of the folder with the results, `ROW/seed-N.json`.

    Returns:
        Dict from row to its results, by seed.

    Raises:
        NoScoresError: If there is no result with a score.
    """
    found = {name: _with_equal_flags(_read_seeds(results / name)) for name in ROWS}
    # Records without labels give no score.
    found = {name: [run for run in runs if _method(run)] for name, runs in found.items()}
    found = {name: runs for name, runs in found.items() if runs}
    if not found:
        raise NoScoresError(f"Expected results of labeled records in {results}, found none.")
    return found


def is_of_today(run):
    """Whether the flags of a run are those that its flag files have now."""
    try:
        flags_now = experiment_flags.flags_of(run["flag_files"])
    except flags.Error:
        # One of its files is there no more.
        return False
    return experiment_flags.are_equal(run["flags"], flags_now)


def scores_of(run, suffix=""):
    """Returns `Scores` of the network that a run ended with, None if they were not measured.

    Args:
        run: A result.
        suffix: `"_fitted"` for those of hands fitted to the first view.
    """
    scores = run["metrics"].get(f"{_method(run)}{suffix}")
    return scores and Scores.from_dict(scores)


def mean_and_spread(runs):
    """Returns mean and standard deviation of a row's mean joint error over its seeds, as text."""
    errors_mm = [scores_of(run).mean_joint_error_mm for run in runs]
    return f"{np.mean(errors_mm):.2f} ± {np.std(errors_mm, ddof=1):.2f} ({len(runs)} seeds)"


def mean_difference(pairs):
    """Returns how much larger the mean joint error of the first of a pair is, as text.

    Args:
        pairs: Two results of one seed each, for every seed.
    """
    errors_mm = [[scores_of(run).mean_joint_error_mm for run in pair] for pair in pairs]
    larger = [first - second for first, second in errors_mm]
    spread = f" ± {np.std(larger, ddof=1):.2f} ({len(larger)} seeds)" if len(larger) > 1 else ""
    return f"{np.mean(larger):+.2f}{spread}"


def changes_of(run, other):
    """Returns the flags in which a run differs from another one, with its values.

    Those that only score more, or that change no result, are left out.
    """
    return {
        k: str(v).lower() if isinstance(v, bool) else v
        for k, v in experiment_flags.changed_flags(run["flags"], other["flags"]).items()
        if k != "test_fit"
    }


def minutes(run):
    """Returns how long the stages of a run took, as text."""
    return f"{sum(run['minutes'].values()):.0f}"


def _read_seeds(folder):
    paths = sorted(folder.glob("seed-*.json"), key=lambda path: int(path.stem.split("-")[1]))
    return [files.read_json(path) for path in paths]


def _with_equal_flags(runs):
    compared = [run for run in runs if is_of_today(run)] or runs
    return [
        run for run in compared if experiment_flags.are_equal(run["flags"], compared[0]["flags"])
    ]


def _method(run):
    """Returns the name of the scores of the network that a run ended with, None without any."""
    return next((name for name in _METHODS if name in run["metrics"]), None)
