"""Servers and clients for the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import pytest

from mistudio.jobs.v1 import jobs_service_pb2_grpc
from mistudio_client import Client
from tests.unit.client.scripted import ScriptedLog, scripted_log

Serve: TypeAlias = Callable[..., Awaitable[tuple[grpc.aio.Server, str]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server for pairs of an `add_…_to_server` function and a servicer; gives it and its address."""
    servers: list[grpc.aio.Server] = []

    async def start(*services: tuple[Any, Any]) -> tuple[grpc.aio.Server, str]:
        server = grpc.aio.server()
        for add, servicer in services:
            add(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return server, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


@pytest.fixture
def log() -> ScriptedLog:
    """Twenty steps of progress, then the end."""
    return scripted_log()


@pytest.fixture
async def client(serve: Serve, log: ScriptedLog) -> AsyncIterator[Client]:
    """A client of a server with `log`."""
    _, target = await serve((jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, log))
    async with Client(target) as connected:
        yield connected
