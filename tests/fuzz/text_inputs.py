"""Text: calibration, predictions, centers, scores, flagfiles, settings of a stage."""

import contextlib
import io
import json
import math
import os

import numpy as np

from data_prep.nyu import calibration_file, centers
from data_prep.nyu.calibration import Calibration
from tests.fuzz.case import Format
from tests.fuzz.pool import REPOSITORY
from tfhand import commands, train
from tfhand.evaluation import metrics, published, report
from tfhand.runs import workdir
from tfhand.training import options

__all__ = ["FORMATS"]

_JSON_BOMBS = {
    "nested": lambda _: b"[" * 200000,
    "nested in an object": lambda _: b'{"ref_from_view": ' + b"[" * 500 + b"]" * 500 + b"}",
    "long number": lambda _: b"9" * 20000,
    "a list": lambda _: b"[]",
    "a text": lambda _: b'"ref_from_view"',
    "nothing": lambda _: b"",
    "no UTF-8": lambda _: b"\xff\xfe{}",
}


def _make_calibration(folder):
    transforms = np.tile(np.eye(4), (3, 1, 1))
    transforms[1:, :3, 3] = [[500.0, 20.0, 30.0], [-480.0, 10.0, 35.0]]
    intrinsics = np.tile([588.04, 587.08, 320.0, 240.0], (3, 1))
    unknown = np.full(3, np.nan)
    whole = Calibration(transforms, intrinsics, unknown, unknown, "test")
    calibration_file.save_calibration(folder / "whole.json", whole)
    return (folder / "whole.json").read_bytes()


def _read_calibration(data, folder):
    (folder / "cameras.json").write_bytes(data)
    return calibration_file.load_calibration(folder / "cameras.json", 3)


def _check_calibration(found, _):
    rotation = found.ref_from_view[:, :3, :3]
    assert found.ref_from_view.shape == (3, 4, 4)
    assert np.isfinite(found.ref_from_view.astype(np.float32)).all()
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=0.01)
    if found.intrinsics is not None:
        assert found.intrinsics.shape == (3, 4) and np.isfinite(found.intrinsics).all()


def _uvd(frames=4):
    rng = np.random.default_rng(5)
    return rng.uniform(100.0, 700.0, (frames, 14, 3))


def _make_predictions(folder):
    for name in ("labels.txt", "whole.txt"):
        published.write_joints_uvd(folder / name, _uvd(), np.arange(1, 5))
    return (folder / "whole.txt").read_bytes()


def _read_predictions(data, folder):
    (folder / "method.txt").write_bytes(data)
    uvd = published.read_joints_uvd(folder / "method.txt")
    return uvd, published.score_files(folder / "labels.txt", [folder / "method.txt"])["method"]


def _check_predictions(found, _):
    uvd, scores = found
    assert uvd.shape == (4, 14, 3) and np.isfinite(uvd).all()
    _check_scores({"method": scores}, None)


def _make_centers(_):
    rng = np.random.default_rng(6)
    rows = rng.uniform(100.0, 700.0, (20, 3)).round(3)
    return "\n".join(" ".join(map(str, row)) for row in rows).encode()


def _read_centers(data, folder):
    (folder / "centers.txt").write_bytes(data)
    return centers.read_centers(folder / "centers.txt", "uvd")


def _check_centers(found, _):
    assert found.ndim == 2 and found.shape[1] == 3 and found.dtype == np.float64
    assert not np.isinf(found).any()


def _make_scores(folder):
    uvd = _uvd()
    score = metrics.score(uvd, uvd + 5.0)
    report.write_metrics(folder / "whole.json", {"a": score, "b": score}, {"seconds": 1.0})
    return (folder / "whole.json").read_bytes()


def _read_scores(data, folder):
    (folder / "metrics.json").write_bytes(data)
    return report.read_metrics(folder / "metrics.json")


def _check_scores(found, _):
    assert found
    for score in found.values():
        assert type(score.num_frames) is int
        assert not math.isinf(score.mean_joint_error_mm + score.auc)
        assert all(not math.isinf(value) for value in score.per_joint_error_mm.values())
    report.markdown_table(found), report.per_joint_table(found)


def _make_flags(_):
    return (REPOSITORY / "configs" / "selfsup.flags").read_bytes() + b"--tune_learning_rate=2e-4\n"


def _read_flags(data, folder):
    (folder / "my.flags").write_bytes(data)
    os.chdir(REPOSITORY)
    argv = ["train", f"--flagfile={folder / 'my.flags'}", "--workdir=w"]
    found, said = [], io.StringIO()

    def main(values):
        found.extend(options.from_flags(kind, values) for kind in options.PREFIXES)

    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            commands.run(main, train.define_flags, argv)
        except SystemExit as stopped:
            if stopped.code:
                raise ValueError(said.getvalue()) from None
    # None: the damage made a flag --help.
    return found or None


def _check_flags(found, reference):
    for settings, expected in zip(found or (), reference if found else (), strict=True):
        for name, value in vars(settings).items():
            assert isinstance(value, (type(vars(expected)[name]), type(None))), (name, value)
            assert not isinstance(value, float) or math.isfinite(value), (name, value)


def _make_settings(folder):
    with workdir.Workdir(folder).making("prior", {"steps": 10, "rate": 0.5, "name": "x"}):
        pass
    return (folder / "prior" / "settings.json").read_bytes()


def _read_settings(data, folder):
    (folder / "prior" / "settings.json").write_bytes(data)
    return workdir.Workdir(folder).is_done("prior", json.loads(_make_settings_text(folder)))


def _make_settings_text(_):
    return '{"steps": 10, "rate": 0.5, "name": "x"}'


def _check_settings(found, _):
    assert found is True


FORMATS = {
    "calibration": Format(
        1000, _make_calibration, _read_calibration, _check_calibration, "cameras.json",
        bombs=_JSON_BOMBS | {
            "huge number": lambda data: data.replace(b"500.0", b"1" + b"0" * 400),
            "far away": lambda data: data.replace(b"500.0", b"1e300"),
        },
    ),
    "predictions": Format(
        1000, _make_predictions, _read_predictions, _check_predictions, "method.txt",
        bombs={
            "one long line": lambda _: b"1 " * 10**6,
            "huge numbers": lambda _: (b"1e300 " * 42 + b"\n") * 4,
            "nothing": lambda _: b"",
        },
    ),
    "centers": Format(500, _make_centers, _read_centers, _check_centers, "centers.txt"),
    "scores": Format(
        500, _make_scores, _read_scores, _check_scores, "metrics.json", bombs=_JSON_BOMBS
    ),
    "flagfile": Format(
        700, _make_flags, _read_flags, _check_flags, "train: ",
        bombs={
            "no UTF-8": lambda _: b"--tune_steps=\xff\xfe\n",
            "not a number": lambda data: data + b"--tune_learning_rate=nan\n",
            "infinity": lambda data: data + b"--tune_learning_rate=inf\n",
            "huge": lambda data: data + b"--tune_steps=" + b"9" * 500 + b"\n",
        },
    ),
    "settings": Format(
        500, _make_settings, _read_settings, _check_settings, "prior", bombs=_JSON_BOMBS
    ),
}  # fmt: skip
