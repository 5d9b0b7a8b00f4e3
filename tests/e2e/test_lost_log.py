"""NATS loses all its data: no job is lost with it, and watchers are told."""

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.stack import Stack
from tests.e2e.support import Product
from tests.refusals import refusal


@pytest.fixture
def no_workers(stack: Stack) -> Iterator[None]:
    """What the datasets service is asked for waits, until the test has ended at the latest."""
    stack.scale("datasets-worker", 0)
    yield
    stack.scale("datasets-worker", 2)


def _lose_everything(stack: Stack) -> None:
    assert stack.nats is not None
    stack.nats.stop()
    shutil.rmtree(stack.nats.folder / "jetstream")
    stack.nats.start()


@pytest.mark.faults
async def test_queued_jobs_run_old_watches_end_and_new_ones_work(
    product: Product, stack: Stack, no_workers: None
) -> None:
    answer = await product.upload("waiting.txt", [b"a line\n"])
    watch = product.watch(answer.job.id)
    snapshot = await anext(watch)
    assert snapshot.snapshot.state == job_pb2.JOB_STATE_QUEUED
    await asyncio.to_thread(_lose_everything, stack)

    for ended in (watch, product.watch(answer.job.id, snapshot.resume_token)):
        error = await refusal(_drained(ended))
        assert (error.code, error.reason) == ("DATA_LOSS", "LOG_REPLACED")

    states = []
    scaling = asyncio.create_task(asyncio.to_thread(stack.scale, "datasets-worker", 2))
    async for response in product.watch(answer.job.id):
        changed = response.snapshot if response.HasField("snapshot") else response.event.state_changed
        states += [changed.state] if changed.state else []
    await scaling
    assert states[-1] == job_pb2.JOB_STATE_SUCCEEDED
    assert (await product.job(answer.job.id)).attempt == 1


async def _drained(watch) -> list[jobs_service_pb2.WatchJobResponse]:
    return [response async for response in watch]
