"""What is said of workers and their children right after these have died or stopped: the truth, and at once."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from mistudio_jobs.presence import WorkerInfo
from mistudio_jobs.tables import Job
from mistudio_jobs.testing import QUICK, Stand
from mistudio_jobs.testing_keeper import SHELF
from mistudio_local.nats import NatsServer
from mistudio_servicekit.errors import MistudioError, Unavailable

StartWorker = Callable[..., Awaitable[Process]]

_ROUNDS = 3
_LONG = 600.0
UNHURRIED = replace(QUICK, silent=_LONG, fetch=_LONG, keeping_grace=_LONG, cancel_grace=_LONG)
"""What is found out within a test is not found out by waiting."""


@asynccontextmanager
async def patient(stand: Stand) -> AsyncIterator[None]:
    """The engine counts on a worker for long after it was heard of last."""
    await stand.engine.stop()
    stand.timing = UNHURRIED
    stand.engine = stand.new_engine()
    await stand.engine.start()
    yield


async def kept(stand: Stand, but: int = 0) -> WorkerInfo:
    """The only worker, once its child, another one than `but`, has told something."""
    async with asyncio.timeout(100):
        while True:
            found = await stand.engine.workers(None)
            if found and found[0].state and found[0].state["pid"] != but:
                return found[0]
            await asyncio.sleep(0.01)


async def nobody(stand: Stand) -> None:
    """Wait until no worker is listed."""
    async with asyncio.timeout(100):
        while await stand.engine.workers(None):
            await asyncio.sleep(0.01)


async def exists(path: Path) -> None:
    """Wait until a file is there."""
    async with asyncio.timeout(100):
        while not path.exists():
            await asyncio.sleep(0.01)


def asked(stand: Stand, worker: str, do: str, argument: object) -> asyncio.Task[Mapping[str, Any]]:
    """A command that may take long."""
    return asyncio.create_task(stand.engine.command(worker, {"do": do, "with": argument}, seconds=_LONG))


async def test_a_killed_worker_is_not_counted_on_although_it_was_heard_of_just_now(
    stand: Stand, start_worker: StartWorker
) -> None:
    async with patient(stand):
        process = await start_worker(keeper=SHELF)
        await kept(stand)
        process.kill()
        await process.wait()
        await nobody(stand)
        job = await stand.submit()
        async with stand.engine.transaction() as session:
            wait = (await stand.engine.waits(session, [job]))[job.id]
        assert (wait.workers, wait.reason) == (0, "no cpu worker is there, start one")


async def test_workers_are_listed_while_the_server_is_away_and_when_it_is_back(
    stand: Stand, nats_server: NatsServer
) -> None:
    async with patient(stand), stand.worker(name="w", keeper=SHELF, timing=QUICK):
        await kept(stand)
        await asyncio.to_thread(nats_server.stop)
        assert [worker.name for worker in await stand.engine.workers(None)] == ["w"]
        await asyncio.to_thread(nats_server.start)
        async with asyncio.timeout(100):
            while not stand.engine.healthy or not await stand.engine.workers(None):
                await asyncio.sleep(0.01)
        assert (await stand.engine.command("w", {"do": "put", "with": "a"}, seconds=_LONG))["names"] == ["a"]


async def test_whoever_has_asked_a_worker_that_is_killed_need_not_wait_for_its_answer(
    stand: Stand, start_worker: StartWorker
) -> None:
    process = await start_worker(keeper=SHELF)
    worker = await kept(stand)
    command = asked(stand, worker.name, "wait", "/never")
    await asyncio.sleep(0)
    assert await stand.engine.workers(None)  # the server has passed the command on before it answers this
    process.kill()
    async with asyncio.timeout(100):
        with pytest.raises(Unavailable, match=worker.name):
            await command


async def test_a_worker_that_stops_answers_whoever_has_asked_and_leaves_no_row(stand: Stand) -> None:
    for _ in range(_ROUNDS):
        async with stand.worker(keeper=SHELF, timing=QUICK):
            worker = await kept(stand)
            commands = [asked(stand, worker.name, "wait", "/never") for _ in range(3)]
            await asyncio.sleep(0)
            assert await stand.engine.workers(None)
        async with asyncio.timeout(100):
            answers = await asyncio.gather(*commands, return_exceptions=True)
        codes = [answer.code for answer in answers if isinstance(answer, MistudioError)]
        assert codes == ["UNAVAILABLE"] * len(commands)
        async with stand.database.transaction() as session:
            assert await session.scalar(text("SELECT count(*) FROM workers")) == 0


async def test_a_job_does_not_pay_for_a_child_that_died_before_it_came(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF, timing=replace(QUICK, fetch=5.0)):
        for _ in range(_ROUNDS):
            pid = (await kept(stand)).state["pid"]
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(100):
                while (await stand.engine.workers(None))[0].state.get("pid") == pid:
                    await asyncio.sleep(0.01)
            done = await stand.ended(await stand.submit([["keep", "a"]]))
            assert (done.state, done.attempt) == ("SUCCEEDED", 1)
            await kept(stand, but=pid)


async def renewed(stand: Stand, job: Job, times: int) -> None:
    """Wait until the job's lease was renewed so many times."""
    async with asyncio.timeout(100):
        for _ in range(times):
            before = (await stand.job(job)).lease_until
            while (await stand.job(job)).lease_until == before:
                await asyncio.sleep(0.01)


async def test_a_job_that_is_cancelled_while_its_folder_is_made_costs_nothing_that_its_child_keeps(
    stand: Stand,
) -> None:
    go, threads = Event(), ThreadPoolExecutor(1)
    async with stand.worker(keeper=SHELF, timing=replace(QUICK, keeping_grace=_LONG)):
        worker = await kept(stand)
        await stand.engine.command(worker.name, {"do": "put", "with": "a"}, seconds=_LONG)
        asyncio.get_running_loop().set_default_executor(threads)
        threads.submit(go.wait)  # whoever makes a folder waits for that
        job = await stand.submit([["linger", 0.0]])
        await stand.reached(job, "RUNNING")
        await stand.cancel(job)
        await renewed(stand, job, 2)
        go.set()
        assert (await stand.ended(job)).state == "CANCELLED"
        assert (await kept(stand)).state == {**worker.state, "names": ["a"]}
