"""What a run says of its starts, and the flags that repeat it."""

import hashlib
import json

import pytest
from absl import flags as absl_flags

from tests import any_records
from tfhand import commands, train
from tfhand.models import package_weights
from tfhand.runs import provenance, resolved_flags


def parse(*arguments):
    return commands.parse(train.define_flags, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    any_records.write(path, image_size=16)
    return path


def test_every_start_is_told(data_dir, tmp_path):
    for steps in (5, 6):
        values = parse(f"--workdir={tmp_path}", f"--tune_steps={steps}", f"--seed={steps}")
        provenance.record_launch(tmp_path, provenance.collect(values, data_dir))
    first, second = json.loads((tmp_path / "provenance.json").read_text())
    assert (first["flags"]["tune_steps"], second["flags"]["tune_steps"]) == (5, 6)
    assert (first["seed"], second["seed"]) == (5, 6)
    assert first["data"] == second["data"]
    for name, checksum in first["data"].items():
        assert checksum == hashlib.sha256((data_dir / name).read_bytes()).hexdigest()
    assert first["time"] <= second["time"] and first["time"].endswith("+00:00")


def test_what_a_run_starts_from_is_told_by_its_weights(data_dir, tmp_path):
    values = parse(f"--workdir={tmp_path}")
    assert provenance.collect(values, data_dir)["start"] == {}
    found = provenance.collect(values, data_dir, package_weights.FOLDER)["start"]
    assert set(found) == {"init/pose.weights.h5", "prior/prior.weights.h5"}
    for name, checksum in found.items():
        assert checksum == hashlib.sha256((package_weights.FOLDER / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("content", ["", "{}", "3"])
def test_damaged_starts_are_refused(tmp_path, content):
    (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(ValueError, match=r"provenance\.json"):
        provenance.record_launch(tmp_path, {"seed": 1})
    assert (tmp_path / "provenance.json").read_text() == content


def test_resolved_flags_mean_the_same_in_any_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    values = parse("--workdir=a b", "--data_dir=../data", "--init_noise=none", "--tune_steps=7")
    before = values.flag_values_dict()
    (tmp_path / "resolved.flags").write_text(resolved_flags.to_flagfile(values))
    assert values.flag_values_dict() == before
    monkeypatch.chdir(tmp_path)
    again = parse("--flagfile=resolved.flags")
    assert again.workdir == str(tmp_path / "here" / "a b")
    assert again.data_dir == str(tmp_path / "data")
    for name in set(before) - set(resolved_flags.PATHS):
        assert again[name].value == before[name], name


def test_buckets_are_no_folders(monkeypatch, tmp_path):
    text = resolved_flags.to_flagfile(parse(f"--workdir={tmp_path}", "--data_dir=gs://bucket/data"))
    assert "--data_dir=gs://bucket/data\n" in text


def test_every_flag_that_takes_any_text_is_a_path():
    """So a new flag that names a place is not forgotten."""
    own = absl_flags.FlagValues()
    train.define_flags(own)
    kinds = {name: own[name].flag_type() for name in own}
    assert {name for name, kind in kinds.items() if kind == "string"} == set(resolved_flags.PATHS)
