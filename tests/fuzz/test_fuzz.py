"""A sample of the damaged inputs of `make fuzz`; and the search itself finds what it looks for."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import broken, mutator, pool
from tests.fuzz.formats import FORMATS

# Not that of `make fuzz`, so that there are other inputs here.
SEED = 2
INPUTS = 12
# The system counts the memory of a process there.
needs_proc = pytest.mark.skipif(
    not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"
)


@pytest.fixture(scope="module")
def worker():
    with pool.Worker() as opened:
        yield opened


@needs_proc
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_inputs_are_refused_or_read(worker, name):
    indices = [*range(INPUTS), *FORMATS[name].bombs]
    tally = pool.run_format(worker, name, SEED, indices)
    assert tally.violations == []
    assert tally.inputs == len(indices)


def test_a_whole_run_has_ten_thousand_inputs():
    assert sum(case.count for case in FORMATS.values()) >= 10_000


@pytest.fixture(scope="module")
def broken_worker():
    with pool.Worker("tests.fuzz.broken") as opened:
        yield opened


@needs_proc
@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("crash", "ended with status -11"),
        ("exit", "ended with status 0"),
        ("memory used", "MB of memory used"),
        ("memory asked", "too much memory asked"),
        ("key error", "not documented: KeyError"),
        ("decoding", "from deep inside: UnicodeDecodeError"),
        ("json", "from deep inside: JSONDecodeError"),
        ("unnamed", "does not name file.bin"),
        ("long", "an error of 5008 characters"),
        ("warning", "not documented: RuntimeWarning"),
        ("insane", "accepted, but AssertionError"),
    ],
)
def test_faults_are_found(broken_worker, fault, detail):
    tally = pool.run_format(broken_worker, fault, 1, [0])
    ((index, found),) = tally.violations
    assert index == 0 and detail in found


@needs_proc
def test_a_reader_that_hangs_is_ended():
    with pool.Worker("tests.fuzz.broken", seconds=(2.0, 180.0)) as worker:
        # Only the first of a format waits for the process to start.
        assert worker.ask("hang", 1, "none") == ("accepted", "")
        outcome, detail = worker.ask("hang", 1, 0)
        assert outcome == "violation" and "no answer within 2 s" in detail
        # The next input has a process of its own.
        assert worker.ask("accepting", 1, 1) == ("accepted", "")


@needs_proc
def test_sound_readers_pass(broken_worker):
    assert set(broken.FAULTS) & set(broken.NO_FAULTS) == set()
    assert pool.run_format(broken_worker, "refusing", 1, range(20)).refused == 20
    assert pool.run_format(broken_worker, "accepting", 1, range(5)).violations == []


@pytest.mark.parametrize("damage", mutator.KINDS)
def test_every_kind_of_damage_changes_something(damage):
    data = bytes(range(256)) + b'{"number": 12.5}'
    damaged = {damage(data, np.random.default_rng(seed)) for seed in range(50)}
    assert len(damaged - {data}) > 20
    assert all(len(d) <= 2 * len(data) for d in damaged)


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(data=st.binary(max_size=300), seed=st.integers(0, 2**32))
def test_damage_depends_on_the_seed_alone(data, seed):
    first, second = (mutator.mutate(data, np.random.default_rng(seed)) for _ in range(2))
    assert isinstance(first, bytes) and first == second
