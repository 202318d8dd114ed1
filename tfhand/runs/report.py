"""What a run ends with: scores of its networks, models to serve, and the report."""

from absl import logging

from tfhand import files
from tfhand.evaluation import fitted, predictions, qualitative, real_frame, report
from tfhand.hand import skeleton
from tfhand.models import exporting, pose_network
from tfhand.runs import preemption, provenance

__all__ = ["export", "predict_and_score", "write_report"]


def predict_and_score(name, network, test, spec, with_fit):
    """Scores the first view, as the field does, and all views, as far as they have labels.

    Args:
        name: Of the network, for the scores.
        network: Pose network in float32.
        test: `tf.data.Dataset` of `data_prep.records.load_dataset`, one sample an element.
        spec: `crop.CropSpec`.
        with_fit: Whether hands fitted to the first view are scored too.

    Returns:
        (`predictions.Predictions`, dict of `metrics.Scores` by name: `name`, `name_all_views`,
        `name_fitted`; empty without labels).
    """
    with preemption.begun_again("the scores"):
        predicted = predictions.predict_dataset(network, test, cube_mm=spec.cube_mm)
        joints = predicted.label_mask[:, :, skeleton.EVALUATION_JOINTS]
        if not joints.any():
            logging.warning("The test split has no labels: nothing to score.")
            return predicted, {}
        scores = {name: predicted.score([0])} if joints[:, 0].any() else {}
        scores[f"{name}_all_views"] = predicted.score()
        if name in scores and with_fit:
            by_fit = fitted.fit_predictions(predicted, test, spec, view=0)
            scores[f"{name}_fitted"] = by_fit.score([0])
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


def write_report(workdir, start, scores, predicted, network, test, spec, with_fit):
    """Writes the folder `report` and prints its table.

    Args:
        workdir: `workdir.Workdir`.
        start: `pathlib.Path` of the folder whose stage `prior` was used.
        scores: Dict of `metrics.Scores` by name; empty without labels.
        predicted: `predictions.Predictions` of the final network.
        network: That network in float32.
        test: As for `predict_and_score`.
        spec: `crop.CropSpec`.
        with_fit: Whether a hand fitted to the real frame is scored too.
    """
    folder = workdir.path / "report"
    extra = {"versions": provenance.versions()}
    nyu = real_frame.find_folder()
    if nyu is not None:
        folder.mkdir(parents=True, exist_ok=True)
        extra["nyu_real_frame"] = real_frame.score_real_frame(
            network, nyu, spec, folder / "nyu_real_frame.png", with_fit
        )
    for where, stage, name in ((start, "prior", "reconstruction"), (workdir.path, "tune", "fits")):
        path = where / stage / f"{name}.json"
        if path.exists():
            extra[f"{stage}_{name}"] = files.read_json(path)
    if not scores:
        report.write_metrics(folder / "metrics.json", {}, extra)
        qualitative.draw_spread_out(predicted, test, folder, cube_mm=spec.cube_mm)
    else:
        report.write_report(folder, scores, title="Hand pose", extra=extra)
        qualitative.draw_best_and_worst(predicted, test, folder, cube_mm=spec.cube_mm)
        print(report.markdown_table(scores))
    made_from = (workdir.path / provenance.NAME).read_text(encoding="utf-8")
    files.write_text(folder / provenance.NAME, made_from)
    before, after = (scores.get(n) for n in ("synthetic_only", "self_supervised"))
    if before and after:
        gain = 1.0 - after.mean_joint_error_mm / before.mean_joint_error_mm
        print(f"\nSelf-supervision lowered the mean error by {100 * gain:.1f} %.")
    print(f"Report: {folder}")
