"""Workers that are killed or stopped: they are not listed for long, and whoever asks them is told."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable

import pytest

from mistudio_jobs.presence import WorkerInfo
from mistudio_jobs.testing import Stand
from mistudio_jobs.testing_keeper import SHELF
from mistudio_servicekit.errors import Unavailable

StartWorker = Callable[..., Awaitable[Process]]


async def kept(stand: Stand) -> WorkerInfo:
    """The only worker, once its child has told something."""
    async with asyncio.timeout(100):
        while not (found := await stand.engine.workers(None)) or not found[0].state:
            await asyncio.sleep(0.01)
    return found[0]


async def nobody(stand: Stand) -> None:
    """Wait until no worker is there."""
    async with asyncio.timeout(100):
        while await stand.engine.workers(None):
            await asyncio.sleep(0.01)


async def put(stand: Stand, worker: str, name: str, seconds: float) -> object:
    """Have the worker's shelf keep `name`."""
    return (await stand.engine.command(worker, {"do": "put", "with": name}, seconds=seconds))["names"]


async def test_a_killed_worker_is_unavailable_and_soon_not_listed(stand: Stand, start_worker: StartWorker) -> None:
    process = await start_worker(keeper=SHELF)
    worker = await kept(stand)
    assert await put(stand, worker.name, "a", 20) == ["a"]
    process.kill()
    await process.wait()
    with pytest.raises(Unavailable, match=worker.name):
        await put(stand, worker.name, "b", 20)
    await nobody(stand)


async def test_a_stopped_worker_is_unavailable_and_there_again_when_it_goes_on(
    stand: Stand, start_worker: StartWorker
) -> None:
    process = await start_worker(keeper=SHELF)
    worker = await kept(stand)
    assert await put(stand, worker.name, "a", 20) == ["a"]
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(Unavailable, match=f"{worker.name}' did not answer within 0.5 seconds"):
        await put(stand, worker.name, "b", 0.5)
    await nobody(stand)
    process.send_signal(signal.SIGCONT)
    again = await kept(stand)
    assert again.name == worker.name and "a" in again.state["names"]
    assert "c" in await put(stand, worker.name, "c", 20)  # type: ignore[operator]  # names
