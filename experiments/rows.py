"""Rows of docs/experiments/rows.md, one flag file each, with the numbers of the paper."""

import dataclasses

__all__ = ["FIGURES", "ROWS", "Row"]


@dataclasses.dataclass(frozen=True)
class Row:
    """An experiment; its flags are in `configs/experiments/`.

    Attributes:
        label: The paper's name of it, or ours where the paper has none.
        compared_with: The row that it differs from by what it is about, or None.
        paper_mm: Mean error in the paper on NYU, mm, or None.
    """

    label: str
    compared_with: str | None = None
    paper_mm: float | None = None


ROWS = {
    "synth_on_synth": Row("synth (test on synth)", "synth", 6.76),
    "synth": Row("synth", "synth_noise", 27.85),
    "synth_noise": Row("synth (aug. with noise)", None, 22.65),
    "synthetic_alone": Row("as many steps of synthetic samples alone", "multi_view_100"),
    "multi_view_100": Row("ours (100% multiple view)", "synth_noise", 12.62),
    "single_view_100": Row("100% single view", "multi_view_100", 17.79),
    "multi_view_50": Row("50% multi-view", "multi_view_100", 13.77),
    "multi_view_50_single_view_50": Row("50% multi-view + 50% single view", "multi_view_50", 13.33),
    "without_vae": Row("without vae loss", "multi_view_100", 14.17),
    "without_bone_length": Row("without bone length loss", "multi_view_100", 14.56),
    "without_collision": Row("without collision loss", "multi_view_100", 13.73),
    "without_priors": Row("without vae, bone length and collision loss", "multi_view_100"),
    "without_synthetic": Row("without synthetic samples", "multi_view_100"),
    "without_synthetic_and_priors": Row(
        "without synthetic samples and the three priors", "without_synthetic"
    ),
    "train_on_test": Row("train on test", "multi_view_100", 14.53),
    "train_on_test_and_train": Row("train on test + train", "multi_view_100", 12.31),
    "two_stacks": Row("two stacks (Table 2)", "multi_view_100", 12.3),
    "best_single_view": Row("fits, 100% single view", "best"),
    "best": Row("fits, 100% multi-view", "synth_noise"),
    "with_labels": Row("with labels", "best"),
    "best_without_targets": Row("fits as viewpoints and poses of synthetic samples alone", "best"),
    "best_without_terms": Row("fits without the gradient of the depth terms", "best"),
}

# The curves of the paper's figures, ours beside them.
FIGURES = {
    "figure5": (
        "Figure 5: impact of training data",
        (
            "synth_on_synth", "synth", "synth_noise", "train_on_test", "multi_view_100",
            "train_on_test_and_train",
        ),
    ),
    "figure6": (
        "Figure 6: impact of multi-view supervision",
        (
            "synth_noise", "single_view_100", "multi_view_50", "multi_view_50_single_view_50",
            "multi_view_100",
        ),
    ),
    "figure7": (
        "Figure 7: impact of prior terms",
        (
            "synth_noise", "without_vae", "without_bone_length", "without_collision",
            "without_priors", "multi_view_100",
        ),
    ),
    "recipes": (
        "Recipes",
        ("synth_noise", "multi_view_100", "best_single_view", "best", "with_labels"),
    ),
}  # fmt: skip
