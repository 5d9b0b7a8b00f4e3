"""No-op jobs, submit to done, against Celery with Redis (acks_late, two processes), and the engine's own latencies.

Ours is durable: every job, claim and end is committed and flushed by Postgres, every event and doorbell by NATS. Celery
with Redis flushes nothing. Both get the same two cores, one after the other within a round.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import redis
from celery import Celery
from sqlalchemy import text

from benchmarks.report import Row, median, percentile, show
from mistudio_jobs.migrations import MIGRATIONS
from mistudio_jobs.queue import NewJob
from mistudio_jobs.testing import EFFECTS_TABLE, NOOP, SERVICE, Stand
from mistudio_jobs.timing import Timing
from mistudio_local.guard import Guard
from mistudio_local.nats import NatsServer
from mistudio_local.ports import choose_port
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import cloned_database
from mistudio_servicekit.database import Database, migrate, new_id
from mistudio_servicekit.server import run
from mistudio_servicekit.storage import Store

JOBS = 1600
CLIENTS = 8
SUBMITS = 200
WORKERS = 3
CANCELS = 20
ROUNDS = 3


def main() -> None:
    """Measure, print, and write `benchmarks/results/jobs.json`."""
    run(_measure())


async def _measure() -> None:
    ours, submits, peer = [], [], []
    async with _stand() as stand:
        for _ in range(ROUNDS):
            rate, latencies = await _noop_rate(stand)
            ours.append(rate)
            submits += latencies
            peer += _celery_rate()
        cancels = await _cancels(stand)
        takeover = await _takeover(stand)
    rows = _rate_rows(ours, peer)
    rows += _latency_rows("submit, committed", submits, 0.0, 30.0)
    rows += _latency_rows("cancel to CANCELLED", cancels, 300.0, 1000.0)
    rows.append(Row("takeover after kill −9", takeover, "s", "limit", 20.0, "p99 ≤ 20 s", takeover <= 20))
    show("jobs", rows)


def _rate_rows(ours: list[float], peer: list[float]) -> list[Row]:
    rate, spread = median(ours), max(ours) - min(ours)
    if not peer:
        print("redis-server is not installed: Celery is not measured")
        return [
            Row("no-op jobs", rate, "jobs/s", "Celery, measured before", 680.0, "≥ 0.5 × peer", rate >= 340, spread)
        ]
    mark = median(peer)
    return [Row("no-op jobs", rate, "jobs/s", "Celery + Redis", mark, "≥ 0.5 × peer", rate >= 0.5 * mark, spread)]


def _latency_rows(work: str, seconds: list[float], p50: float, p99: float) -> list[Row]:
    middle, last = median(seconds) * 1000, percentile(seconds, 99) * 1000
    rows = [Row(f"{work}, p50", middle, "ms", "limit", p50, f"p50 ≤ {p50:g} ms", middle <= p50)] if p50 else []
    return [*rows, Row(f"{work}, p99", last, "ms", "limit", p99, f"p99 ≤ {p99:g} ms", last <= p99)]


@asynccontextmanager
async def _stand() -> AsyncIterator[Stand]:
    """The engine on durable servers, with its production timing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Guard() as guard,
        PostgresServer(Path(folder) / "postgres", guard) as postgres,
        NatsServer(Path(folder) / "nats", guard) as nats,
        cloned_database(postgres) as copy,
    ):
        migrate(copy.url(SERVICE), SERVICE, [MIGRATIONS])
        database = Database(copy.url(SERVICE), SERVICE)
        async with database.transaction() as session:
            await session.execute(text(EFFECTS_TABLE))
        stand = Stand(database, nats.url, Store(Path(folder) / "store"), Timing())
        await stand.engine.start()
        yield stand
        await stand.engine.stop()
        await database.close()


@asynccontextmanager
async def _workers(stand: Stand, number: int) -> AsyncIterator[list[Process]]:
    settings = {"url": stand.database.url, "nats_url": stand.nats_url, "store": str(stand.store.root)}
    settings |= {"key": stand.keys.current.hex(), "timing": "production"}
    command = [sys.executable, "-m", "mistudio_jobs.testing_worker", json.dumps(settings)]
    processes = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


