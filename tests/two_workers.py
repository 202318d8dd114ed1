"""Two processes on this machine that TensorFlow takes for two machines."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

__all__ = ["run", "started"]

ROOT = pathlib.Path(__file__).parents[1]
JOBS = (("worker", 0), ("worker", 1))


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.contextmanager
def started(arguments, tasks=JOBS):
    """Context with two Python processes, killed at its end if they still run.

    Args:
        arguments: Function from 0 and 1 to the arguments of Python.
        tasks: (type, index) of both.
    """
    cluster = {}
    for (kind, _), port in zip(tasks, _free_ports(2), strict=True):
        cluster.setdefault(kind, []).append(f"localhost:{port}")
    with contextlib.ExitStack() as stack:
        processes = []
        for number, (kind, index) in enumerate(tasks):
            task = {"type": kind, "index": index}
            environment = os.environ | {
                "PYTHONPATH": str(ROOT),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                # The real frame beside the checkout has its own test.
                "TFHAND_NYU_RESULTS": "absent",
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
            }
            command = [sys.executable, *map(str, arguments(number))]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield processes


def run(arguments, tasks=JOBS, timeout=240):
    """Runs two Python processes to their end.

    Args:
        arguments: As for `started`.
        tasks: As for `started`.
        timeout: Seconds; a lost worker is told from the broken connection in a few.

    Returns:
        [(status, what it printed)].
    """
    with started(arguments, tasks) as processes:
        output = [process.communicate(timeout=timeout)[0] for process in processes]
    return [(p.returncode, text) for p, text in zip(processes, output, strict=True)]
