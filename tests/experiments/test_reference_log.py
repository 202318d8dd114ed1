"""Ranges of curves over runs."""

import pytest
import tensorflow as tf

from experiments import reference_log
from tfhand import commands


def run(*arguments):
    reference_log.main(commands.parse(reference_log.define_flags, ["", *arguments]))


def test_ranges_span_all_runs(tmp_path, capsys):
    for name, offset in (("a", 0.0), ("b", 1.0)):
        logs = tmp_path / name / "tune" / "logs" / "round-1"
        with tf.summary.create_file_writer(str(logs)).as_default():
            for step in range(1, 21):
                tf.summary.scalar("loss", 100.0 / step + offset, step)
            tf.summary.image("picture", tf.zeros([1, 2, 2, 3]), 1)
    workdirs = f"--workdirs={tmp_path / 'a'},{tmp_path / 'b'}"
    run(workdirs)
    output = capsys.readouterr().out
    assert "tune, 2 trainings" in output
    assert "| tag | 1 | 20 |\n|---|---:|---:|\n| `loss` | 100 to 101 | 5 to 6 |" in output
    assert "picture" not in output
    run(workdirs, "--points=3")
    # Points 1, 11 and 20 of 20, or the nearest.
    output = capsys.readouterr().out
    assert "| tag | 1 | 11 | 20 |" in output
    assert "| `loss` | 100 to 101 | 9.09 to 10.1 | 5 to 6 |" in output


def test_no_logs(tmp_path):
    with pytest.raises(ValueError, match="logs"):
        run(f"--workdirs={tmp_path}")
