"""Recordings in the layout of NYU, and the records made of them."""

import shutil

import pytest

from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import FRAMES, convert


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A small recording: annotated training frames, and test frames without annotation."""
    root = tmp_path_factory.mktemp("nyu") / "dataset"
    train = nyu_layout.write_split(root / "train", FRAMES, seed=11)
    nyu_layout.write_split(root / "test", FRAMES, seed=12, annotation=False)
    return root, train


@pytest.fixture(scope="session")
def converted(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    convert(source[0], out)
    return out


@pytest.fixture
def copy(source, tmp_path):
    shutil.copytree(source[0], tmp_path / "dataset")
    return tmp_path / "dataset"
