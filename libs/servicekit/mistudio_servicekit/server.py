"""How a process serves: gRPC with health and reflection, an operations port, and an orderly end on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mistudio_servicekit.channel import KEEPALIVE_SECONDS, MAX_MESSAGE_BYTES
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.interceptors import CallInterceptor
from mistudio_servicekit.operations import OperationsServer

log = logging.getLogger(__name__)

LIVENESS = "liveness"
MAX_WAITING_CALLS = 100_000
"""Calls that a server lets wait before it refuses more."""

_HEALTH_INTERVAL_SECONDS = 1.0

Check = Callable[[], Awaitable[None]]


def server_options(config: ServerConfig) -> list[tuple[str, Any]]:
    """Server arguments: message sizes, tolerance for the clients' keepalive, connection age for rebalancing, and room
    for a crowd, such as all watchers of a gateway that went away.
    """
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.max_connection_age_ms", config.max_connection_age_seconds * 1000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.so_reuseport", 0),
        # Of calls that wait to be begun, gRPC cancels some by chance beyond 1,000, which no caller can make sense of.
        ("grpc.server.max_pending_requests", MAX_WAITING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_WAITING_CALLS),
    ]


class Server:
    """A gRPC server with health, reflection, /metrics and /healthz.

    Health knows `""` and each service name (readiness: every check passes) and `liveness` (the process runs).

    Args:
        config: where to listen.
        services: full names of the served services, for health and reflection.
        checks: readiness checks by name; each raises while its dependency is away.
        needs: by service name (and `""` for the process as a whole) the checks that its readiness asks for; a name
            that is missing needs all of them.
    """

    def __init__(
        self,
        config: ServerConfig,
        services: Sequence[str],
        checks: Mapping[str, Check],
        needs: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._config, self._services, self._checks, self._needs = config, services, checks, needs or {}
        self.grpc = grpc.aio.server(interceptors=[CallInterceptor()], options=server_options(config))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc)
        self._operations = OperationsServer(config.metrics_listen, self._problems)
        self._watcher: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def operations_port(self) -> int:
        """The bound port of /metrics and /healthz."""
        return self._operations.port

    async def start(self) -> None:
        """Bind both ports and begin to answer; `port` has the gRPC port."""
        host = self._config.listen.rpartition(":")[0]
        self.port = self.grpc.add_insecure_port(self._config.listen)
        await self.grpc.start()
        await self._operations.start()
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._update_health()
        self._watcher = asyncio.create_task(self._watch_health(), name="health")
        log.info("serving", extra={"address": f"{host}:{self.port}", "services": list(self._services)})

    async def stop(self) -> None:
        """Say NOT_SERVING, let running calls finish within the drain time, close both ports."""
        if self._watcher:
            self._watcher.cancel()
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(self._config.drain_seconds)
        await self._operations.stop()

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_INTERVAL_SECONDS)
            await self._update_health()

    async def _update_health(self) -> None:
        problems = await self._problems()
        for name in ("", *self._services):
            unready = any(check in problems for check in self._needs.get(name, self._checks))
            status = health_pb2.HealthCheckResponse
            await self._health.set(name, status.NOT_SERVING if unready else status.SERVING)

    async def _problems(self) -> dict[str, str]:
        return await failing_checks(self._checks)


async def failing_checks(checks: Mapping[str, Check]) -> dict[str, str]:
    """The names of the checks that fail now, each with the kind of its error; all checks run side by side."""

    async def run(name: str, check: Check) -> tuple[str, str]:
        try:
            await asyncio.wait_for(check(), timeout=2)
        except Exception as error:  # noqa: BLE001  # any failure of a dependency means "not ready", whatever its type
            return name, type(error).__name__
        return name, ""

    results = await asyncio.gather(*(run(name, check) for name, check in checks.items()))
    return {name: problem for name, problem in results if problem}


async def until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


async def serve(serving: AbstractAsyncContextManager[object]) -> None:
    """Keep up what `serving` starts until SIGTERM or SIGINT."""
    async with serving:
        await until_stopped()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine that is a whole process, on the event loop that every process has: uvloop."""
    # What was imported is there for good. Walking it again and again took half of a busy worker's time.
    gc.freeze()
    uvloop.run(main)
