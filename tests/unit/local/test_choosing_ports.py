from __future__ import annotations

import socket

import pytest

from mistudio_local.errors import CannotRunHere
from mistudio_local.ports import HOST, choose_port


def listen(port: int) -> socket.socket:
    """Bind as servers do."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((HOST, port))
    server.listen()
    return server


def test_a_chosen_port_is_given_to_nobody_else_and_a_server_can_take_it() -> None:
    chosen = {choose_port(0) for _ in range(300)}
    assert len(chosen) == 300
    for port in chosen:
        listen(port).close()


def test_a_port_that_is_asked_for_is_taken_when_it_is_free() -> None:
    port = choose_port(0)
    assert choose_port(port) == port


def test_a_port_that_another_program_listens_on_is_refused_by_its_number() -> None:
    port = choose_port(0)
    with listen(port), pytest.raises(CannotRunHere, match=f"Port {port} of 127.0.0.1 cannot be used: Address already"):
        choose_port(port)
