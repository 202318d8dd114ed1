"""Plan of a split: where it goes and what it holds, and how finished shards become a split."""

import collections
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from data_prep.records import storage
from data_prep.records.dataset_info import (
    INFO_NAME,
    DatasetInfo,
    ShardInfo,
    SplitInfo,
    read_info,
    write_info,
)
from data_prep.records.shards import merge_counts
from tfhand.geometry.crop import CropSpec

__all__ = ["SplitPlan"]


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """A split that is to be written.

    Attributes:
        output_dir: Folder of records.
        split: Name of the split: lower-case letters, digits and underscores.
        num_shards: Number of files.
        source: Where the samples come from, for a reader to recognize.
        spec: Size of the crops.
        num_views: Number of views V.
        extra: JSON values kept with the split.
        overwrite: Whether a split of that name may be replaced.

    Raises:
        ValueError: If the name or the number of shards cannot be used.
    """

    output_dir: Path | str
    split: str
    num_shards: int
    source: str
    spec: CropSpec
    num_views: int
    extra: Mapping = dataclasses.field(default_factory=dict)
    overwrite: bool = False

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9_]+", self.split):
            raise ValueError(
                f"split must be lower-case letters, digits and _, received {self.split!r}."
            )
        if self.num_shards < 1:
            raise ValueError(f"num_shards must be at least 1, received {self.num_shards}.")

    @property
    def shard_names(self) -> list[str]:
        """Names of the files, in order."""
        count = self.num_shards
        return [f"{self.split}-{index:05d}-of-{count:05d}.tfrecord" for index in range(count)]

    def read_other_splits(self) -> dict[str, SplitInfo]:
        """Returns the splits already in the folder but this one, after checking that they fit.

        Raises:
            FileExistsError: If the folder has the split and `overwrite` is False.
            ValueError: If its other splits have another layout.
        """
        if not tf.io.gfile.exists(os.path.join(self.output_dir, INFO_NAME)):
            return {}
        info = read_info(self.output_dir)
        others = dict(info.splits)
        if others.pop(self.split, None) and not self.overwrite:
            raise FileExistsError(
                f"Folder {self.output_dir} already has a split {self.split!r}: see --overwrite."
            )
        if others:
            info.check_same_layout(self.spec, self.num_views, self.output_dir)
        return others

    def publish(self, shards: Sequence[Mapping], paths: Sequence) -> SplitInfo:
        """Makes a finished split visible: moves its files in place, then names them.

        Args:
            shards: Results of `shards.seal`, in order.
            paths: Where these files are now, out of a reader's sight.

        Returns:
            `SplitInfo` of the split.

        Raises:
            ValueError: If there is no sample, or as `read_other_splits`.
            FileExistsError: As `read_other_splits`.
        """
        info = self.split_info(shards)
        others = self.read_other_splits()
        folder_info = DatasetInfo(self.spec, self.num_views, others)
        if tf.io.gfile.exists(os.path.join(self.output_dir, INFO_NAME)):
            # From here until the end the split does not exist, so no reader mixes old and new.
            write_info(self.output_dir, folder_info)
        with storage.os_errors():
            for name in storage.list_names(self.output_dir):
                if re.fullmatch(rf"{self.split}-.{{5}}-of-.{{5}}\.tfrecord", name):
                    tf.io.gfile.remove(os.path.join(self.output_dir, name))
        for name, path in zip(self.shard_names, paths, strict=True):
            storage.move(path, os.path.join(self.output_dir, name))
        splits = {**others, self.split: info}
        write_info(self.output_dir, dataclasses.replace(folder_info, splits=splits))
        return info

    def split_info(self, shards: Sequence[Mapping]) -> SplitInfo:
        """Adds up what is counted of the shards; raises a ValueError if there is no sample."""
        skipped = merge_counts(shards, "skipped", self.split)
        num_samples = sum(shard["num_samples"] for shard in shards)
        if not num_samples:
            reasons = {reason: skips.count for reason, skips in skipped.items()}
            raise ValueError(
                f"No sample for split {self.split!r} of {self.output_dir}; "
                f"skipped: {reasons or 'none'}."
            )
        subjects = collections.Counter()
        for shard in shards:
            subjects.update(shard["subjects"])
        return SplitInfo(
            source=self.source,
            num_samples=num_samples,
            num_labelled=sum(shard["num_labelled"] for shard in shards),
            subjects=dict(sorted(subjects.items())),
            shards=tuple(
                ShardInfo(name, shard["num_samples"], shard["num_bytes"], shard["sha256"])
                for name, shard in zip(self.shard_names, shards, strict=True)
            ),
            skipped=skipped,
            extra=dict(self.extra),
        )
