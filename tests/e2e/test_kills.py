"""Workers killed with -9 in the middle: the job ends once, with the files of an undisturbed run."""

import asyncio
import signal

import psutil
import pytest

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body, Faults
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.killing import assert_second_attempt_won, kill_the_runner
from tests.e2e.support import BIG_DATASET, Product

REFETCH_BYTES = 16 * 2**20


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
@pytest.mark.parametrize("area", [Area.DATASETS, Area.MODELS])
async def test_a_download_survives_and_fetches_little_again(
    product: Product, stack: Stack, faults: Faults, area: Area
) -> None:
    undisturbed = await product.download_slow(area)
    await product.succeeded(undisturbed.id)
    files = product.digest(area, undisturbed.resource_id)
    size = faults.bytes_sent()
    await product.delete(area, undisturbed.resource_id)

    faults.requests.clear()
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=3 * 2**20))
    job = await product.download_slow(area)
    await product.until(job.id, lambda progress: progress.done > progress.total / 2 > 0)
    await kill_the_runner(product, stack, job.id)
    faults.clear()
    assert_second_attempt_won(await product.ended(job.id))
    assert product.digest(area, job.resource_id) == files
    assert faults.bytes_sent() <= size + REFETCH_BYTES
    await product.delete(area, job.resource_id)


def signal_worker(worker: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a worker and its child, as when their machine falls asleep or wakes up."""
    for process in [*worker.children(recursive=True), worker]:
        process.send_signal(number)


async def events(product: Product, job_id: str) -> list[job_pb2.JobEvent]:
    """All that the log has of the job."""
    request = jobs_service_pb2.ListJobEventsRequest(id=job_id, page_size=500)
    return list((await product.jobs.ListJobEvents(request)).events)


@pytest.mark.faults
async def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(
    product: Product, stack: Stack, faults: Faults
) -> None:
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=2**20))
    started = await product.download_slow(Area.DATASETS)
    await product.until(started.id, lambda progress: progress.done > 0)
    name = (await product.job(started.id)).attempts[0].worker
    zombie = psutil.Process(stack.process(name).pid)
    signal_worker(zombie, signal.SIGSTOP)
    try:
        faults.clear()
        assert_second_attempt_won(await product.ended(started.id))
        job, dataset = await product.job(started.id), await product.dataset(started.resource_id)
        files, told = product.digest(Area.DATASETS, dataset.id), await events(product, job.id)
    finally:
        signal_worker(zombie, signal.SIGCONT)

    await _works_again(product, stack, name)
    assert product.digest(Area.DATASETS, dataset.id) == files
    assert (await product.job(job.id), await product.dataset(dataset.id)) == (job, dataset)
    assert await events(product, job.id) == told
    await product.delete_dataset(dataset.id)


async def _works_again(product: Product, stack: Stack, name: str) -> None:
    """See the worker `name`, alone, do another job: it is done with what it was at."""
    (other,) = {"datasets-worker-1", "datasets-worker-2"} - {name}
    await asyncio.to_thread(stack.process(other).stop)
    try:
        answer = await product.upload("after.txt", [b"a line\n"])
        assert (await product.succeeded(answer.job.id)).attempts[0].worker == name
    finally:
        await asyncio.to_thread(stack.process(other).start)
