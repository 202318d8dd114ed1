"""SIGTERM ends a program with its own status, whatever the program is doing."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from tfhand.runs import preemption
from tfhand.training import rendezvous

ROOT = pathlib.Path(__file__).parents[2]


def start(*command, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True
    )


def run_until_sigterm(code):
    """Runs a program that is watched, and sends SIGTERM once it has said "ready"."""
    watched = "from tfhand.training import preemption\npreemption.leave_on_sigterm()\n"
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
    assert said == (
        "Stopped by SIGTERM; the same command goes on from what is finished: stages, fits, "
        "checkpoints.\n"
    )


def test_the_message_names_what_is_begun_again():
    status, said = run_until_sigterm("""
        import time
        with preemption.begun_again("the report"):
            pass
        with preemption.begun_again("the fits of round-2"):
            print("ready", flush=True)
            time.sleep(60)
    """)
    assert status == 75
    assert "begins the fits of round-2 again and keeps what was finished before" in said


# A loop that waits to be asked, then does what `end` says, inside of its context or after it.
LOOP = """
    import time
    with preemption.deferred() as is_asked_to_stop:
        print("ready", flush=True)
        while not is_asked_to_stop():
            time.sleep(0.01)
    {end}
"""


def test_a_loop_is_asked_and_decides():
    end = '    print("saved"); preemption.leave("after step 3")'
    status, said = run_until_sigterm(LOOP.format(end=end))
    assert status == 75
    assert said == "saved\nStopped by SIGTERM after step 3; the same command goes on from there.\n"


def test_a_request_that_a_loop_missed_is_not_lost():
    status, said = run_until_sigterm(LOOP.format(end='print("went on")'))
    assert status == 75 and "SIGTERM after a training" in said and "went on" not in said


def test_other_programs_keep_their_own_handler():
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with pytest.raises(SystemExit) as stopped, preemption.deferred() as is_asked_to_stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert is_asked_to_stop() and got == []
        assert stopped.value.code == 75
        os.kill(os.getpid(), signal.SIGTERM)
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_training_is_watched_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "keras.py").write_text("print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = start("-m", "tfhand.train", f"--workdir={tmp_path / 'w'}", PYTHONPATH=path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and said.startswith("Stopped by SIGTERM")
    assert not (tmp_path / "w").exists()


def free_addresses(count):
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


def test_machines_find_each_other():
    addresses, servers = free_addresses(3), []

    def come(index):
        rendezvous.wait_for_all(addresses, index, 60)
        # As TensorFlow does: the port is free for it, and the others still find somebody there.
        servers.append(socket.create_server(("", int(addresses[index].split(":")[1]))))

    threads = [threading.Thread(target=come, args=(index,)) for index in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.5)
    assert servers == []
    threads[2].start()
    for thread in threads:
        thread.join()
    assert len(servers) == 3
    for server in servers:
        server.close()


def test_a_machine_that_does_not_come_is_named():
    addresses = free_addresses(2)
    with pytest.raises(OSError, match=f"No other worker within 0.5 s.*{addresses[1]}"):
        rendezvous.wait_for_all(addresses, 0, 0.5)


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as server:
        with pytest.raises(OSError, match="in use"):
            rendezvous.wait_for_all([f"localhost:{server.getsockname()[1]}"], 0, 5)


@pytest.mark.parametrize("address", ["host", "host:", ":5", "host:x", "host:99999", 5])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="host:port"):
        rendezvous.wait_for_all([address, "localhost:1"], 1, 5)
