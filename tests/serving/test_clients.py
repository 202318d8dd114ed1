"""The client programs of `serving/` without a server; with one: `test_grpc.py`."""

import socket
import subprocess
import sys

import pytest

from tests.serving.programs import INTRINSICS, SERVING, assert_one_line


def test_a_server_that_is_not_there(run_client, serving_api, files):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for name in ("grpc", "rest"):
            arguments = (f"--server={address}", f"--depth={files / 'ball.npy'}", INTRINSICS)
            assert_one_line(run_client(name, *arguments, "--timeout=5"), "No answer from", address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--depth=none.png", INTRINSICS), "none.png, found none"),
        (("--depth={files}/photo.png", INTRINSICS), "found mode L"),
        (("--depth={files}/ball.npy", "--intrinsics=0,588,320,240"), "positive focal lengths"),
        (("--depth={files}/ball.npy", "--intrinsics=588,nan,320,240"), "positive focal lengths"),
        (("--depth={files}/bomb.png", INTRINSICS), "depth picture in"),
        (
            ("--depth={files}/ball.npy", INTRINSICS, "--server=127.0.0.1:notaport"),
            "Expected --server=http://HOST:PORT",
        ),
        (
            ("--depth={files}/ball.npy", INTRINSICS, "--server=ftp://127.0.0.1:1"),
            "Expected --server=http://HOST:PORT",
        ),
    ],
)
def test_bad_arguments(run_client, files, arguments, message):
    arguments = [argument.format(files=files) for argument in arguments]
    assert_one_line(run_client("rest", "--server=127.0.0.1:1", *arguments), message)


def test_the_rest_client_needs_no_tensorflow():
    program = (
        "import sys, client_rest\n"
        "assert not {'tensorflow', 'tfhand', 'grpc'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=SERVING, check=True)
