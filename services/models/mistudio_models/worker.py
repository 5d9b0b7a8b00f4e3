"""`python -m mistudio_models.worker`: a worker process, with all its wiring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from mistudio_jobs import process
from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.timing import PRODUCTION, Timing
from mistudio_models.config import SERVICE, WorkerConfig
from mistudio_models.engine.keeper import GPU_POOL, worker_settings
from mistudio_models.jobs.download import HUB_ENDPOINT
from mistudio_models.jobs.kinds import job_kinds
from mistudio_models.store import SCHEMA
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import Database
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import run

_PRELOAD = ("mistudio_models.jobs.download", "mistudio_models.jobs.cleanup")
_GPU_PRELOAD = (*_PRELOAD, "mistudio_models.jobs.load")
_KEEPER = "mistudio_models.engine.keeper:make_keeper"


def working(config: WorkerConfig, timing: Timing = PRODUCTION) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """A worker that runs jobs until the block is left; the task ends early only if it fails."""
    backend = config.process.backend
    return process.working(
        config.process,
        SERVICE,
        Database(backend.database_url, SCHEMA),
        job_kinds().all(),
        SecretKeys(*backend.keys),
        settings={HUB_ENDPOINT: backend.hub_endpoint, **_keeper_settings(config)},
        # torch takes seconds and hundreds of megabytes, which a worker that only downloads does without.
        preload=_GPU_PRELOAD if config.process.pool == GPU_POOL else _PRELOAD,
        keeper=_KEEPER,
        timing=timing,
    )


def _keeper_settings(config: WorkerConfig) -> Mapping[str, str]:
    return worker_settings(
        worker=config.process.name,
        pool=config.process.pool,
        policy=config.policy,
        budget_bytes=config.model_budget_bytes,
        memory_limit_bytes=config.process.memory_limit_bytes,
    )


def main() -> None:
    """Work as the environment says."""
    config = WorkerConfig.read(Environment(os.environ))
    setup_logging(f"{SERVICE}-worker", config.process.backend.log_level)
    run(process.work(working(config)))


if __name__ == "__main__":
    main()
