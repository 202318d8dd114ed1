"""What TF_CONFIG says is understood, or refused with one line that says what is wrong."""

import json

import pytest

from tfhand import commands, train
from tfhand.training import cluster

TWO = {"worker": ["a:1", "b:2"]}


def config(jobs=TWO, kind="worker", index=0):
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "addresses", "index"),
    [
        (config(), ("a:1", "b:2"), 0),
        (config(index=1), ("a:1", "b:2"), 1),
        (config(index="1"), ("a:1", "b:2"), 1),
        (config({"worker": ["[::1]:2222"]}), ("[::1]:2222",), 0),
        (config({"worker": ["a:1", "b:2"], "chief": ["c:3"]}), ("c:3", "a:1", "b:2"), 1),
        (config({"worker": ["a:1"], "chief": ["c:3"]}, "chief"), ("c:3", "a:1"), 0),
        (config({"chief": ["c:3"]}, "chief"), ("c:3",), 0),
    ],
)
def test_the_chief_comes_first(text, addresses, index):
    assert cluster.parse(text) == cluster.Cluster(addresses, index)


BAD = {
    "not set": ("", "found none"),
    "no JSON": ("{", "no JSON"),
    "deep": ("[" * 100000, "no JSON"),
    "no object": ("[]", r"object in TF_CONFIG.*found '\[\]'"),
    "no cluster": ('{"task": {"type": "worker", "index": 0}}', '"cluster".*found none'),
    "cluster is a list": (config(["a:1"]), 'object in "cluster"'),
    "no task": (json.dumps({"cluster": TWO}), '"task".*found none'),
    "task is a number": (json.dumps({"cluster": TWO, "task": 0}), 'object in "task".*0'),
    "no type": (json.dumps({"cluster": TWO, "task": {"index": 0}}), 'no "type"'),
    "no index": (json.dumps({"cluster": TWO, "task": {"type": "worker"}}), 'no "index"'),
    "no workers": (config({}), r"found \[\]"),
    "empty list": (config({"worker": []}), 'list of addresses.*"worker"'),
    "string": (config({"worker": "a:1,b:2"}), "list of addresses.*'a:1,b:2'"),
    "by index": (config({"worker": {"0": "a:1"}}), "list of addresses"),
    "number": (config({"worker": [2222]}), "host:port.*'2222'"),
    "no port": (config({"worker": ["a:1", "b"]}), "host:port.*found 'b'"),
    "no host": (config({"worker": [":2222"]}), "host:port.*':2222'"),
    "port is a word": (config({"worker": ["a:http"]}), "host:port.*'a:http'"),
    "port 0": (config({"worker": ["a:0"]}), "host:port.*'a:0'"),
    "port 70000": (config({"worker": ["a:70000"]}), "host:port.*'a:70000'"),
    "scheme": (config({"worker": ["grpc://a:1"]}), "host:port.*grpc"),
    "space": (config({"worker": ["a:1", " b:2"]}), "host:port.*' b:2'"),
    "twice": (config({"worker": ["a:1", "a:1"]}), "found a:1 more than once"),
    "chief as worker": (config({"worker": ["a:1"], "chief": ["a:1"]}), "a:1 more than once"),
    "two chiefs": (config({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "at most one chief"),
    "ps": (config(TWO | {"ps": ["c:3"]}), "'ps'.*has to train"),
    "evaluator": (config(TWO | {"evaluator": ["c:3"]}), "'evaluator'.*has to train"),
    "is evaluator": (config(kind="evaluator"), r"\['worker'\], found 'evaluator'"),
    "is no chief": (config(kind="chief"), r"\['worker'\], found 'chief'"),
    "type is a list": (config(kind=["worker"]), '"type"'),
    "index outside": (config(index=2), "from 0 to 1.*found '2'"),
    "negative": (config(index=-1), "from 0 to 1.*found '-1'"),
    "fraction": (config(index=0.5), "from 0 to 1.*found '0.5'"),
    "boolean": (config(index=True), "from 0 to 1.*found 'true'"),
    "empty index": (config(index=""), "from 0 to 1"),
    "null": (config(index=None), "from 0 to 1.*found 'null'"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_anything_else_is_one_line(text, message):
    with pytest.raises(ValueError, match=message) as refused:
        cluster.parse(text)
    assert "TF_CONFIG" in str(refused.value)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("text", [None, config(index=2)])
def test_the_command_stops_before_it_makes_anything(text, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    arguments = ["train.py", "--distribution=multi_worker", f"--workdir={tmp_path / 'w'}"]
    with pytest.raises(SystemExit) as stopped:
        commands.run(train.main, train.define_flags, arguments)
    assert stopped.value.code == 1
    (line,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("train: ")]
    assert "TF_CONFIG" in line
    assert not (tmp_path / "w").exists()
