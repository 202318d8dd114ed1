"""The end of a run: scores of its networks, models to serve, and the report."""

import dataclasses

import tensorflow as tf
from absl import logging

from data_prep import records
from tfhand import files
from tfhand.evaluation import fitted, predictions, qualitative, real_frame
from tfhand.evaluation import report as score_report
from tfhand.fitting import turned_crops
from tfhand.geometry import crop
from tfhand.hand import skeleton
from tfhand.models import exporting, pose_network
from tfhand.runs import provenance

__all__ = ["TestSplit", "export", "predict_and_score", "write_report"]


@dataclasses.dataclass(frozen=True)
class TestSplit:
    """Samples that networks are scored on.

    Attributes:
        samples: `tf.data.Dataset` of `data_prep.records.load_dataset`, one sample an element.
        spec: `crop.CropSpec`.
        with_fit: Whether hands fitted to the first view are scored too.
        num_missed: Frames that are not among the samples since the hand was not found in them.
    """

    samples: tf.data.Dataset
    spec: crop.CropSpec
    with_fit: bool
    num_missed: int = 0


def predict_and_score(name, network, test):
    """Scores the first view, as the field does, and all views, as far as they have labels.

    Args:
        name: Name of the network, for the scores.
        network: Pose network in float32.
        test: `TestSplit`.

    Returns:
        (`predictions.Predictions` at common centers, dict of `metrics.Scores` by name: `name`, the
        first view with centers that it finds by itself; `name_common_center`, the same with those
        of all views; `name_all_views`; `name_fitted`, as `name`; empty without labels).
    """
    predicted = predictions.predict_dataset(network, test.samples, cube_mm=test.spec.cube_mm)
    joints = predicted.label_mask[:, :, skeleton.EVALUATION_JOINTS]
    if not joints.any():
        logging.warning("The test split has no labels: nothing to score.")
        return predicted, {}
    scores = {}
    if joints[:, 0].any():
        samples = records.at_own_centers(test.samples)
        alone = predictions.predict_dataset(network, samples, cube_mm=test.spec.cube_mm)
        scores[name] = alone.score([0], test.num_missed)
        scores[f"{name}_common_center"] = predicted.score([0], test.num_missed)
    scores[f"{name}_all_views"] = predicted.score(num_missed=test.num_missed)
    if name in scores and test.with_fit:
        turned = turned_crops.TurnedNetwork(network, test.spec.cube_mm)
        starts = predictions.predict_dataset(turned, samples, cube_mm=test.spec.cube_mm)
        fits = fitted.fit_predictions(starts, samples, test.spec, view=0)
        scores[f"{name}_fitted"] = fits.score([0], test.num_missed)
    for key, score in scores.items():
        print(f"{key}: mean error {score.mean_joint_error_mm:.2f} mm", flush=True)
    return predicted, scores


def export(workdir, network, prior, spec):
    """Writes `pose.keras` and the SavedModels of network and prior.

    Args:
        workdir: `workdir.Workdir`.
        network: Pose network in float32.
        prior: `pose_prior.PosePrior`.
        spec: `crop.CropSpec`.
    """
    inference = pose_network.build_inference_network(network)
    with files.replacing(workdir.path / "pose.keras") as partial:
        inference.save(partial)
    exporting.export_pose(inference, str(workdir.path / "export" / "pose" / "1"), spec.cube_mm)
    exporting.export_prior(prior, str(workdir.path / "export" / "prior" / "1"))


def write_report(workdir, prior_folder, network, test, predicted, scores):
    """Writes the folder `report` and prints its table.

    Args:
        workdir: `workdir.Workdir`.
        prior_folder: `pathlib.Path` of the stage `prior` that was used.
        network: The final network in float32.
        test: `TestSplit`.
        predicted: `predictions.Predictions` of that network.
        scores: Dict of `metrics.Scores` by name; empty without labels.
    """
    folder = workdir.path / "report"
    extra = {"versions": provenance.versions()}
    nyu = real_frame.find_folder()
    if nyu is not None:
        folder.mkdir(parents=True, exist_ok=True)
        extra["nyu_real_frame"] = real_frame.score_real_frame(
            network, nyu, test.spec, folder / "nyu_real_frame.png", test.with_fit
        )
    for key, path in (
        ("prior_reconstruction", prior_folder / "reconstruction.json"),
        ("tune_fits", workdir.stage("tune") / "fits.json"),
    ):
        if path.exists():
            extra[key] = files.read_json(path)
    if not scores:
        score_report.write_metrics(folder / "metrics.json", {}, extra)
        qualitative.draw_spread_out(predicted, test.samples, folder, cube_mm=test.spec.cube_mm)
    else:
        score_report.write_report(folder, scores, title="Hand pose", extra=extra)
        qualitative.draw_best_and_worst(predicted, test.samples, folder, cube_mm=test.spec.cube_mm)
        print(score_report.markdown_table(scores))
    provenance_text = (workdir.path / provenance.NAME).read_text(encoding="utf-8")
    files.write_text(folder / provenance.NAME, provenance_text)
    before, after = (scores.get(n) for n in ("synthetic_only", "self_supervised"))
    if before and after:
        gain = 1.0 - after.mean_joint_error_mm / before.mean_joint_error_mm
        print(f"\nSelf-supervision lowered the mean error by {100 * gain:.1f} %.")
    print(f"Report: {folder}")
