"""Settings of the fine-tuning stage, and what it keeps of a finished round.

All that decides the result of the stage lies beside it and is compared before a run goes on.
"""

import dataclasses
import zlib

import keras
import numpy as np

from tfhand import files
from tfhand.data import recordings
from tfhand.hand import template
from tfhand.losses import terms
from tfhand.models import pose_prior
from tfhand.training import options as train_options

__all__ = ["FineTuning", "Pretrained", "check_settings", "read_round", "write_round"]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Models that fine-tuning starts from.

    Attributes:
        network: The pretrained pose network, made in the strategy's scope; trained in place.
        prior: `pose_prior.PosePrior`.
    """

    network: keras.Model
    prior: pose_prior.PosePrior


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings that decide the result of the stage.

    Attributes:
        recording: `recordings.RecordedSamples` to train on.
        weights: `terms.LossWeights`.
        options: `options.FineTuneOptions`.
        precision: Precision of the network.
        seed: Seed of orders, augmentation and synthetic samples.
        supervision: That of the synthetic samples, see `objectives.SyntheticObjective`.
    """

    recording: recordings.RecordedSamples
    weights: terms.LossWeights
    options: train_options.FineTuneOptions
    precision: str
    seed: int
    supervision: str = "coordinates"

    @property
    def rounds(self):
        """Rounds of fitting and training."""
        return self.options.rounds if self.options.method == "fit" else 1

    @property
    def uses_fits(self):
        """True if fits are made. With labels they only say where synthetic samples are drawn."""
        method, near_fits = self.options.method, self.options.near_fits
        return method == "fit" or (method == "labels" and near_fits > 0.0)

    def to_dict(self, pretrained=None):
        """Returns the settings as plain types, for `workdir.Workdir`.

        Args:
            pretrained: `Pretrained`; None: without the settings that depend on it.
        """
        recording = self.recording
        depth = [recording.depth_mm, recording.ref_from_crop]
        settings = {
            **dataclasses.asdict(self.options),
            "precision": self.precision,
            "seed": self.seed,
            "supervision": self.supervision,
            "weights": self.weights.active,
            "recording": _checksum([*depth, recording.group, recording.is_multi_view]),
        }
        if self.options.method == "labels":
            settings["labels"] = _checksum([recording.joints_mm, recording.joint_mask])
        if pretrained is not None:
            settings["start"] = _checksum(pretrained.network.get_weights())
            if self.weights.pose_prior > 0.0:
                settings["prior"] = _checksum(pretrained.prior.get_weights())
        return settings


def _checksum(arrays):
    """Returns a number that tells recordings, or networks, apart."""
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


def check_settings(workdir, tuning, pretrained):
    """Checks the settings of the stage, if it is there.

    Args:
        workdir: `workdir.Workdir`.
        tuning: `FineTuning`.
        pretrained: `Pretrained`, or None if the run trains its own and may not have done so yet.

    Raises:
        ValueError: If it has others, or is there without the network of this run.
    """
    workdir.check("tune", tuning.to_dict(pretrained))
    if pretrained is None and workdir.is_started("tune") and not workdir.is_finished("init"):
        raise ValueError(
            f"Expected in {workdir.stage('init')} the network that {workdir.stage('tune')} started "
            "from, found none: give the --init_from of that run, use another --workdir, or delete "
            "the latter if it is of no use any more."
        )


def write_round(path, shape, summary):
    """Writes the state after a round.

    Args:
        path: `pathlib.Path` of the JSON file.
        shape: float32 [G, P], of every subject, or None without fits.
        summary: List of dicts, see `recording_fits.Fits`.
    """
    shape = None if shape is None else np.asarray(shape).tolist()
    files.write_json(path, {"shape": shape, "summary": summary})


def read_round(path, tuning):
    """Reads the state after a round.

    Args:
        path: `pathlib.Path` of the JSON file.
        tuning: `FineTuning`.

    Returns:
        (shape of every subject, float32 [G, P], or None without fits; list of dicts).

    Raises:
        ValueError: If it is damaged.
    """
    state = files.read_json(path)
    summary = state.get("summary") if isinstance(state, dict) else None
    if not isinstance(summary, list) or not all(isinstance(row, dict) for row in summary):
        raise ValueError(f"Expected the summary of a round in {path}, found none.")
    if not tuning.uses_fits:
        return None, summary
    expected = (int(tuning.recording.group.max()) + 1, len(template.SHAPE_NAMES))
    try:
        shape = np.asarray(state.get("shape"), np.float32)
    except (TypeError, ValueError):
        shape = np.empty(0, np.float32)
    if shape.shape != expected or not np.isfinite(shape).all():
        raise ValueError(f"Expected a finite shape {list(expected)} of a round in {path}.")
    return shape, summary
