"""What queued jobs wait for, and jobs that run in another pool than their kind's."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mistudio.jobs.v1 import job_pb2
from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio.jobs.v1 import jobs_service_pb2_grpc as pb_grpc
from mistudio_jobs import streams
from mistudio_jobs.testing import SERVICE, Stand
from mistudio_servicekit.errors import MalformedFile

MALFORMED = MalformedFile("Row 3 is no JSON", next_step="Repair it").to_record()


async def shown(jobs: pb_grpc.JobsServiceAsyncStub, identifier: object) -> job_pb2.Job:
    """The job as `GetJob` shows it."""
    return (await jobs.GetJob(pb.GetJobRequest(id=str(identifier)))).job


async def present(stand: Stand, count: int) -> None:
    """Wait until `count` workers are there."""
    async with asyncio.timeout(100):
        while len(await stand.engine.workers(None)) != count:
            await asyncio.sleep(0.01)


async def test_a_queued_job_tells_how_many_of_its_pool_are_ahead(
    stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub
) -> None:
    pools = ["cpu", "gpu", "cpu", "cpu", "gpu", "cpu"]
    submitted = [await stand.submit(pool=pool) for pool in pools]
    await stand.cancel(submitted[2])
    ahead = {str(job.id): number for job, number in zip(submitted, [0, 0, None, 1, 1, 2], strict=True)}
    for identifier, number in ahead.items():
        job = await shown(jobs, identifier)
        assert (job.wait.ahead if job.HasField("wait") else None) == number
    for size in (100, 2):
        listed: list[job_pb2.Job] = []
        token = ""
        while not listed or token:
            page = await jobs.ListJobs(pb.ListJobsRequest(page_size=size, page_token=token))
            listed, token = [*listed, *page.jobs], page.next_page_token
        assert {job.id: job.wait.ahead if job.HasField("wait") else None for job in listed} == ahead


async def test_it_tells_in_words_whether_there_is_a_worker_for_it(
    stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub, tmp_path: Path
) -> None:
    first, second = await stand.submit(pool="gpu"), await stand.submit(pool="gpu")
    assert (await shown(jobs, second.id)).wait == job_pb2.JobWait(
        ahead=1, workers=0, reason="no gpu worker is there, start one; 1 ahead"
    )
    assert (await shown(jobs, first.id)).wait.reason == "no gpu worker is there, start one"
    await stand.cancel(first)
    await stand.cancel(second)
    async with stand.worker(pool="gpu"), stand.worker(pool="cpu"):
        await present(stand, 2)
        running = await stand.submit([["wait", str(tmp_path / "go")]], pool="gpu")
        await stand.reached(running, "RUNNING")
        waiting = await stand.submit(pool="gpu")
        assert not (await shown(jobs, running.id)).HasField("wait")
        assert (await shown(jobs, waiting.id)).wait == job_pb2.JobWait(
            ahead=0, workers=1, reason="next in line for a gpu worker"
        )
        behind = await stand.submit(pool="gpu")
        assert (await shown(jobs, behind.id)).wait.reason == "waiting for a gpu worker, 1 ahead"
        (tmp_path / "go").write_text("go")
        await stand.ended(waiting)
        assert not (await shown(jobs, waiting.id)).HasField("wait")


async def test_a_job_runs_in_its_own_pool_whatever_its_kinds_is(stand: Stand) -> None:
    async with stand.worker(pool="cpu", name="c"):
        own = await stand.submit(pool="gpu")
        await stand.ended(await stand.submit())
        assert (await stand.job(own)).state == "QUEUED"
        async with stand.worker(pool="gpu", name="g"):
            done = await stand.ended(own)
    assert (done.state, done.pool) == ("SUCCEEDED", "gpu")


async def test_a_job_whose_doorbell_is_lost_is_dispatched_again_in_its_own_pool(stand: Stand) -> None:
    job = await stand.submit(pool="gpu")
    nats = await streams.connect(stand.nats_url, "test")
    async with asyncio.timeout(100):
        while job.id not in await streams.doorbells(nats.jetstream(), SERVICE):
            await asyncio.sleep(0.01)
        await nats.jetstream().purge_stream(streams.jobs_stream(SERVICE))
        while job.id not in await streams.doorbells(nats.jetstream(), SERVICE):
            await asyncio.sleep(0.01)
    await nats.close()
    async with stand.worker(pool="gpu"):
        assert (await stand.ended(job)).state == "SUCCEEDED"


async def test_a_retried_job_runs_in_its_own_pool_again(stand: Stand) -> None:
    async with stand.worker(pool="gpu"):
        job = await stand.submit(pool="gpu", payload={"attempt 1": [["fail", MALFORMED]], "steps": []})
        assert (await stand.ended(job)).state == "FAILED"
        async with stand.engine.transaction() as session:
            await stand.engine.retry(session, job.id)
        assert (await stand.ended(job)).state == "SUCCEEDED"
