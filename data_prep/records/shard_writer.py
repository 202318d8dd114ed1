"""Writes the shards of one split so that a killed run leaves nothing that a reader would take."""

import collections
import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from data_prep.records import storage
from data_prep.records.dataset_info import (
    FRAMES_KEPT,
    INFO_NAME,
    DatasetInfo,
    ShardInfo,
    Skips,
    SplitInfo,
    compute_sha256,
    read_info,
    write_info,
)
from data_prep.records.examples import encode_example
from data_prep.records.schema import check_sample, find_problem
from tfhand import files
from tfhand.geometry.crop import CropSpec

__all__ = ["ShardWriter", "check_split_name", "publish_split", "read_other_splits"]


class ShardWriter:
    """Context manager that writes one split.

    Samples go to the shards in turn. Shards are hidden `.partial` files until the block ends
    without an exception; then they are renamed and `dataset_info.json` is written, last and in
    one step, beside the splits it already names.

        with ShardWriter(folder, "train", num_shards=8, source="...", spec=spec, num_views=3) as w:
            for sample in samples:
                w.write(sample)
        print(w.info)

    Attributes:
        extra: Dict of JSON values kept with the split; may be filled until the block ends.
        skipped: Samples left out so far, by reason.
        num_samples: Samples written so far.
        info: `SplitInfo` of the finished split; None before.

    Args:
        output_dir: Folder, made if needed.
        split: Name of the split: lower-case letters, digits and underscores.
        num_shards: int, number of files.
        source: Where the samples come from.
        spec: Size of the crops.
        num_views: int, V.
        min_foreground_fraction: A sample is skipped unless every view shows more surface than this
            share of its crop.
        overwrite: Replace the split if the folder has it.

    Raises:
        ValueError: For a bad split name or number of shards, a folder whose splits have another
            layout, or (at the end) if there is no sample.
        OSError: If the disk is full or the folder cannot be written to.
        FileExistsError: If the folder has the split and `overwrite` is False.
    """

    def __init__(
        self,
        output_dir,
        split: str,
        *,
        num_shards: int,
        source: str,
        spec: CropSpec,
        num_views: int,
        min_foreground_fraction: float = 0.0,
        extra: dict | None = None,
        overwrite: bool = False,
    ):
        check_split_name(split)
        if num_shards < 1:
            raise ValueError(f"num_shards must be at least 1, received {num_shards}.")
        self.extra = dict(extra or {})
        self.skipped: dict[str, Skips] = {}
        self.num_samples = 0
        self.info: SplitInfo | None = None
        self._dir = Path(output_dir)
        self._split = split
        self._source = source
        self._spec = spec
        self._num_views = num_views
        self._min_foreground_fraction = min_foreground_fraction
        self._overwrite = overwrite
        self._names = [
            f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord" for index in range(num_shards)
        ]
        self._writers: list[tf.io.TFRecordWriter] = []
        self._subjects = collections.Counter()
        self._num_labelled = 0

    def __enter__(self) -> "ShardWriter":
        self._dir.mkdir(parents=True, exist_ok=True)
        read_other_splits(
            self._dir, self._split, self._spec, self._num_views, overwrite=self._overwrite
        )
        self._remove_partial()
        try:
            for name in self._names:
                with files.writing(self._dir / name):
                    self._writers.append(tf.io.TFRecordWriter(str(self._partial(name))))
        except BaseException:
            self._remove_partial()
            raise
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            self._close()
            if error_type is None:
                self._publish()
        except OSError:
            # What went wrong first is told: a full disk is met again when closing.
            if error_type is None:
                raise
        finally:
            self._remove_partial()

    def _close(self):
        writers, self._writers = self._writers, []
        with contextlib.ExitStack() as stack:
            for name, writer in zip(self._names, writers, strict=True):
                stack.enter_context(files.writing(self._dir / name))
                stack.callback(writer.close)

    def write(self, sample: Mapping) -> bool:
        """Writes a sample, or counts it as skipped if its values cannot be used.

        Args:
            sample: As for `schema.check_sample`.

        Returns:
            True if it was written. False if it was skipped: a value that is not finite, or a view
            without enough surface.

        Raises:
            ValueError: If a key or a shape is wrong, or outside the `with` block.
        """
        if not self._writers:
            raise ValueError("ShardWriter.write was called outside its with block.")
        sample = check_sample(sample, self._spec, self._num_views)
        problem = find_problem(sample, self._spec, self._min_foreground_fraction)
        if problem:
            self.skip(problem, sample["frame"])
            return False
        serialized = encode_example(sample, self._spec, self._num_views)
        index = self.num_samples % len(self._writers)
        with files.writing(self._dir / self._names[index]):
            self._writers[index].write(serialized)
        self.num_samples += 1
        self._subjects[sample["subject"]] += 1
        self._num_labelled += bool("joint_mask" in sample and sample["joint_mask"].any())
        return True

    def skip(self, reason: str, frame: int) -> None:
        """Counts a sample that is left out.

        Args:
            reason: The same words for every sample with the same problem.
            frame: Frame number in the source.
        """
        skips = self.skipped.setdefault(reason, Skips())
        skips.count += 1
        if len(skips.first_frames) < FRAMES_KEPT:
            skips.first_frames.append(int(frame))

    def _publish(self):
        if not self.num_samples:
            reasons = {reason: skips.count for reason, skips in self.skipped.items()}
            raise ValueError(
                f"No sample for split {self._split!r} of {self._dir}; skipped: {reasons or 'none'}."
            )
        self.info = self._describe()
        publish_split(
            self._dir,
            self._split,
            {name: self._partial(name) for name in self._names},
            DatasetInfo(self._spec, self._num_views, {self._split: self.info}),
            overwrite=self._overwrite,
        )

    def _describe(self):
        count = len(self._names)
        shards = tuple(
            ShardInfo(
                name=name,
                num_samples=(self.num_samples - index + count - 1) // count,
                num_bytes=self._partial(name).stat().st_size,
                sha256=compute_sha256(self._partial(name)),
            )
            for index, name in enumerate(self._names)
        )
        return SplitInfo(
            source=self._source,
            num_samples=self.num_samples,
            num_labelled=self._num_labelled,
            subjects=dict(sorted(self._subjects.items())),
            shards=shards,
            skipped=self.skipped,
            extra=self.extra,
        )

    def _partial(self, name):
        return self._dir / f".{name}.partial"

    def _remove_partial(self):
        for path in self._dir.glob(f".{self._split}-*.tfrecord.partial"):
            path.unlink(missing_ok=True)


