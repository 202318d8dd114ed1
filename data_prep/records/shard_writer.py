"""Writes the shards of one split so that a killed run leaves nothing that a reader would take."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from data_prep.records.dataset_info import SplitInfo
from data_prep.records.shards import EncodedFrame, Shard, encode_frame, seal
from data_prep.records.split_plan import SplitPlan
from tfhand import files

__all__ = ["ShardWriter"]


class ShardWriter:
    """Context manager that writes one split.

    Samples go to the shards in turn. Shards wait in a hidden folder until the block ends without
    an exception; then they are moved in place and `dataset_info.json` is written, last and in one
    step, beside the splits it already names.

        plan = SplitPlan("OUT", "train", num_shards=8, source="...", spec=spec, num_views=3)
        with ShardWriter(plan) as writer:
            for sample in samples:
                writer.write(sample)
        print(writer.info)

    Attributes:
        num_samples: Samples written so far.
        info: `SplitInfo` of the finished split; None before.

    Args:
        plan: `SplitPlan`; its folder is made if needed.

    Raises:
        ValueError: If the folder's splits have another layout, or (at the end) there is no sample.
        OSError: If the disk is full or the folder cannot be written to.
        FileExistsError: If the folder has the split and `plan.overwrite` is False.
    """

    def __init__(self, plan: SplitPlan):
        self.num_samples = 0
        self.info: SplitInfo | None = None
        self._plan = plan
        self._dir = Path(plan.output_dir)
        self._shards: list[Shard] = []
        self._paths: list[Path] = []

    def __enter__(self) -> "ShardWriter":
        self._plan.read_other_splits()
        with contextlib.ExitStack() as stack:
            hidden = stack.enter_context(files.folder_beside(self._dir / self._plan.split))
            self._paths = [hidden / name for name in self._plan.shard_names]
            for path in self._paths:
                with self._writing(path):
                    self._shards.append(Shard(path))
            self._hidden_folder = stack.pop_all()
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        shards, self._shards = self._shards, []
        with self._hidden_folder:
            try:
                with contextlib.ExitStack() as stack:
                    for path, shard in zip(self._paths, shards, strict=True):
                        stack.enter_context(self._writing(path))
                        stack.callback(shard.close)
            except OSError:
                # The first error counts: a full disk is met again when closing.
                if error_type is None:
                    raise
            if error_type is None:
                sealed = [seal(s.counts, p) for s, p in zip(shards, self._paths, strict=True)]
                self.info = self._plan.publish(sealed, self._paths)

    def write(self, sample: Mapping) -> bool:
        """Writes a sample, or counts it as skipped if its values cannot be used.

        Args:
            sample: As for `schema.check_sample`.

        Returns:
            True if it was written. False if it was skipped: a value that is not finite, or a view
            without a surface.

        Raises:
            ValueError: If a key or a shape is wrong, or outside the `with` block.
        """
        encoded = encode_frame([sample], self._plan.spec, self._plan.num_views)
        self._add(encoded)
        return encoded.problem is None

    def skip(self, reason: str, frame: int) -> None:
        """Counts a sample that is left out.

        Args:
            reason: The same words for every sample with the same problem.
            frame: Frame number in the source.
        """
        self._add(EncodedFrame(frame, problem=reason))

    def _add(self, encoded):
        if not self._shards:
            raise ValueError("Expected samples inside the with block of ShardWriter only.")
        index = self.num_samples % len(self._shards)
        with self._writing(self._paths[index]):
            self._shards[index].add(encoded)
        self.num_samples += len(encoded.serialized)

    def _writing(self, path):
        """Errors name the shard where a reader looks for it."""
        return files.writing(self._dir / path.name)
