"""Starts and stops the web server.

The library is imported when a server starts, not when this module is: it is optional.
"""

import contextlib
import importlib
import os
import socket

__all__ = ["check_address", "import_library", "open_server", "url_of"]

_EVERYWHERE = ("", "0.0.0.0", "::")


def import_library(name="viser"):
    """Imports a library of the extra `viewer`; a ValueError names the extra where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f"Expected the package {name}, found none: install the extra 'viewer', "
            "for example pip install '.[viewer]'."
        ) from error


def check_address(host, port):
    """Binds the address once: the library would go on to the next port without a word."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        # Python repeats the address in parentheses.
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise OSError(f"Expected a free port at {host}:{port}, found: {reason}.") from error


def url_of(host, port):
    """Returns where a browser on this machine finds the server."""
    host = "localhost" if host in _EVERYWHERE else host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def open_server(host, port):
    """Opens a server with the scene set up for hands in camera axes, in mm.

    Args:
        host: Address to listen on.
        port: Port; 0: any that is free.

    Yields:
        The `viser.ViserServer`.

    Raises:
        OSError: If the address cannot be listened on.
        ValueError: If the library is not installed.
    """
    viser = import_library()
    check_address(host, port)
    with _quiet():
        server = viser.ViserServer(host=host, port=port, label="tfhand", verbose=False)
    try:
        if port not in (0, server.get_port()):
            raise OSError(f"Expected a free port at {host}:{port}, found it taken.")
        _set_up(server)
        yield server
    finally:
        with _quiet():
            server.stop()


@contextlib.contextmanager
def _quiet():
    """The library greets and takes leave on standard output; the command prints its own line."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _set_up(server):
    server.gui.configure_theme(
        control_layout="fixed", control_width="large", show_logo=False, show_share_button=False
    )
    server.gui.set_panel_label("tfhand")
    # Camera axes: y points down.
    server.scene.set_up_direction("-y")
    server.initial_camera.look_at = (0.0, 0.0, 0.0)
    server.initial_camera.position = (-115.0, -95.0, -350.0)
    server.initial_camera.fov = 0.75
    server.initial_camera.near, server.initial_camera.far = 5.0, 10000.0
