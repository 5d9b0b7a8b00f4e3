"""Deletions are told for certain: with the transaction that deletes, to every service that listens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from mistudio_jobs.deletions import hearing_deletions
from mistudio_jobs.testing import SERVICE, Stand
from mistudio_local.nats import NatsServer
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Unavailable


class Ear:
    """Keeps what it hears; `fails` of its first times it fails."""

    def __init__(self, fails: int = 0) -> None:
        self.heard: list[tuple[UUID, datetime]] = []
        self.asked = 0
        self._fails = fails
        self._news = asyncio.Event()

    async def deleted(self, resource_id: UUID, at: datetime) -> None:
        if self._fails:
            self._fails -= 1
            raise Unavailable("It is away", next_step="Wait")
        self.heard.append((resource_id, at))
        self._news.set()

    async def reconcile(self) -> None:
        self.asked += 1
        self._news.set()

    async def until(self, count: int) -> list[UUID]:
        """The first `count` resources it hears of."""
        async with asyncio.timeout(100):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return [resource_id for resource_id, _ in self.heard]


async def delete(stand: Stand, *resource_ids: UUID) -> None:
    async with stand.engine.transaction() as session:
        await stand.engine.tell_deleted(session, resource_ids)


async def test_what_commits_is_heard_with_its_time_and_what_does_not_is_not(stand: Stand) -> None:
    ear, told, rolled_back, last = Ear(), [new_id(), new_id()], new_id(), new_id()
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, ear):
        await delete(stand, *told)
        with pytest.raises(RuntimeError):
            async with stand.engine.transaction() as session:
                await stand.engine.tell_deleted(session, [rolled_back])
                raise RuntimeError
        await delete(stand, last)
        assert set(await ear.until(3)) == {*told, last}
    assert all(abs(at - datetime.now(UTC)) < timedelta(minutes=1) for _, at in ear.heard)


async def test_a_listener_that_was_away_hears_what_it_missed_and_only_that(stand: Stand) -> None:
    first, second = new_id(), new_id()
    before, after = Ear(), Ear()
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, before):
        await delete(stand, first)
        await before.until(1)
    await delete(stand, second)
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, after):
        assert await after.until(1) == [second]


async def test_what_one_replica_hears_no_other_does_and_each_service_hears_all(stand: Stand) -> None:
    replicas, other, ids = (Ear(), Ear()), Ear(), [new_id() for _ in range(20)]
    async with (
        hearing_deletions(stand.nats_url, "tester", SERVICE, replicas[0]),
        hearing_deletions(stand.nats_url, "tester", SERVICE, replicas[1]),
        hearing_deletions(stand.nats_url, "another", SERVICE, other),
    ):
        await delete(stand, *ids)
        assert set(await other.until(20)) == set(ids)
        async with asyncio.timeout(100):
            while len(replicas[0].heard) + len(replicas[1].heard) < 20:
                await asyncio.sleep(0.01)
    assert {each for replica in replicas for each, _ in replica.heard} == set(ids)


async def test_a_listener_that_fails_is_told_again(stand: Stand) -> None:
    ear, gone = Ear(fails=1), new_id()
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, ear):
        await delete(stand, gone)
        assert await ear.until(1) == [gone]


async def test_a_deletion_while_nats_is_away_is_heard_once_it_is_back_and_the_listener_asks_afresh(
    stand: Stand, nats_server: NatsServer
) -> None:
    ear, early, late = Ear(), new_id(), new_id()
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, ear):
        await delete(stand, early)
        await ear.until(1)
        asked = ear.asked
        await asyncio.to_thread(nats_server.stop)
        await delete(stand, late)
        await asyncio.to_thread(nats_server.start)
        assert set(await ear.until(2)) == {early, late}
        async with asyncio.timeout(100):
            while ear.asked == asked:
                await asyncio.sleep(0.01)


async def test_the_deletion_of_a_resource_leaves_the_jobs_that_work_for_it_alone(stand: Stand) -> None:
    job = await stand.submit()
    ear = Ear()
    async with hearing_deletions(stand.nats_url, "tester", SERVICE, ear), stand.worker():
        await delete(stand, job.resource_id)
        assert await ear.until(1) == [job.resource_id]
        assert (await stand.ended(job)).state == "SUCCEEDED"
