"""Description of a folder of shards: `dataset_info.json`.

The file is written last, so a split that it does not name does not exist, whatever files lie
beside it. Readers take shard names and sizes from it, never from a directory listing.
"""

import dataclasses
import hashlib
import json
import os
import re

import tensorflow as tf

from data_prep.records import schema, storage
from data_prep.records.schema import SCHEMA_VERSION
from tfhand import files
from tfhand.geometry.crop import CropSpec

__all__ = [
    "DatasetInfo",
    "MAX_FRAMES_LISTED",
    "INFO_NAME",
    "ShardInfo",
    "Skips",
    "SplitInfo",
    "compute_sha256",
    "read_info",
    "write_info",
]

INFO_NAME = "dataset_info.json"
# Reasons to leave out a frame that may show a hand.
NO_HAND = "no hand found"
NO_AGREEMENT = "the views do not agree on where the hand is"
MISSED_HANDS = (NO_HAND, NO_AGREEMENT, schema.BACKGROUND_ONLY)
# Frames listed for each skip reason; enough to look at, few enough to read.
MAX_FRAMES_LISTED = 20

_FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_SHA256 = r"[0-9a-f]{64}"


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One file of records: its name in the folder, its size, and its checksum in hexadecimal."""

    name: str
    num_samples: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass
class Skips:
    """Samples left out for one reason: their number, and the first few frames, to look at."""

    count: int = 0
    first_frames: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """One split.

    Attributes:
        source: Where the samples come from, for a reader to recognize.
        num_samples: Records in all shards.
        num_labelled: Records with at least one labelled joint.
        subjects: Number of samples of each subject.
        shards: The files, in order.
        skipped: Samples left out, by reason.
        extra: Further JSON values of the writer.
    """

    source: str
    num_samples: int
    num_labelled: int
    subjects: dict[str, int]
    shards: tuple[ShardInfo, ...]
    skipped: dict[str, Skips]
    extra: dict

    @property
    def num_missed(self) -> int:
        """Number of samples left out though they may show a hand; scores count them as missed."""
        reasons = {reason: skips.count for reason, skips in self.skipped.items()}
        return sum(reasons.get(reason, 0) for reason in MISSED_HANDS)

    @property
    def num_skipped(self) -> int:
        """Number of samples left out, over all reasons."""
        return sum(skips.count for skips in self.skipped.values())


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A folder of shards: size of the crops, views a sample, splits by name, record layout."""

    spec: CropSpec
    num_views: int
    splits: dict[str, SplitInfo]
    schema_version: int = SCHEMA_VERSION

    def check_same_layout(self, spec: CropSpec, num_views: int, where) -> None:
        """Raises a ValueError that names `where` unless crops and views are as given."""
        if (self.spec, self.num_views) != (spec, num_views):
            raise ValueError(
                f"{where} holds image_size={self.spec.image_size}, cube_mm={self.spec.cube_mm:g}, "
                f"num_views={self.num_views}; expected image_size={spec.image_size}, "
                f"cube_mm={spec.cube_mm:g}, num_views={num_views}."
            )


def read_info(data_dir) -> DatasetInfo:
    """Reads the description of a folder of shards.

    Raises:
        FileNotFoundError: If the folder or the file is not there.
        ValueError: If the file cannot be understood or has another schema version.
    """
    data_dir = os.fspath(data_dir)
    path = os.path.join(data_dir, INFO_NAME)
    with storage.os_errors():
        is_folder, is_there = tf.io.gfile.isdir(data_dir), tf.io.gfile.exists(path)
    if not is_folder:
        raise FileNotFoundError(f"No folder {data_dir}: expected a folder of records.")
    if not is_there:
        state = "holds no complete data set" if storage.list_names(data_dir) else "is empty"
        raise FileNotFoundError(f"Folder {data_dir} {state}: expected {INFO_NAME} in it.")
    try:
        return _info_from_json(files.parse_json(storage.read_bytes(path), path))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"Cannot use {path}: {type(error).__name__}: {error}.") from error


def write_info(data_dir, info: DatasetInfo) -> None:
    """Writes the description of a folder of shards in one step: the old one or the new one."""
    values = {
        "schema_version": info.schema_version,
        "image_size": info.spec.image_size,
        "cube_mm": info.spec.cube_mm,
        "num_views": info.num_views,
        "splits": {name: dataclasses.asdict(split) for name, split in sorted(info.splits.items())},
    }
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    storage.write_text(os.path.join(data_dir, INFO_NAME), text)


def compute_sha256(path) -> str:
    """Returns the SHA-256 checksum of a file, hexadecimal."""
    digest = hashlib.sha256()
    with storage.os_errors(), tf.io.gfile.GFile(os.fspath(path), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _info_from_json(values):
    version = values["schema_version"]
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"schema version {version}, expected {SCHEMA_VERSION}: make the records again with "
            "data_prep.nyu or data_prep.synthetic"
        )
    size, cube_mm = _check_count(values["image_size"], 1), values["cube_mm"]
    if not (isinstance(cube_mm, (int, float)) and 0 < cube_mm < 1e6):
        raise ValueError(f"expected a positive cube_mm below a kilometer, found {cube_mm!r}")
    return DatasetInfo(
        spec=CropSpec(size, cube_mm),
        num_views=_check_count(values["num_views"], 1),
        splits={name: _split_from_json(split) for name, split in values["splits"].items()},
    )


def _split_from_json(values):
    shards = tuple(ShardInfo(**shard) for shard in values["shards"])
    skipped = {reason: Skips(**skips) for reason, skips in values["skipped"].items()}
    for count in (
        *(count for shard in shards for count in (shard.num_samples, shard.num_bytes)),
        *(skips.count for skips in skipped.values()),
        *(values["num_labelled"], *values["subjects"].values()),
    ):
        _check_count(count)
    for shard in shards:
        if not (re.fullmatch(_FILE_NAME, shard.name) and re.fullmatch(_SHA256, shard.sha256)):
            raise ValueError(f"expected name and SHA-256 of a shard, found {shard}")
    names = [shard.name for shard in shards]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected shards of different names, found {names}")
    num_samples, expected = values["num_samples"], sum(shard.num_samples for shard in shards)
    if num_samples != expected:
        raise ValueError(f"expected {expected} samples as in the shards, found {num_samples}")
    if not isinstance(values["source"], str) or not isinstance(values["extra"], dict):
        raise ValueError("expected a text as source and a dict as extra")
    return SplitInfo(**values | {"shards": shards, "skipped": skipped})


def _check_count(value, lowest=0):
    """Returns a whole number of at least `lowest`; a ValueError for anything else."""
    if type(value) is not int or not lowest <= value < 1 << 63:
        raise ValueError(f"expected a whole number of at least {lowest}, found {value!r}")
    return value
