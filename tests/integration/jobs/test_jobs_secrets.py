"""A job's secrets are in clear nowhere but in its handler."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text

from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.testing import Stand
from mistudio_servicekit.errors import HubUnavailable, JobNotRetryable, MalformedFile

TOKEN = "hf_VerySecretTokenOfThisTest"
AWAY = HubUnavailable("The Hub is away", next_step="Wait").to_record()
MALFORMED = MalformedFile("Row 3 is no JSON", next_step="Repair it").to_record()


async def everything(stand: Stand) -> str:
    """Every row of every table, with bytes as text where they are text."""
    async with stand.database.transaction() as session:
        tables = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"))
        rows = [row for table in tables for row in await session.execute(text(f"SELECT * FROM {table}"))]
    return repr([tuple(value for value in row) for row in rows])


async def test_a_secret_reaches_the_handler_and_no_row_event_or_retry_shows_it(stand: Stand) -> None:
    use = ["use_secret", "hub_token"]
    async with stand.worker():
        payload = {"attempt 1": [use, ["fail", AWAY]], "steps": [use]}
        job = await stand.submit(payload=payload, secrets={"hub_token": TOKEN})
        assert TOKEN not in await everything(stand)
        done = await stand.ended(job)
        assert TOKEN not in str(await stand.history(job))
    assert done.result and done.result["secret_length"] == len(TOKEN)
    assert done.attempt == 2 and done.secrets is None
    assert TOKEN not in await everything(stand)


async def test_secrets_are_wiped_when_a_job_fails_or_is_cancelled_and_it_cannot_be_retried(stand: Stand) -> None:
    queued = await stand.submit(secrets={"hub_token": TOKEN})
    assert (await stand.job(queued)).secrets is not None
    assert (await stand.cancel(queued)).secrets is None
    async with stand.worker():
        failed = await stand.ended(await stand.submit([["fail", MALFORMED]], secrets={"hub_token": TOKEN}))
    assert failed.secrets is None
    async with stand.engine.transaction() as session:
        with pytest.raises(JobNotRetryable, match="secrets"):
            await stand.engine.retry(session, failed.id)


async def test_a_rotated_key_still_opens_what_waits(stand: Stand) -> None:
    job = await stand.submit([["use_secret", "hub_token"]], secrets={"hub_token": TOKEN})
    stand.keys = SecretKeys(os.urandom(32), previous=stand.keys.current)
    async with stand.worker():
        assert (await stand.ended(job)).state == "SUCCEEDED"
