"""Plan of a conversion: a split, its frames, and everything that its samples depend on."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from data_prep.records.dataset_info import SplitInfo
from data_prep.records.schema import SCHEMA_VERSION
from data_prep.records.shards import merge_counts
from data_prep.records.split_plan import SplitPlan

__all__ = ["ConversionPlan", "checksum_of"]


@dataclasses.dataclass(frozen=True)
class ConversionPlan(SplitPlan):
    """A split that is converted frame by frame.

    Attributes:
        frames: Frame numbers, ascending; frame i goes to shard i modulo their number.
        settings: JSON values of everything set that the samples depend on; finished shards, or the
            finished split, of an earlier run are taken if these are the same.
        cameras: JSON values of the cameras, which are measured rather than set; waiting shards are
            taken if these too are the same.
    """

    frames: Sequence[int] = ()
    settings: Mapping = dataclasses.field(default_factory=dict)
    cameras: Mapping = dataclasses.field(default_factory=dict)

    # Key of the fingerprint in `SplitInfo.extra`.
    FINGERPRINT: ClassVar[str] = "settings_sha256"

    @property
    def fingerprint(self) -> str:
        """Checksum of everything that the split depends on."""
        values = {
            "settings": self.settings,
            "items": [int(frame) for frame in self.frames],
            "num_shards": self.num_shards,
            "image_size": self.spec.image_size,
            "cube_mm": self.spec.cube_mm,
            "source": self.source,
            "schema_version": SCHEMA_VERSION,
        }
        return checksum_of(values)

    @property
    def partial_fingerprint(self) -> str:
        """Checksum of everything that the waiting shards depend on."""
        return checksum_of([self.fingerprint, self.num_views, self.cameras])

    @property
    def folder(self) -> Path:
        """Folder where finished shards wait."""
        return Path(self.output_dir) / f".{self.split}.partial"

    def shard_frames(self, index: int) -> Sequence[int]:
        """Returns the frames of a shard."""
        return self.frames[index :: self.num_shards]

    def split_info(self, shards: Sequence[Mapping]) -> SplitInfo:
        """Describes the split, with notes, medians and the fingerprint in `extra`."""
        info = super().split_info(shards)
        values = collections.defaultdict(list)
        for shard in shards:
            for name, of_shard in shard["values"].items():
                values[name] += of_shard
        notes = merge_counts(shards, "notes", self.split)
        extra = {
            **info.extra,
            **{f"median_{name}": sorted(v)[len(v) // 2] for name, v in values.items()},
            "notes": {note: dataclasses.asdict(counted) for note, counted in notes.items()},
            self.FINGERPRINT: self.fingerprint,
        }
        return dataclasses.replace(info, extra=extra)


def checksum_of(values) -> str:
    """Returns a checksum of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()
