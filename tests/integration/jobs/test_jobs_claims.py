"""Claims: one winner, and no effect of a worker that has lost its job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select, text

from mistudio_jobs import claims, streams
from mistudio_jobs.claims import Claim, Closing
from mistudio_jobs.events import doorbell_subject
from mistudio_jobs.tables import Job, JobAttempt
from mistudio_jobs.testing import PLAIN, SERVICE, Stand
from mistudio_jobs.turns import Row, Turn, Turns, Values
from mistudio_servicekit.errors import WorkerLost

Plan = dict[str, Any]  # one step of a query plan, as Postgres explains it in JSON
CLOSING = Closing(snapshot=None, published=(), hold=0.0)


async def claim(stand: Stand, job: Job, worker: str, lease: float = 60.0) -> Claim | None:
    """Claim `job` as `worker`."""
    async with Turns(stand.database).of(PLAIN) as turn:
        return await claims.claim(turn, PLAIN, job.id, worker, lease=lease, held=0.0)


async def expire(stand: Stand, job: Job) -> None:
    """Let the lease of `job` have run out."""
    async with stand.database.transaction() as session:
        await session.execute(
            text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": job.id}
        )


async def ring(stand: Stand, job: Job) -> None:
    """Ring the doorbell of `job` again, once its last one is answered."""
    nats = await streams.connect(stand.nats_url, "test")
    js = nats.jetstream()
    async with asyncio.timeout(100):
        while job.id in await streams.doorbells(js, SERVICE):
            await asyncio.sleep(0.01)
    await js.publish(doorbell_subject(SERVICE, "cpu", job.id), job.kind.encode())
    await nats.close()


def explaining(turn: Turn, plans: list[Plan]) -> Turn:
    """A turn like `turn`, but its statements give their plans, into `plans`, instead of their rows."""

    async def explain(statement: str, values: Values) -> list[Row]:
        (explained,) = await turn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
        plans.append(explained["QUERY PLAN"][0]["Plan"])
        return []

    return Turn(explain, turn.session)


def scans(plan: Plan, table: str) -> Iterator[Plan]:
    """The steps of `plan` that read `table`."""
    if plan.get("Relation Name") == table and "Scan" in plan["Node Type"]:
        yield plan
    for step in plan.get("Plans", []):
        yield from scans(step, table)


async def test_of_many_workers_that_claim_a_job_one_gets_it(stand: Stand) -> None:
    job = await stand.submit()
    held = await asyncio.gather(*(claim(stand, job, f"w{number}") for number in range(12)))
    assert len([each for each in held if each]) == 1
    claimed = await stand.job(job)
    assert (claimed.state, claimed.attempt, claimed.version) == ("RUNNING", 1, 2)


async def test_a_job_whose_lease_has_run_out_is_taken_over_in_a_fresh_epoch(stand: Stand) -> None:
    await stand.engine.stop()  # so that the scheduler does not come first
    job = await stand.submit()
    first = await claim(stand, job, "w1")
    assert first and await claim(stand, job, "w2") is None
    await expire(stand, job)
    second = await claim(stand, job, "w2")
    assert second and second.job.epoch > first.job.epoch and second.job.attempt == 2
    assert list(second.earlier) == [first.job.epoch]
    async with stand.database.transaction() as session:
        outcomes = (await session.scalars(select(JobAttempt.outcome).order_by(JobAttempt.epoch))).all()
    assert list(outcomes) == ["lost", None]


async def test_a_worker_that_lost_its_job_can_neither_renew_nor_end_it(stand: Stand) -> None:
    await stand.engine.stop()
    job = await stand.submit()
    zombie = await claim(stand, job, "w1")
    await expire(stand, job)
    owner = await claim(stand, job, "w2")
    assert zombie and owner
    error = WorkerLost("x", next_step="y")
    async with Turns(stand.database).of(PLAIN) as turn:
        assert await claims.succeed(turn, zombie, CLOSING, {}) is None
        assert await claims.fail(turn, zombie, CLOSING, error, retry_after=None) is None
        assert await claims.end_cancelled(turn, zombie, CLOSING) is None
    async with stand.database.transaction() as session:
        assert await claims.renew(session, zombie, 60.0, None) is None
        assert not await claims.release(session, zombie)
        assert not await claims.folder_needed(session, zombie)
        assert await claims.renew(session, owner, 60.0, None) is not None
    assert await stand.effects(job) == ["started", "started"]


async def test_the_same_worker_in_an_older_epoch_is_refused_as_well(stand: Stand) -> None:
    await stand.engine.stop()
    job = await stand.submit()
    older = await claim(stand, job, "w1")
    await expire(stand, job)
    newer = await claim(stand, job, "w1")
    assert older and newer
    async with Turns(stand.database).of(PLAIN) as turn:
        assert await claims.succeed(turn, older, CLOSING, {}) is None
        assert await claims.succeed(turn, newer, CLOSING, {}) is not None


async def test_claiming_and_ending_a_job_looks_at_no_other_however_many_wait(stand: Stand) -> None:
    await stand.engine.stop()
    first, second, *_ = [await stand.submit() for _ in range(20)]
    held = await claim(stand, first, "w1")
    plans: list[Plan] = []
    async with Turns(stand.database).of(PLAIN) as turn:
        explained = explaining(turn, plans)
        await claims.claim(explained, PLAIN, second.id, "w2", lease=60.0, held=0.0)
        assert held and await claims.succeed(explained, held, CLOSING, {}) is None  # explained, it returns no rows
    passed_over = [scan.get("Rows Removed by Filter", 0) for plan in plans for scan in scans(plan, "jobs")]
    assert len(plans) == 2 and len(passed_over) >= 2 and not any(passed_over)


async def test_a_job_without_attempts_left_is_not_claimed(stand: Stand) -> None:
    await stand.engine.stop()
    job = await stand.submit()
    for number in range(5):
        assert await claim(stand, job, f"w{number}")
        await expire(stand, job)
    assert await claim(stand, job, "w6") is None


async def test_a_stale_doorbell_is_answered_and_starts_nothing(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit()
        await stand.ended(job)
        await ring(stand, job)
        other = await stand.submit()
        await stand.ended(other)
    assert await stand.effects(job) == ["started", "succeeded"]
