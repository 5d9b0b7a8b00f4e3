"""Cancelling a job in every state."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mistudio_jobs.testing import RESUMABLE, Stand
from mistudio_servicekit.errors import HubUnavailable, JobNotCancellable, JobNotFound
from mistudio_servicekit.storage import Area

LATER = HubUnavailable("The Hub is away", next_step="Wait", retry_after_seconds=600).to_record()


async def started(path: Path) -> None:
    """Wait until a handler has made the file `path`."""
    async with asyncio.timeout(100):
        while not path.exists():
            await asyncio.sleep(0.005)


async def test_a_queued_job_is_cancelled_at_once_and_never_runs(stand: Stand) -> None:
    job = await stand.submit()
    assert (await stand.cancel(job)).state == "CANCELLED"
    async with stand.worker():
        await stand.ended(await stand.submit())
    assert await stand.effects(job) == ["cancelled"]


async def test_a_job_that_waits_for_a_retry_is_cancelled_with_its_folder(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit([["write", "half", "x"], ["fail", LATER]], kind=RESUMABLE)
        waiting = await stand.reached(job, "RETRY_WAIT")
        folder = stand.store.resource(Area.DATASETS, waiting.resource_id)
        assert folder.exists()
        assert (await stand.cancel(job)).state == "CANCELLED"
        assert not folder.exists()


async def test_a_running_job_is_cancelled_and_its_folder_is_gone(stand: Stand, tmp_path: Path) -> None:
    async with stand.worker():
        job = await stand.submit([["write", "a", "x"], ["signal", str(tmp_path / "on")], ["wait", "/never"]])
        await started(tmp_path / "on")
        assert (await stand.cancel(job)).state == "CANCELLING"
        assert (await stand.cancel(job)).state in ("CANCELLING", "CANCELLED")
        cancelled = await stand.reached(job, "CANCELLED")
        assert not stand.store.resource(Area.DATASETS, cancelled.resource_id).exists()
        states = [event.state_changed.state for event in await stand.history(job)]
    assert states == [1, 2, 4, 7]
    assert await stand.effects(job) == ["started", "cancelled"]


async def test_a_handler_that_does_not_look_is_killed_and_the_worker_goes_on(stand: Stand, tmp_path: Path) -> None:
    async with stand.worker():
        job = await stand.submit([["signal", str(tmp_path / "on")], ["wait_deaf", "/never"]])
        await started(tmp_path / "on")
        await stand.cancel(job)
        await stand.reached(job, "CANCELLED")
        assert (await stand.ended(await stand.submit())).state == "SUCCEEDED"


async def test_an_ended_or_unknown_job_is_not_cancelled(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit()
        done = await stand.ended(job)
    with pytest.raises(JobNotCancellable, match="SUCCEEDED"):
        await stand.cancel(job)
    done.id = done.resource_id
    with pytest.raises(JobNotFound):
        await stand.cancel(done)
