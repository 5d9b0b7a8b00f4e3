"""The scheduler brings back what nobody else would look at."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from sqlalchemy import text

from mistudio_jobs import claims, streams
from mistudio_jobs.sweeper import Sweeper
from mistudio_jobs.tables import Job
from mistudio_jobs.testing import PLAIN, QUICK, SERVICE, Stand
from mistudio_jobs.turns import Turns
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import RESERVATIONS_FOLDER, Area

from .test_jobs_claims import expire


async def lost(stand: Stand, job: Job) -> claims.Claim:
    """Claim `job` for a worker that is never heard of again."""
    async with Turns(stand.database).of(PLAIN) as turn:
        held = await claims.claim(turn, PLAIN, job.id, "lost worker", lease=0.0, held=0.0)
    assert held
    return held


async def test_a_job_whose_worker_is_lost_is_queued_again_and_says_why(stand: Stand) -> None:
    job = await stand.submit()
    await lost(stand, job)
    queued = await stand.reached(job, "QUEUED")
    assert queued.error and "lost worker" in queued.error["problem"]
    async with stand.worker():
        done = await stand.ended(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 2)
    assert await stand.effects(job) == ["started", "requeued", "started", "succeeded"]


async def test_a_job_whose_last_worker_is_lost_fails_and_its_folders_go(stand: Stand) -> None:
    job = await stand.submit()
    async with stand.database.transaction() as session:
        await session.execute(text("UPDATE jobs SET max_attempts = 1 WHERE id = :id"), {"id": job.id})
    held = await lost(stand, job)
    folder = stand.store.epoch(Area.DATASETS, job.resource_id, held.job.epoch)
    folder.mkdir(parents=True)
    failed = await stand.ended(job)
    assert failed.state == "FAILED" and failed.error and failed.error["reason"] == "WORKER_LOST"
    assert await stand.effects(job) == ["started", "failed"]
    while folder.exists():
        await stand.job(job)


async def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(stand: Stand) -> None:
    job = await stand.submit()
    async with Turns(stand.database).of(PLAIN) as turn:
        await claims.claim(turn, PLAIN, job.id, "lost worker", lease=3600.0, held=0.0)
    assert (await stand.cancel(job)).state == "CANCELLING"
    await expire(stand, job)
    assert (await stand.ended(job)).state == "CANCELLED"
    assert await stand.effects(job) == ["started", "cancelled"]


async def test_a_job_whose_doorbell_is_lost_is_dispatched_again(stand: Stand) -> None:
    job = await stand.submit()
    nats = await streams.connect(stand.nats_url, "test")
    while job.id not in await streams.doorbells(nats.jetstream(), SERVICE):
        await stand.job(job)
    await nats.jetstream().purge_stream(streams.jobs_stream(SERVICE))
    await nats.close()
    async with stand.worker():
        done = await stand.ended(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 1)
    assert done.dispatch_seq > 1


async def test_the_sweeper_deletes_old_folders_that_no_row_names_and_no_others(stand: Stand) -> None:
    async with stand.worker():
        done = await stand.ended(await stand.submit([["write", "a", "x"]]))
    waiting = await stand.submit()
    store, nobody = stand.store, new_id()
    named = store.epoch(Area.DATASETS, done.resource_id, done.epoch)
    left = store.epoch(Area.DATASETS, done.resource_id, done.epoch + 7)
    busy = store.epoch(Area.DATASETS, waiting.resource_id, 1)
    orphan = store.epoch(Area.DATASETS, nobody, 1)
    young = store.epoch(Area.DATASETS, nobody, 2)
    for folder in (left, busy, orphan, young):
        folder.mkdir(parents=True)
        (folder / "file").touch()
        hour_ago = time.time() - (0 if folder == young else 3600)
        for path in (folder / "file", folder):
            os.utime(path, (hour_ago, hour_ago))
    timing = replace(QUICK, sweep_age=1800.0)
    sweeper = Sweeper(stand.database, store, [Area.DATASETS], stand.named_folders, timing)
    await stand.engine.stop()
    with store.reserve(1000, "A running job"):
        swept = await sweeper.sweep()
        assert len(list((store.root / RESERVATIONS_FOLDER).glob("*.room"))) == 1
    assert set(swept) == {left, orphan}
    assert named.exists() and busy.exists() and young.exists() and not left.exists()
