"""Lines of text for programs that listen over a WebSocket (extra `viewer`, which brings it)."""

import contextlib
import importlib
import threading
import urllib.parse

from tfhand.viewer import server

__all__ = ["SCHEME", "open_line_server"]

SCHEME = "ws://"


def _parse(url):
    """Returns host and port of `ws://HOST:PORT`."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.path not in ("", "/"):
        raise ValueError(f"Expected ws://HOST:PORT, received {url!r}.")
    return host, port


@contextlib.contextmanager
def open_line_server(url):
    """Opens a server that sends each line to all who listen; who is slow gets the newest alone.

    Args:
        url: `ws://HOST:PORT`; port 0: any that is free.

    Yields:
        (function that sends a line, the port).

    Raises:
        OSError: If the address cannot be listened on.
        ValueError: If it is no such address, or the library is not installed.
    """
    host, port = _parse(url)
    websockets = server.import_library("websockets")
    serve = importlib.import_module("websockets.sync.server").serve
    changed, newest = threading.Condition(), (0, "")

    def send_lines(connection):
        number = 0
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                with changed:
                    while newest[0] == number:
                        changed.wait()
                    number, line = newest
                if line is None:
                    return
                connection.send(line)

    def send(line):
        nonlocal newest
        with changed:
            newest = newest[0] + 1, line
            changed.notify_all()

    server.check_address(host, port)
    with serve(send_lines, host, port) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        try:
            yield send, opened.socket.getsockname()[1]
        finally:
            send(None)
