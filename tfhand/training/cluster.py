"""The machines of a training, as the environment variable TF_CONFIG names them."""

import collections
import dataclasses
import faulthandler
import json
import os

import tensorflow as tf

from tfhand.runs import preemption
from tfhand.training import rendezvous

__all__ = ["Cluster", "make_strategy", "parse"]

_EXAMPLE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
# Members of a training; TensorFlow has two more, for other ways to train.
_TYPES = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a training.

    Attributes:
        addresses: "host:port" of every worker, the chief's first.
        index: Which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int


def make_strategy(timeout_seconds):
    """Returns the strategy for the machines of the environment variable TF_CONFIG.

    It has to be made before any TensorFlow operation runs, and waits for the other machines. If
    they do not come, the process ends with status 1.

    Args:
        timeout_seconds: Longest wait for another machine, now and in every operation with it.

    Raises:
        ValueError: If TF_CONFIG does not name this machine among workers, see `parse`.
    """
    cluster = parse(os.environ.get("TF_CONFIG", ""))
    addresses = list(cluster.addresses)
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout_seconds)
    print(f"Waiting for all of {addresses}, at most {timeout_seconds} s.", flush=True)
    rendezvous.wait_for_all(addresses, cluster.index, timeout_seconds)
    # TensorFlow waits for an hour and lets no Python run meanwhile, so this watch is not in Python.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(timeout_seconds, exit=True, file=nowhere)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        faulthandler.cancel_dump_traceback_later()
    preemption.take_back()
    return strategy


def parse(text):
    """Returns the `Cluster` that TF_CONFIG describes.

    The chief is the task `chief`, where there is one, else the first `worker`.

    Args:
        text: Value of the variable; "" where it is not set.

    Raises:
        ValueError: If it does not name this process among workers; one line that says why.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f"{_quote(text)}, which is no JSON: {error}" if text.strip() else "none"
        raise ValueError(f"Expected in TF_CONFIG {_EXAMPLE}, found {found}.") from error
    _check_object(config, "TF_CONFIG")
    jobs = _part(config, "cluster")
    if not jobs or not set(jobs) <= set(_TYPES):
        raise ValueError(
            f'Expected in "cluster" of TF_CONFIG "worker", and maybe one "chief", as in '
            f"{_EXAMPLE}, found {sorted(jobs)}: every task of the cluster has to train."
        )
    members = [(job, i) for job in _TYPES for i in range(len(_addresses(jobs, job)))]
    addresses = tuple(address for job in _TYPES for address in _addresses(jobs, job))
    repeated = [name for name, count in collections.Counter(addresses).items() if count > 1]
    if repeated:
        raise ValueError(
            f"Expected in TF_CONFIG another address for every worker, found {repeated[0]} more "
            f"than once."
        )
    if len(jobs.get("chief", [])) > 1:
        raise ValueError(f"Expected in TF_CONFIG at most one chief, found {jobs['chief']}.")
    return Cluster(addresses, members.index(_task(config, jobs)))


def _part(config, name):
    """Returns a part of the configuration, which has to be an object."""
    if name not in config:
        raise ValueError(f'Expected "{name}" in TF_CONFIG, as in {_EXAMPLE}, found none.')
    _check_object(config[name], f'"{name}" of TF_CONFIG')
    return config[name]


def _check_object(found, where):
    if not isinstance(found, dict):
        raise ValueError(f"Expected an object in {where}, as in {_EXAMPLE}, found {_quote(found)}.")


def _addresses(jobs, job):
    """Returns the addresses of one type of task."""
    found = jobs.get(job, [])
    if not isinstance(found, list) or (job in jobs and not found):
        raise ValueError(
            f'Expected a list of addresses "host:port" in "{job}" of TF_CONFIG, found '
            f"{_quote(found)}."
        )
    for address in found:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
        if not host or not is_port or "/" in address or any(c.isspace() for c in address):
            raise ValueError(
                f'Expected an address "host:port", such as "node1:2222", in "{job}" of TF_CONFIG, '
                f"found {_quote(address)}."
            )
    return found


def _task(config, jobs):
    """Returns (type, index) of this process."""
    task = _part(config, "task")
    missing = [name for name in ("type", "index") if name not in task]
    if missing:
        raise ValueError(
            f'Expected "type" and "index" in "task" of TF_CONFIG, found no "{missing[0]}".'
        )
    kind, index = task["type"], task["index"]
    if not isinstance(kind, str) or kind not in jobs:
        raise ValueError(
            f'Expected as "type" of "task" in TF_CONFIG one of those in "cluster", {sorted(jobs)}, '
            f"found {_quote(kind)}."
        )
    # Schedulers that fill in a variable may quote it, which TensorFlow takes.
    digits = index if isinstance(index, str) else str(index)
    is_number = isinstance(index, int | str) and digits.isascii() and digits.isdigit()
    if not is_number or int(digits) >= len(jobs[kind]):
        raise ValueError(
            f'Expected as "index" of "task" in TF_CONFIG a number from 0 to {len(jobs[kind]) - 1}, '
            f'as "cluster" has {len(jobs[kind])} of type {kind}, found {_quote(index)}.'
        )
    return kind, int(digits)


def _quote(found):
    text = found if isinstance(found, str) else json.dumps(found)
    return repr(text if len(text) <= 200 else f"{text[:200]} ...")
