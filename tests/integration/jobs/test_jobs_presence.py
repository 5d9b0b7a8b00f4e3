"""Workers say that they are there and what they do; those that are silent or gone are not listed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio.jobs.v1 import jobs_service_pb2_grpc as pb_grpc
from mistudio_jobs import presence
from mistudio_jobs.testing import Stand
from mistudio_jobs.testing_keeper import SHELF
from mistudio_servicekit.status import error_of_call

SILENT = """
    INSERT INTO workers (name, pool, host, started_at, seen_at)
    VALUES ('lost', 'cpu', 'h', now() - interval '9 days', now() - make_interval(secs => :age))
"""


async def names(stand: Stand, pool: str = "") -> list[str]:
    """Names of the workers that are there."""
    return [worker.name for worker in await stand.engine.workers(None, pool)]


async def present(stand: Stand, *wanted: str) -> None:
    """Wait until exactly the workers `wanted` are there."""
    async with asyncio.timeout(100):
        while await names(stand) != list(wanted):
            await asyncio.sleep(0.01)


async def rows(stand: Stand) -> int:
    """How many rows there are, also of silent workers."""
    async with stand.database.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM workers")) or 0)


async def add_silent(stand: Stand, age: float) -> None:
    """Add a worker that was heard of `age` seconds ago."""
    async with stand.database.transaction() as session:
        await session.execute(text(SILENT), {"age": age})


async def test_a_worker_is_listed_from_its_start_to_its_stop(stand: Stand) -> None:
    assert await names(stand) == []
    async with stand.worker(name="w2"), stand.worker(name="w1", pool="gpu"), stand.worker(name="w0", pool="gpu"):
        await present(stand, "w2", "w0", "w1")
        assert await names(stand, "gpu") == ["w0", "w1"]
        assert await names(stand, "tpu") == []
    assert await rows(stand) == 0, "whoever stops leaves no row"


async def test_the_job_that_a_worker_runs_is_shown_soon_and_not_after_it(stand: Stand, tmp_path: Path) -> None:
    async with stand.worker(name="w"), asyncio.timeout(100):
        job = await stand.submit([["wait", str(tmp_path / "go")]])
        while [worker.job_id for worker in await stand.engine.workers(None)] != [job.id]:
            await asyncio.sleep(0.01)
        (tmp_path / "go").write_text("go")
        while [worker.job_id for worker in await stand.engine.workers(None)] != [None]:
            await asyncio.sleep(0.01)


async def test_a_worker_keeps_its_time_of_start_and_is_heard_of_again_and_again(stand: Stand) -> None:
    async with stand.worker(name="w"), asyncio.timeout(100):
        await present(stand, "w")
        (first,) = await stand.engine.workers(None)
        while (later := (await stand.engine.workers(None))[0]).seen_at == first.seen_at:
            await asyncio.sleep(0.01)
    assert later.seen_at > first.seen_at and later.started_at == first.started_at <= first.seen_at


async def test_a_silent_worker_is_not_listed_and_goes_after_a_day(stand: Stand) -> None:
    await add_silent(stand, stand.timing.silent + 1)
    assert await names(stand) == []
    async with stand.database.transaction() as session:
        await presence.prune(session)
    assert await rows(stand) == 1
    async with stand.database.transaction() as session:
        await session.execute(text("UPDATE workers SET seen_at = seen_at - interval '1 day'"))
    async with asyncio.timeout(100):
        while await rows(stand):
            await asyncio.sleep(0.01)


async def test_a_worker_whose_database_is_in_trouble_works_on_and_is_listed_again(stand: Stand) -> None:
    async with stand.worker(name="w"):
        await present(stand, "w")
        async with stand.database.transaction() as session:
            await session.execute(text("ALTER TABLE workers RENAME TO away"))
        for _ in range(5):
            assert (await stand.ended(await stand.submit())).state == "SUCCEEDED"
        async with stand.database.transaction() as session:
            await session.execute(text("DELETE FROM away"))
            await session.execute(text("ALTER TABLE away RENAME TO workers"))
        await present(stand, "w")


async def test_a_worker_whose_connections_are_cut_works_on_and_is_listed_again(stand: Stand) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    async with stand.worker(name="w", keeper=SHELF):
        for number in range(3):
            with suppress(SQLAlchemyError):  # it cuts its own connection as well
                async with stand.database.transaction() as session:
                    await session.execute(text(cut))
            assert (await stand.ended(await stand.submit([["keep", str(number)]]))).state == "SUCCEEDED"
            (worker,) = await stand.engine.workers(None)
            assert str(number) in worker.state["names"]


async def test_a_worker_that_is_stopped_while_its_first_child_starts_just_ends(stand: Stand) -> None:
    async with stand.worker(name="w"):
        await present(stand, "w")
    assert await rows(stand) == 0


async def test_the_service_lists_its_workers_with_what_they_hold(
    stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub
) -> None:
    async with stand.worker(name="w", keeper=SHELF, pool="gpu"), asyncio.timeout(100):
        while not (listed := (await jobs.ListWorkers(pb.ListWorkersRequest(pool="gpu"))).workers) or not (
            listed[0].state.fields
        ):
            await asyncio.sleep(0.01)
        assert not (await jobs.ListWorkers(pb.ListWorkersRequest(pool="cpu"))).workers
    (worker,) = listed
    assert (worker.name, worker.service, worker.pool, worker.job_id) == ("w", "datasets", "gpu", "")
    assert worker.host and worker.start_time.ToDatetime() <= worker.seen_time.ToDatetime()
    assert worker.state["names"] == [] and worker.state["pid"]


@pytest.mark.parametrize("pool", ["a\0b", "x" * 101])
async def test_a_pool_that_cannot_be_is_refused(jobs: pb_grpc.JobsServiceAsyncStub, pool: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListWorkers(pb.ListWorkersRequest(pool=pool))
    error = error_of_call(refused.value)
    assert error.reason == "INVALID_FIELD" and error.problem.startswith("pool h")
