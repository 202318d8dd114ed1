"""Results of the experiments: one JSON file for each row and seed, ROW/seed-N.json."""

import numpy as np
from absl import flags as absl_flags

from experiments import flags
from experiments.rows import ROWS
from tfhand import files
from tfhand.evaluation.metrics import Scores

__all__ = ["changes", "mean_and_spread", "mean_difference", "minutes", "read_results", "scores_of"]

# Scores of the network that a run ends with, the last stage first.
_METHODS = ("with_labels", "self_supervised", "synthetic_only")


def read_results(folder):
    """Reads the scored results that were made with the flags that the rows have now.

    Args:
        folder: `pathlib.Path` of the results.

    Returns:
        Dict from a row to its results by seed; rows without any are left out.
    """
    by_row = {}
    for name in ROWS:
        results = map(files.read_json, folder.glob(f"{name}/seed-*.json"))
        by_row[name] = sorted(filter(_is_current, results), key=lambda result: result["seed"])
    return {name: of_seeds for name, of_seeds in by_row.items() if of_seeds}


def scores_of(result, suffix=""):
    """Returns the `Scores` of the network that a run ended with, None if they were not measured.

    Args:
        result: A result.
        suffix: `"_fitted"` for the hands that were fitted to the first view.
    """
    metrics = result["metrics"]
    scores = next((metrics.get(name + suffix) for name in _METHODS if name in metrics), None)
    return scores and Scores.from_dict(scores)


def mean_and_spread(results):
    """Returns mean and standard deviation of a row's mean joint error over its seeds, as text."""
    errors_mm = [scores_of(result).mean_joint_error_mm for result in results]
    return f"{np.mean(errors_mm):.2f} ± {np.std(errors_mm, ddof=1):.2f} ({len(results)} seeds)"


def mean_difference(pairs):
    """Returns how much larger the mean joint error of the first of a pair is, as text.

    Args:
        pairs: Two results of one seed each, for every seed.
    """
    errors_mm = np.array([[scores_of(result).mean_joint_error_mm for result in p] for p in pairs])
    differences = errors_mm[:, 0] - errors_mm[:, 1]
    spread = f" ± {np.std(differences, ddof=1):.2f} ({len(pairs)} seeds)" if len(pairs) > 1 else ""
    return f"{np.mean(differences):+.2f}{spread}"


def changes(result, other):
    """Returns the flags in which a result differs from another one, as arguments by name.

    `--test_fit` is left out: it only scores more.
    """
    changed = flags.changed_flags(result["flags"], other["flags"])
    changed.pop("test_fit", None)
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in changed.items()
    ]


def minutes(result):
    """Returns how long the stages of a run took, as text."""
    return f"{sum(result['minutes'].values()):.0f}"


def _is_current(result):
    """Returns whether a result has scores, and the flags that its flag files have now."""
    try:
        flags_now = flags.result_flags(result["flag_files"])
    except absl_flags.Error:
        # Its flag file is gone, or another flag is.
        return False
    return scores_of(result) and not flags.changed_flags(flags_now, result["flags"])
