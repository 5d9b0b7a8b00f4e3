"""`python -m mistudio_datasets.worker`: a worker process, with all its wiring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mistudio_datasets.config import SERVICE, WORKER_METRICS_PORT
from mistudio_datasets.jobs.download import HUB_ENDPOINT
from mistudio_datasets.jobs.kinds import job_kinds
from mistudio_datasets.store import SCHEMA
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.worker import Worker, WorkerConfig
from mistudio_servicekit.backend import WorkerProcessConfig
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.operations import OperationsServer
from mistudio_servicekit.server import failing_checks, until_stopped

_PRELOAD = tuple(f"mistudio_datasets.jobs.{name}" for name in ("download", "ingest", "tokenize", "cleanup"))


@asynccontextmanager
async def working(config: WorkerProcessConfig) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that runs jobs until the block is left; the task ends early only if it fails."""
    database = Database(config.backend.database_url, SCHEMA)
    worker = _worker(config, database)
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


def _worker(config: WorkerProcessConfig, database: Database) -> Worker:
    backend = config.backend
    keys = SecretKeys(*backend.keys)
    settings = WorkerConfig(
        nats_url=backend.nats_url,
        service=SERVICE,
        pool=config.pool,
        store=backend.store,
        settings={HUB_ENDPOINT: backend.hub_endpoint},
        preload=_PRELOAD,
    )
    worker = Worker(settings, job_kinds(backend.store, keys).all(), database, keys)
    worker.name = config.name
    return worker


async def _problems(database: Database, worker: Worker) -> dict[str, str]:
    async def hears_doorbells() -> None:
        if not worker.healthy:
            raise Unavailable("The worker is not connected to NATS", next_step="Start NATS, or wait")

    return await failing_checks({"database": database.ping, "nats": hears_doorbells})


async def work(config: WorkerProcessConfig) -> None:
    """Run jobs until SIGTERM or SIGINT.

    Raises:
        Exception: whatever ended the worker before.
    """
    async with working(config) as running:
        stopped = asyncio.create_task(until_stopped())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        stopped.cancel()


def main() -> None:
    """Work as the environment says."""
    config = WorkerProcessConfig.read(Environment(os.environ), SERVICE, metrics_port=WORKER_METRICS_PORT)
    setup_logging("datasets-worker", config.backend.log_level)
    asyncio.run(work(config))


if __name__ == "__main__":
    main()