async def _noop_rate(stand: Stand) -> tuple[float, list[float]]:
    """Jobs a second from the first submission to the last end, and how long each submission took, in seconds."""
    async with _workers(stand, WORKERS):
        await _all_at_work(stand)
        begun = time.perf_counter()
        await asyncio.gather(*(_submit_some(stand, JOBS // CLIENTS) for _ in range(CLIENTS)))
        await _all_ended(stand)
        rate = JOBS / (time.perf_counter() - begun)
        return rate, await _submit_some(stand, SUBMITS)


async def _all_at_work(stand: Stand) -> None:
    """Give jobs until every worker has had one: none shall still be starting while the rate is measured."""
    at_work = text("SELECT count(DISTINCT worker) FROM job_attempts WHERE started_at > :since")
    since = datetime.now(UTC)
    while True:
        for job in await asyncio.gather(*(stand.submit(kind=NOOP) for _ in range(10 * WORKERS))):
            await stand.ended(job)
        async with stand.database.transaction() as session:
            if await session.scalar(at_work, {"since": since}) == WORKERS:
                return


async def _submit_some(stand: Stand, number: int) -> list[float]:
    """Submit `number` jobs one after the other; seconds of each."""
    return [await _submit(stand) for _ in range(number)]


async def _submit(stand: Stand) -> float:
    begun = time.perf_counter()
    async with stand.engine.transaction() as session:
        await stand.engine.submit(session, NewJob(NOOP, new_id(), {}))
    return time.perf_counter() - begun


async def _all_ended(stand: Stand) -> None:
    query = text("SELECT count(*) FROM jobs WHERE state IN ('QUEUED', 'RUNNING')")
    while True:
        async with stand.database.transaction() as session:
            if not await session.scalar(query):
                return
        await asyncio.sleep(0.1)


async def _cancels(stand: Stand) -> list[float]:
    """Seconds from the cancel of a running job to its CANCELLED."""
    latencies = []
    async with _workers(stand, 1):
        for _ in range(CANCELS):
            job = await stand.submit([["wait", "/never"]])
            await stand.reached(job, "RUNNING")
            begun = time.perf_counter()
            await stand.cancel(job)
            await stand.reached(job, "CANCELLED")
            latencies.append(time.perf_counter() - begun)
    return latencies


async def _takeover(stand: Stand) -> float:
    """Seconds from the kill of a job's worker until another one runs it."""
    async with _workers(stand, 1) as (first,):
        job = await stand.submit([["wait", "/never"]])
        await stand.reached(job, "RUNNING")
        async with _workers(stand, 1):
            begun = time.perf_counter()
            first.kill()
            while (await stand.job(job)).attempt < 2:
                await asyncio.sleep(0.02)
            seconds = time.perf_counter() - begun
            await stand.cancel(job)
            await stand.ended(job)
    return seconds


def _celery_rate() -> list[float]:
    """Celery's jobs a second, or none where there is no Redis."""
    server = shutil.which("redis-server")
    if server is None:
        return []
    with _redis(server) as url:
        app = celery_app(url)
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "benchmarks.jobs:worker_app",
            "worker",
            "-c",
            "2",
            "-l",
            "ERROR",
        ]
        environment = {**os.environ, "BENCH_REDIS": url, "PYTHONPATH": str(Path(__file__).parents[1])}
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            noop = app.tasks["noop"]
            for _ in range(20):
                noop.delay().get(timeout=60)
            begun = time.perf_counter()
            results = [noop.delay() for _ in range(JOBS)]
            for result in results:
                result.get(timeout=60)
            return [JOBS / (time.perf_counter() - begun)]
        finally:
            worker.terminate()
            worker.wait()


def celery_app(url: str) -> Celery:
    """The peer: one no-op task, acknowledged after it ran."""
    app = Celery("bench", broker=url, backend=url)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4)
    app.task(name="noop")(_nothing)
    return app


def _nothing() -> None:
    return None


@contextmanager
def _redis(server: str) -> Iterator[str]:
    port = choose_port(0)
    process = subprocess.Popen(
        [server, "--port", str(port), "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            while not _answers(client):
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def __getattr__(name: str) -> Celery:
    """`worker_app`, for the peer's own process only."""
    if name != "worker_app":
        raise AttributeError(name)
    return celery_app(os.environ["BENCH_REDIS"])


if __name__ == "__main__":
    main()
