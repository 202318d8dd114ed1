"""Scores hand poses, as the field reports them on NYU.

A model on records:

    python -m tfhand.evaluate --model=W/pose.keras --data_dir=OUT --split=test

Published predictions in the community's text form (u v d of 14 joints, one frame a line):

    python -m tfhand.evaluate --labels=LABELS.txt --predictions=A.txt,B.txt

With both, all are in the same tables and curves. Of a model, NAME is one camera that finds the hand
by itself, NAME_common_center the same at the center that all cameras find, NAME_all_views every
camera there; every joint of a frame in which the hand was missed counts with 100 mm. Tables are
printed; --output=FILE.json writes the scores, --report_dir=DIR tables, figures and pictures,
--predictions_output=FILE.txt the model's estimates in that text form.
"""

import functools
import os

from absl import flags

from tfhand import commands
from tfhand.evaluation import published, report

__all__ = ["define_flags", "main"]

_FREE_SHAPE = {"subject": "all", "sample": "all", "mean": "none"}


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    text = "A pose.keras file; shipped: the network of the package."
    flags.DEFINE_string("model", None, text, **define)
    flags.DEFINE_string("data_dir", None, "Folder of shards to score on.", **define)
    flags.DEFINE_string("split", "test", "Split of --data_dir.", **define)
    flags.DEFINE_string("name", None, "The model's name; its file's.", **define)
    flags.DEFINE_integer("view", 0, "The camera to score, from 0.", lower_bound=0, **define)
    flags.DEFINE_integer("batch_size", 32, "Samples a step.", lower_bound=1, **define)
    text = "Replace estimates by a hand fitted to the depth of --view, or of all views of a sample."
    flags.DEFINE_enum("fit", "none", ("none", "view", "views"), text, **define)
    text = (
        "Shape of those hands: one for all samples of a subject; for each sample its own, as where "
        "a recording shows a person in one frame; or that of the mean hand."
    )
    flags.DEFINE_enum("fit_shape", "subject", ("subject", "sample", "mean"), text, **define)
    flags.DEFINE_string("labels", None, "Text file of labels.", **define)
    flags.DEFINE_list("predictions", [], "Text files of predictions.", **define)
    flags.DEFINE_string("output", None, "JSON file for the scores.", **define)
    flags.DEFINE_string("predictions_output", None, "Text file for the model's joints.", **define)
    flags.DEFINE_string("report_dir", None, "Folder for the report.", **define)


def main(flag_values: flags.FlagValues) -> None:
    """Scores what the options name and prints the tables."""
    with_model = _all_or_none(flag_values, "model", "data_dir")
    with_files = _all_or_none(flag_values, "labels", "predictions")
    if not with_model and not with_files:
        raise ValueError("Expected --model and --data_dir, or --labels and --predictions, or both.")
    if flag_values["fit_shape"].present and flag_values.fit == "none":
        raise ValueError("Expected --fit=view or --fit=views beside --fit_shape.")
    if flag_values.predictions_output and not with_model:
        raise ValueError("Expected --model and --data_dir beside --predictions_output.")
    scores = _score_model(flag_values) if with_model else {}
    if with_files:
        for name, score in published.score_files(
            flag_values.labels, flag_values.predictions
        ).items():
            if name in scores:
                raise ValueError(f"Expected different names, found {name!r} twice: see --name.")
            scores[name] = score
    print(report.markdown_table(scores), report.per_joint_table(scores), sep="\n", end="")
    if flag_values.output:
        report.write_metrics(flag_values.output, scores)
    if flag_values.report_dir:
        report.write_report(flag_values.report_dir, scores)


def _all_or_none(flag_values, *names):
    """Tells whether all of the flags are there; some of them alone are refused."""
    missing = [f"--{name}" for name in names if not flag_values[name].value]
    if missing and len(missing) < len(names):
        expected = " and ".join(f"--{name}" for name in names)
        raise ValueError(f"Expected {expected}, found no {missing[0]}.")
    return not missing


def _score_model(flag_values):
    """Returns the scores of one view and of all views; draws pictures for a report."""
    if flag_values.model != "shipped" and not os.path.isfile(flag_values.model):
        raise FileNotFoundError(f"Expected a model, found no file {flag_values.model}.")
    # Text files are scored without TensorFlow, which takes seconds to import.
    from data_prep import records
    from tfhand import inference
    from tfhand.evaluation import predictions, qualitative
    from tfhand.fitting import turned_crops

    info = records.read_info(flag_values.data_dir)
    cube_mm = info.spec.cube_mm
    dataset = records.load_dataset(flag_values.data_dir, flag_values.split)
    model = inference.load_network(flag_values.model, cube_mm)
    alone = records.at_own_centers(dataset)
    if flag_values.fit == "view":
        dataset = alone
    predict = functools.partial(
        predictions.predict_dataset,
        model if flag_values.fit == "none" else turned_crops.TurnedNetwork(model, cube_mm),
        cube_mm=cube_mm,
        batch_size=flag_values.batch_size,
        description=flag_values.split,
    )
    predicted = predict(dataset)
    if flag_values.fit != "none":
        predicted = _fit(flag_values, predicted, dataset, info.spec)
    num_missed = _count_missed(info.splits[flag_values.split])
    if flag_values.predictions_output:
        rows = predicted.center_mm[:, flag_values.view, 2] > 0.0
        uvd, frames = predicted.joints_uvd(flag_values.view)[rows], predicted.frames[rows]
        without = published.write_joints_uvd(flag_values.predictions_output, uvd, frames)
        print(
            f"{flag_values.predictions_output}: {without} frames have the estimate of another one."
        )
    name = flag_values.name or os.path.basename(flag_values.model).removesuffix(".keras")
    view = [flag_values.view]
    scores = {name: predicted.score(view, num_missed)}
    if flag_values.fit == "none":
        scores = {f"{name}_common_center": scores[name]}
        scores = {name: predict(alone).score(view, num_missed), **scores}
    if flag_values.fit != "view":
        scores[f"{name}_all_views"] = predicted.score(num_missed=num_missed)
    if flag_values.report_dir:
        qualitative.draw_best_and_worst(
            predicted,
            dataset,
            flag_values.report_dir,
            cube_mm=cube_mm,
            source_view=flag_values.view,
        )
    return scores


def _fit(flag_values, predicted, dataset, spec):
    """Returns the predictions with fitted hands."""
    from tfhand.evaluation import fitted
    from tfhand.fitting import kinematic_fit

    return fitted.fit_predictions(
        predicted,
        dataset,
        spec,
        view=flag_values.view if flag_values.fit == "view" else None,
        share_shape=flag_values.fit_shape != "sample",
        config=kinematic_fit.FitConfig(free_shape=_FREE_SHAPE[flag_values.fit_shape]),
    )


def _count_missed(split):
    """Prints what was left out of a split of records, and counts the hands missed among it."""
    if split.skipped:
        reasons = ", ".join(f"{skips.count} {reason}" for reason, skips in split.skipped.items())
        print(f"Left out of the records, {split.num_missed} of them counted as missed: {reasons}.")
    return split.num_missed


if __name__ == "__main__":
    commands.run(main, define_flags)
