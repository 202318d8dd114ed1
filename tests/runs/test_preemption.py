"""SIGTERM ends a program with its own status, whatever the program is doing."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from tfhand.runs import preemption

ROOT = pathlib.Path(__file__).parents[2]


def start(*command, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True
    )


def run_until_sigterm(code):
    """Runs a program that is watched, and sends SIGTERM once it has said "ready"."""
    watched = "from tfhand.runs import preemption\npreemption.exit_on_sigterm()\n"
    process = start("-c", watched + textwrap.dedent(code))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


WORK = {
    "Python": """
        print("ready", flush=True)
        while True:
            pass
    """,
    # What a handler raised there was dropped.
    "the end of an object": """
        import time
        class Slow:
            def __del__(self):
                print("ready", flush=True)
                time.sleep(60)
        slow = Slow()
        del slow
        print("went on")
    """,
    # One call that lets other threads run, and no handler, as TensorFlow's operations are.
    "a long call": """
        import hashlib
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    """,
    "another thread's work": """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        print("ready", flush=True)
    """,
}


@pytest.mark.parametrize("work", WORK)
def test_sigterm_ends_the_process_at_once(work):
    status, said = run_until_sigterm(WORK[work])
    assert status == preemption.EXIT_PREEMPTED == 75
    assert said == "Stopped by SIGTERM; the same command goes on from the last checkpoint.\n"


def test_training_is_watched_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "keras.py").write_text("print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = start("-m", "tfhand.train", f"--workdir={tmp_path / 'w'}", PYTHONPATH=path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and said.startswith("Stopped by SIGTERM")
    assert not (tmp_path / "w").exists()
