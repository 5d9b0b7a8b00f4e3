"""An engine at work, and workers as processes of their own that can be killed."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from mistudio_jobs.testing import FLEETING, Stand
from mistudio_jobs.timing import Timing
from tests.jobs_stand import jobs_database, jobs_template, stand

__all__ = ["jobs_database", "jobs_template", "stand", "start_worker"]

StartWorker = Callable[..., Awaitable[Process]]


@pytest.fixture
def timing() -> Timing:
    """The periods of the stand: workers are missed soon."""
    return FLEETING


@pytest.fixture
async def start_worker(stand: Stand) -> AsyncIterator[StartWorker]:
    """Starts worker processes, with further settings (`keeper`, `drain`); those that are left are killed afterwards."""
    started: list[Process] = []

    async def start(**more: str) -> Process:
        settings = {
            "url": stand.database.url,
            "nats_url": stand.nats_url,
            "store": str(stand.store.root),
            "key": stand.keys.current.hex(),
            **more,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mistudio_jobs.testing_worker", json.dumps(settings), stdout=asyncio.subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None and await process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
