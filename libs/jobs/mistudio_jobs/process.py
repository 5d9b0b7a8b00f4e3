"""The two kinds of process that a service with jobs has: the service itself, and its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc

from mistudio.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.servicer import JobsServicer
from mistudio_jobs.timing import PRODUCTION, Timing
from mistudio_jobs.worker import Worker, WorkerConfig
from mistudio_servicekit.backend import WorkerProcessConfig
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.operations import OperationsServer
from mistudio_servicekit.server import Server, failing_checks, until_stopped

_JOBS_SERVICE = jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"].full_name


@asynccontextmanager
async def serving(
    config: ServerConfig, engine: JobEngine, services: Sequence[str], add_services: Callable[[grpc.aio.Server], None]
) -> AsyncIterator[Server]:
    """A service with jobs, which answers until the block is left; then the engine's database is closed as well.

    Args:
        config: where to listen.
        engine: its jobs, not started.
        services: full names of its own gRPC services; that of its jobs is served besides.
        add_services: adds the servicers of `services`.
    """

    async def jobs_are_dispatched() -> None:
        if not engine.healthy:
            raise Unavailable("The job engine is not connected", next_step="Start NATS, or wait")

    checks = {"database": engine.database.ping, "jobs": jobs_are_dispatched}
    server = Server(config, (*services, _JOBS_SERVICE), checks)
    add_services(server.grpc)
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(JobsServicer(engine), server.grpc)
    try:
        await engine.start()
        await server.start()
        yield server
    finally:
        await server.stop()
        await engine.stop()
        await engine.database.close()


@asynccontextmanager
async def working(
    config: WorkerProcessConfig,
    service: str,
    database: Database,
    kinds: Sequence[JobKind],
    keys: SecretKeys,
    *,
    settings: Mapping[str, str],
    preload: Sequence[str],
    keeper: str | None = None,
    timing: Timing = PRODUCTION,
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that runs jobs until the block is left; the task ends early only if it fails.

    Args:
        config: of the process.
        service: whose jobs it runs.
        database: the service's schema; closed at the end.
        kinds: kinds of job that it runs.
        keys: open the jobs' secrets.
        settings: for handlers (`JobContext.settings`); no secrets.
        preload: modules that its child imports before the first job.
        keeper: `module:function` of the `MakeKeeper` that makes its child's keeper, or None.
        timing: its periods.
    """
    worker = Worker(_worker_config(config, service, settings, preload, keeper, timing), kinds, database, keys)
    operations = OperationsServer(config.metrics_listen, lambda: _problems(database, worker))
    await operations.start()
    running = asyncio.create_task(worker.run(), name="worker")
    try:
        yield running
    finally:
        worker.stop()
        await asyncio.gather(running, return_exceptions=True)
        await operations.stop()
        await database.close()


def _worker_config(
    config: WorkerProcessConfig,
    service: str,
    settings: Mapping[str, str],
    preload: Sequence[str],
    keeper: str | None,
    timing: Timing,
) -> WorkerConfig:
    return WorkerConfig(
        nats_url=config.backend.nats_url,
        service=service,
        pool=config.pool,
        store=config.backend.store,
        name=config.name,
        settings=settings,
        preload=preload,
        memory_limit_bytes=config.memory_limit_bytes,
        keeper=keeper,
        log_level=config.backend.log_level,
        timing=timing,
    )


async def _problems(database: Database, worker: Worker) -> dict[str, str]:
    async def hears_doorbells() -> None:
        if not worker.healthy:
            raise Unavailable("The worker is not connected to NATS", next_step="Start NATS, or wait")

    return await failing_checks({"database": database.ping, "nats": hears_doorbells})


async def work(working: AbstractAsyncContextManager[asyncio.Task[None]]) -> None:
    """Run jobs until SIGTERM or SIGINT.

    Raises:
        Exception: whatever ended the worker before.
    """
    async with working as running:
        stopped = asyncio.create_task(until_stopped())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        stopped.cancel()
