"""TCP ports for servers that must keep their port when they are restarted, and so cannot be told to take any."""

from __future__ import annotations

import secrets
import socket

from mistudio_local.errors import CannotRunHere

HOST = "127.0.0.1"
# Below the range from which Linux takes ports for outgoing connections (32768 up), so that none is lost to a client
# while its server restarts.
_FIRST, _LAST = 15_000, 32_000
_ATTEMPTS = 200


def choose_port(wanted: int) -> int:
    """`wanted`, or a free port of 127.0.0.1 where it is 0.

    Raises:
        CannotRunHere: `wanted` is taken, or no free port was found.
    """
    if wanted:
        _require_free(wanted)
        return wanted
    for _ in range(_ATTEMPTS):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if _reserve(port):
            return port
    raise CannotRunHere(f"No free port was found on {HOST}", next_step="Close programs that listen on many ports")


def _require_free(port: int) -> None:
    # Asked here because gRPC servers share a port that another one has, and each gets half of the calls.
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1)
        except OSError as error:
            raise CannotRunHere(
                f"Port {port} of {HOST} cannot be used: {error.strerror}",
                next_step="Stop what listens there, or choose another port (see --help; 0 takes a free one)",
            ) from None


def _reserve(port: int) -> bool:
    """Whether `port` was free. It then stays ours for a minute: a connection in TIME_WAIT keeps it from everybody who
    asks as this function does, but not from a server, which binds with SO_REUSEADDR.
    """
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        # Only now: bound without it, a port that another chooser has reserved counts as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(1)
        with socket.create_connection((HOST, port)) as client:
            accepted, _ = listener.accept()
            # The side that closes first is the one left in TIME_WAIT.
            accepted.close()
            client.recv(1)
    return True
