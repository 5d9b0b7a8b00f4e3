"""Submitting: joined, repeated and refused requests, and what is told when."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Job, Outbox
from mistudio_jobs.testing import PLAIN, Stand
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import RequestIdReused


def request(**changes: object) -> NewJob:
    """A new job of the kind PLAIN."""
    wanted: dict[str, object] = {"kind": PLAIN, "resource_id": new_id(), "payload": {}, **changes}
    return NewJob(**wanted)  # type: ignore[arg-type]  # the names are NewJob's


async def test_two_hundred_concurrent_identical_submissions_start_one_job(stand: Stand) -> None:
    async def submit() -> tuple[str, bool]:
        async with stand.engine.transaction() as session:
            submission = await stand.engine.submit(session, request(dedupe_key="one", request_content={"a": 1}))
            return str(submission.job.id), submission.joined

    answers = await asyncio.gather(*(submit() for _ in range(200)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert [joined for _, joined in answers].count(False) == 1
    async with stand.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Job)) == 1


async def test_a_repeated_request_gets_the_same_job_even_after_it_has_ended(stand: Stand) -> None:
    first = await stand.submit(request_id="r1", request_content={"a": 1})
    async with stand.worker():
        await stand.ended(first)
    again = await stand.submit(request_id="r1", request_content={"a": 1})
    assert again.id == first.id


async def test_a_request_id_with_other_content_is_refused(stand: Stand) -> None:
    await stand.submit(request_id="r1", request_content={"a": 1})
    with pytest.raises(RequestIdReused, match="r1"):
        await stand.submit(request_id="r1", request_content={"a": 2})
    async with stand.engine.transaction() as session:
        with pytest.raises(RequestIdReused):
            await stand.engine.find_request(session, PLAIN, "r1", {"a": 3})
        assert await stand.engine.find_request(session, PLAIN, "r2", {}) is None


async def test_a_request_that_joined_a_job_is_remembered_too(stand: Stand) -> None:
    first = await stand.submit(dedupe_key="k")
    joined = await stand.submit(dedupe_key="k", request_id="r1", request_content={"a": 1})
    assert joined.id == first.id
    await stand.cancel(first)
    assert (await stand.submit(dedupe_key="k", request_id="r1", request_content={"a": 1})).id == first.id
    with pytest.raises(RequestIdReused):
        await stand.submit(request_id="r1", request_content={"a": 2})


async def test_one_request_id_sent_many_times_at_once_starts_one_job(stand: Stand) -> None:
    jobs = await asyncio.gather(*(stand.submit(request_id="r1", request_content={"a": 1}) for _ in range(50)))
    assert len({job.id for job in jobs}) == 1


async def test_a_dedupe_key_is_free_again_once_its_job_has_ended(stand: Stand) -> None:
    first = await stand.submit(dedupe_key="k")
    assert (await stand.submit(dedupe_key="k")).id == first.id
    await stand.cancel(first)
    assert (await stand.submit(dedupe_key="k")).id != first.id


async def test_a_rolled_back_submission_leaves_nothing(stand: Stand) -> None:
    with pytest.raises(ZeroDivisionError):
        async with stand.engine.transaction() as session:
            await stand.engine.submit(session, request())
            raise ZeroDivisionError
    async with stand.database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Outbox)) == 0
        assert await session.scalar(select(func.count()).select_from(Job)) == 0
