"""Folders of records: the names that other code uses to write, check and read them.

- `schema.py`: what a record holds
- `examples.py`: encoder and parser of a record
- `dataset_info.py`: what dataset_info.json holds
- `shards.py`: one file of records while it is written
- `split_plan.py`: a split that is to be written, and how its shards become visible
- `shard_writer.py`: writes the shards of a split
- `reader.py`: reads them
- `storage.py`: files, also in object stores
"""

from data_prep.records.dataset_info import (
    INFO_NAME,
    DatasetInfo,
    SplitInfo,
    compute_sha256,
    read_info,
)
from data_prep.records.examples import encode_example, parse_example
from data_prep.records.reader import at_own_centers, list_shards, load_dataset, verify
from data_prep.records.schema import FIELDS, SCHEMA_VERSION, Field, check_sample, find_problem
from data_prep.records.shard_writer import ShardWriter
from data_prep.records.split_plan import SplitPlan

__all__ = [
    "DatasetInfo",
    "FIELDS",
    "Field",
    "INFO_NAME",
    "SCHEMA_VERSION",
    "ShardWriter",
    "SplitInfo",
    "SplitPlan",
    "at_own_centers",
    "check_sample",
    "compute_sha256",
    "encode_example",
    "find_problem",
    "list_shards",
    "load_dataset",
    "parse_example",
    "read_info",
    "verify",
]
