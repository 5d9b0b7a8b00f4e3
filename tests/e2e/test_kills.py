"""Workers killed with -9 in the middle: the job ends once, with the files of an undisturbed run."""

import psutil
import pytest

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_local.hub_mirror import Body, Faults
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.support import BIG_DATASET, SLOW_DATASET, Product

REFETCH_BYTES = 16 * 2**20


def kill_worker(stack: Stack, name: str) -> None:
    """Kill a worker and its child as a crash of their machine would."""
    worker = psutil.Process(stack.process(name).pid)
    children = worker.children(recursive=True)
    worker.kill()
    for child in children:
        child.kill()


async def kill_the_runner(product: Product, stack: Stack, job_id: str) -> None:
    """Kill the worker that runs the job's first attempt."""
    kill_worker(stack, (await product.job(job_id)).attempts[0].worker)


def assert_second_attempt_won(job: job_pb2.Job) -> None:
    assert (job.state, job.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "succeeded"]


@pytest.mark.faults
async def test_a_tokenization_survives_its_workers_death(product: Product, stack: Stack) -> None:
    dataset, model = await product.ready_dataset(BIG_DATASET), await product.ready_model()
    undisturbed = await product.tokenize(dataset.id, model.id)
    await product.succeeded(undisturbed.job.id)
    files = product.digest(Area.TOKENIZATIONS, undisturbed.tokenization.id)
    await product.delete_tokenization(undisturbed.tokenization.id)

    answer = await product.tokenize(dataset.id, model.id)
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await kill_the_runner(product, stack, answer.job.id)
    assert_second_attempt_won(await product.ended(answer.job.id))
    tokenization = await product.tokenization(answer.tokenization.id)
    assert tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_READY
    assert product.digest(Area.TOKENIZATIONS, answer.tokenization.id) == files
    await product.delete_tokenization(answer.tokenization.id)


@pytest.mark.faults
async def test_a_download_survives_and_fetches_little_again(product: Product, stack: Stack, faults: Faults) -> None:
    undisturbed = await product.download_dataset(SLOW_DATASET)
    await product.succeeded(undisturbed.job.id)
    files = product.digest(Area.DATASETS, undisturbed.dataset.id)
    size = faults.bytes_sent()
    await product.delete_dataset(undisturbed.dataset.id)

    faults.requests.clear()
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=3 * 2**20))
    answer = await product.download_dataset(SLOW_DATASET)
    await product.until(answer.job.id, lambda progress: progress.done > progress.total / 2 > 0)
    await kill_the_runner(product, stack, answer.job.id)
    faults.clear()
    assert_second_attempt_won(await product.ended(answer.job.id))
    assert product.digest(Area.DATASETS, answer.dataset.id) == files
    assert faults.bytes_sent() <= size + REFETCH_BYTES
    await product.delete_dataset(answer.dataset.id)
