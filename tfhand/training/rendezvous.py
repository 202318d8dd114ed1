"""Waits for the other machines of a training before TensorFlow does.

TensorFlow's own wait lets no Python run, neither a signal's handler nor a thread. So each machine
listens at its address first and goes on once all the others can be reached; TensorFlow then takes
the address over, and finds all of them there.
"""

import contextlib
import errno
import socket
import time

__all__ = ["wait_for_all"]

_SECONDS_BETWEEN = 0.2
_SECONDS_TO_CONNECT = 5.0


def wait_for_all(addresses, index, timeout_seconds):
    """Waits until every machine listens at its address.

    Args:
        addresses: List of "host:port", one for each machine.
        index: Of this machine.
        timeout_seconds: Longest wait.

    Raises:
        ValueError: If an address is no "host:port".
        OSError: If this machine's port is taken, or another machine did not come.
    """
    places = [_split(address) for address in addresses]
    last = time.monotonic() + timeout_seconds
    with _listening(places[index][1]):
        for address, place in zip(addresses, places, strict=True):
            while place != places[index] and not _is_there(place):
                if time.monotonic() > last:
                    raise TimeoutError(
                        errno.ETIMEDOUT, f"No other worker within {timeout_seconds} s at", address
                    )
                time.sleep(_SECONDS_BETWEEN)


def _split(address):
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"Expected addresses host:port in TF_CONFIG, found {address!r}.")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def _listening(port):
    """Context in which connections to a port of this machine are taken, by the system alone."""
    has_both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if has_both else socket.AF_INET
    with socket.create_server(("", port), family=family, dualstack_ipv6=has_both):
        yield


def _is_there(place):
    try:
        socket.create_connection(place, _SECONDS_TO_CONNECT).close()
    except OSError:
        return False
    return True
