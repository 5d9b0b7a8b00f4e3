"""`python -m mistudio_models.worker`: a worker process, with all its wiring."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager

from mistudio_jobs import process
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.timing import PRODUCTION, Timing
from mistudio_models.config import SERVICE, WORKER_METRICS_PORT
from mistudio_models.jobs.download import HUB_ENDPOINT
from mistudio_models.jobs.kinds import job_kinds
from mistudio_models.store import SCHEMA
from mistudio_servicekit.backend import WorkerProcessConfig
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import run

_PRELOAD = ("mistudio_models.jobs.download", "mistudio_models.jobs.cleanup")


def working(
    config: WorkerProcessConfig, timing: Timing = PRODUCTION
) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """A worker that runs jobs until the block is left; the task ends early only if it fails."""
    backend = config.backend
    return process.working(
        config,
        SERVICE,
        Database(backend.database_url, SCHEMA),
        job_kinds().all(),
        SecretKeys(*backend.keys),
        settings={HUB_ENDPOINT: backend.hub_endpoint},
        preload=_PRELOAD,
        timing=timing,
    )


def main() -> None:
    """Work as the environment says."""
    config = WorkerProcessConfig.read(Environment(os.environ), SERVICE, metrics_port=WORKER_METRICS_PORT)
    setup_logging(f"{SERVICE}-worker", config.backend.log_level)
    run(process.work(working(config)))


if __name__ == "__main__":
    main()
