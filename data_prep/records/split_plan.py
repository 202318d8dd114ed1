"""What is to become of a split: which items, where to, and all that the samples depend on."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from data_prep.records.schema import SCHEMA_VERSION
from tfhand.geometry.crop import CropSpec

__all__ = ["SplitPlan", "checksum_of"]


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """What to convert and where to.

    Attributes:
        output_dir: Folder of records; where threads convert, a local one.
        split: Name of the split.
        items: Frame numbers, ascending.
        num_shards: Files; item i goes to shard i modulo their number.
        source: Where the samples come from, for a reader to recognize.
        spec: Size of the crops.
        num_views: V.
        settings: JSON values that say all that the samples depend on; finished shards, or the
            finished split, of an earlier run are taken if these are the same.
        extra: JSON values kept with the split.
        found: JSON values that were found out rather than set, such as where cameras stand; waiting
            shards are taken if these too are the same.
        overwrite: Whether a split of that name may be replaced.
    """

    output_dir: Path | str
    split: str
    items: Sequence[int]
    num_shards: int
    source: str
    spec: CropSpec
    num_views: int
    settings: Mapping
    extra: Mapping
    found: Mapping = dataclasses.field(default_factory=dict)
    overwrite: bool = False

    # Under what name `SplitInfo.extra` holds the fingerprint.
    FINGERPRINT: ClassVar[str] = "settings_sha256"

    @property
    def fingerprint(self) -> str:
        """A checksum of everything that the split depends on."""
        values = {
            "settings": self.settings,
            "items": [int(item) for item in self.items],
            "num_shards": self.num_shards,
            "image_size": self.spec.image_size,
            "cube_mm": self.spec.cube_mm,
            "source": self.source,
            "schema_version": SCHEMA_VERSION,
        }
        return checksum_of(values)

    @property
    def partial_fingerprint(self) -> str:
        """A checksum of everything that the waiting shards depend on."""
        return checksum_of([self.fingerprint, self.num_views, self.found])

    @property
    def folder(self) -> Path:
        """Where finished shards wait."""
        return Path(self.output_dir) / f".{self.split}.partial"

    def shard_name(self, index: int) -> str:
        """Returns the name of a shard."""
        return f"{self.split}-{index:05d}-of-{self.num_shards:05d}.tfrecord"

    def shard_items(self, index: int) -> Sequence[int]:
        """Returns the items of a shard."""
        return self.items[index :: self.num_shards]


def checksum_of(values) -> str:
    """Returns a checksum of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()
