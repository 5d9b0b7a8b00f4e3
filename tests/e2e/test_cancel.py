"""Cancelling at every stage: over within a second, files gone, siblings untouched."""

import time

from mistudio.datasets.v1 import datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body, Faults
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.support import BIG_DATASET, SLOW_DATASET, Product, until_gone


async def cancelled_within_a_second(product: Product, job_id: str) -> None:
    start = time.perf_counter()
    await product.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=job_id))
    job = await product.ended(job_id)
    seconds = time.perf_counter() - start
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert seconds < 1, f"took {seconds:.2f} s"


async def test_a_download_is_cancelled_in_the_middle(product: Product, faults: Faults) -> None:
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=2 * 2**20))
    answer = await product.download_dataset(SLOW_DATASET)
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await cancelled_within_a_second(product, answer.job.id)
    await until_gone(product.folder(Area.DATASETS, answer.dataset.id) / "1")
    folder = product.folder(Area.DATASETS, answer.dataset.id)
    assert not folder.exists() or not list(folder.iterdir())


async def test_a_tokenization_is_cancelled_and_its_sibling_stays(product: Product) -> None:
    big, small, model = (
        await product.ready_dataset(BIG_DATASET), await product.ready_dataset(), await product.ready_model()
    )  # fmt: skip
    sibling = await product.tokenize(small.id, model.id)
    await product.succeeded(sibling.job.id)
    before = product.digest(Area.TOKENIZATIONS, sibling.tokenization.id)
    answer = await product.tokenize(big.id, model.id)
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await cancelled_within_a_second(product, answer.job.id)
    cancelled = await product.tokenization(answer.tokenization.id)
    assert cancelled.status == tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
    folder = product.folder(Area.TOKENIZATIONS, answer.tokenization.id)
    assert not folder.exists() or not list(folder.iterdir())
    assert product.digest(Area.TOKENIZATIONS, sibling.tokenization.id) == before
    assert (await product.tokenization(sibling.tokenization.id)).status == tokenization_pb2.TOKENIZATION_STATUS_READY


async def test_a_queued_job_is_cancelled_before_any_worker_sees_it(product: Product, stack: Stack) -> None:
    big, model = await product.ready_dataset(BIG_DATASET), await product.ready_model()
    stack.scale("datasets-worker", 0)
    try:
        answer = await product.tokenize(big.id, model.id)
        request = tokenizations_service_pb2.CancelTokenizationRequest(id=answer.tokenization.id)
        cancelled = await product.tokenizations.CancelTokenization(request)
        assert cancelled.job.state == job_pb2.JOB_STATE_CANCELLED
        assert cancelled.tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
    finally:
        stack.scale("datasets-worker", 2)
    assert (await product.job(answer.job.id)).attempt == 0


async def test_what_was_cancelled_can_be_asked_for_again(product: Product, faults: Faults) -> None:
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=2 * 2**20))
    answer = await product.download_dataset(SLOW_DATASET)
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await product.datasets.CancelDataset(datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id))
    await product.ended(answer.job.id)
    faults.clear()
    again = await product.download_dataset(SLOW_DATASET)
    assert again.job.id != answer.job.id
    await product.succeeded(again.job.id)
    await product.delete_dataset(again.dataset.id)
