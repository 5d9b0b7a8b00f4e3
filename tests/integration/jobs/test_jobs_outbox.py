"""The relay publishes what committed: all of it, in each job's order, whoever else publishes it too."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs import claims, outbox
from mistudio_jobs.publishing import AttemptLog
from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Outbox
from mistudio_jobs.testing import PLAIN, Stand
from mistudio_jobs.turns import Turns
from mistudio_servicekit.database import new_id


async def all_published(stand: Stand) -> int:
    """Wait until the outbox has no unpublished row; returns how many it has in all."""
    async with asyncio.timeout(100):
        while True:
            async with stand.database.transaction() as session:
                open_rows = select(func.count()).select_from(Outbox).where(Outbox.published_at.is_(None))
                if not await session.scalar(open_rows):
                    return int(await session.scalar(select(func.count()).select_from(Outbox)) or 0)


async def test_a_transaction_that_commits_late_is_published_although_later_rows_were_published_before(
    stand: Stand,
) -> None:
    new = NewJob(PLAIN, new_id(), {})
    async with stand.engine.transaction() as slow:
        early = (await stand.engine.submit(slow, new)).job
        late = await stand.submit()
        assert await stand.history(late)
    await all_published(stand)
    assert [event.state_changed.version for event in await stand.history(early)] == [1]


async def test_two_relays_publish_every_row_once(stand: Stand) -> None:
    second = stand.new_engine()
    await second.start()
    jobs = [await stand.submit() for _ in range(30)]
    assert await all_published(stand) >= 60  # more where a doorbell was so late that it was rung again
    for job in jobs[::10]:
        assert len(await stand.history(job)) == 1
    await second.stop()


async def test_another_replica_relays_when_the_first_ends(stand: Stand) -> None:
    second = stand.new_engine()
    await second.start()
    await stand.engine.stop()
    job = await stand.submit()
    await all_published(stand)
    assert len(await stand.history(job)) == 1
    await second.stop()


async def test_rows_that_a_worker_left_unpublished_are_published_by_the_relay_in_order(stand: Stand) -> None:
    job = await stand.submit()
    async with Turns(stand.database).of(PLAIN) as turn:
        held = await claims.claim(turn, PLAIN, job.id, "w1", lease=60.0, held=0.5)
    assert held
    async with Turns(stand.database).of(PLAIN) as turn:
        await claims.succeed(turn, held, claims.Closing(None, (), 0.0), {})
    assert await all_published(stand) >= 4
    versions = [event.state_changed.version for event in await stand.history(job)]
    assert versions == [1, 2, 3]


async def test_worker_and_relay_that_publish_the_same_rows_leave_one_of_each(stand: Stand) -> None:
    job = await stand.submit()
    async with Turns(stand.database).of(PLAIN) as turn:
        held = await claims.claim(turn, PLAIN, job.id, "w1", lease=60.0, held=0.0)
    assert held and stand.engine._nats

    async def holds() -> bool:
        return True

    log = AttemptLog(stand.engine._nats.jetstream(), held.job, 5.0, holds)
    await log.publish_states(held.messages)
    await log.publish_progress(pb.Progress(done=1, position=1))
    await log.publish_states(held.messages)
    await log.publish_progress(pb.Progress(done=2, position=2))
    await all_published(stand)
    kinds = [event.WhichOneof("detail") for event in await stand.history(job)]
    assert kinds == ["state_changed", "state_changed", "progress", "progress"]


async def test_published_rows_are_pruned_and_unpublished_ones_kept(stand: Stand) -> None:
    await stand.submit()
    await all_published(stand)
    await stand.engine.stop()
    await stand.submit()
    async with stand.database.transaction() as session:
        await outbox.prune(session, 0.0)
        assert await session.scalar(select(func.count()).select_from(Outbox)) == 2