def check_split_name(split: str) -> None:
    """Raises a ValueError unless a split's name is lower-case letters, digits and underscores."""
    if not re.fullmatch(r"[a-z0-9_]+", split):
        raise ValueError(f"split must be lower-case letters, digits and _, received {split!r}.")


def read_other_splits(
    output_dir, split: str, spec: CropSpec, num_views: int, *, overwrite: bool
) -> dict[str, SplitInfo]:
    """Returns the splits already in a folder but this one, after checking that they fit.

    Args:
        output_dir: Folder of records; it may not exist yet.
        split: Name of the split that is to be written.
        spec: Size of its crops.
        num_views: Its V.
        overwrite: Whether it may be there already.

    Raises:
        FileExistsError: If the folder has the split and `overwrite` is False.
        ValueError: If its other splits have another layout.
    """
    if not tf.io.gfile.exists(os.path.join(output_dir, INFO_NAME)):
        return {}
    info = read_info(output_dir)
    splits = dict(info.splits)
    if splits.pop(split, None) and not overwrite:
        raise FileExistsError(
            f"Folder {output_dir} already has a split {split!r}: see --overwrite."
        )
    if splits:
        info.check_same_layout(spec, num_views, output_dir)
    return splits


def publish_split(
    output_dir, split: str, files: Mapping, info: DatasetInfo, *, overwrite: bool
) -> None:
    """Makes a finished split visible: moves its shards in place, then names them.

    Args:
        output_dir: Folder of records.
        split: Name of the split.
        files: Paths of finished files outside of a reader's sight, by shard name.
        info: Description of the folder with this split alone.
        overwrite: Whether a split of that name may be replaced.

    Raises:
        As `read_other_splits`.
    """
    others = read_other_splits(output_dir, split, info.spec, info.num_views, overwrite=overwrite)
    if tf.io.gfile.exists(os.path.join(output_dir, INFO_NAME)):
        # From here until the end the split does not exist, so no reader mixes old and new.
        write_info(output_dir, DatasetInfo(info.spec, info.num_views, others))
    with storage.os_errors():
        for name in storage.list_names(output_dir):
            if re.fullmatch(rf"{split}-.{{5}}-of-.{{5}}\.tfrecord", name):
                tf.io.gfile.remove(os.path.join(output_dir, name))
    for name, path in files.items():
        storage.move(path, os.path.join(output_dir, name))
    write_info(output_dir, DatasetInfo(info.spec, info.num_views, {**others, **info.splits}))
