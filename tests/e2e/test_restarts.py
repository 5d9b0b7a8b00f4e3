"""Everything but the worker dies in the middle of a job: the job ends once, and its watcher misses nothing."""

import asyncio
from collections.abc import Callable

import pytest

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_client import Client
from mistudio_local.process import SupervisedProcess
from mistudio_local.stack import Stack
from tests.e2e.killing import settled
from tests.e2e.support import BIG_DATASET, Product


def kill(process: SupervisedProcess) -> None:
    process.kill()
    process.wait_ready()


def restart(process: SupervisedProcess) -> None:
    process.restart()


@pytest.mark.faults
@pytest.mark.parametrize("disturb", [kill, restart])
@pytest.mark.parametrize("name", ["datasets", "gateway-1", "nats", "postgres"])
async def test_a_running_job_and_its_watcher_survive(
    stack: Stack, product: Product, name: str, disturb: Callable[[SupervisedProcess], None]
) -> None:
    dataset, model = await product.ready_dataset(BIG_DATASET), await product.ready_model()
    answer = await product.tokenize(dataset.id, model.id)
    await product.until(answer.job.id, lambda progress: progress.done > 0)

    async with Client(stack.gateway_targets) as client:
        watch = client.watch_job(answer.job.id)
        positions = []
        disturbed: asyncio.Task[None] | None = None
        async for response in watch:
            disturbed = disturbed or asyncio.create_task(asyncio.to_thread(disturb, stack.process(name)))
            if response.event.HasField("progress"):
                positions.append((response.event.attempt, response.event.progress.position))
        assert disturbed is not None
        await disturbed
    assert positions == sorted(set(positions)), "in order, and nothing twice"

    await settled(stack)
    job = await product.job(answer.job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job
    tokenization = await product.tokenization(answer.tokenization.id)
    assert tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_READY
    assert tokenization.documents == dataset.rows
    await product.delete_tokenization(answer.tokenization.id)
