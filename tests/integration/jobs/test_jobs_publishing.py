"""What a worker may write into the event log, and when no more."""

from __future__ import annotations

import pytest

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs import streams
from mistudio_jobs.publishing import AttemptLog, LeaseLost
from mistudio_jobs.testing import Stand


async def test_a_worker_without_its_lease_writes_nothing_however_often_it_tries(stand: Stand) -> None:
    job = await stand.submit([["report", 1, 2]])
    async with stand.worker():
        await stand.ended(job)
    told = await stand.history(job)

    async def holds() -> bool:
        return False

    nats = await streams.connect(stand.nats_url, "zombie")
    try:
        # It knows no last position: as after a publication in whose middle the worker was stopped.
        log = AttemptLog(nats.jetstream(), job, 5.0, holds)
        for position in (8, 9):
            with pytest.raises(LeaseLost):
                await log.publish_progress(pb.Progress(done=2, total=2, position=position))
    finally:
        await nats.close()
    assert await stand.history(job) == told
