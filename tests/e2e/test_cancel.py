"""Cancelling at every stage: over soon, files gone, siblings untouched."""

import pytest

from mistudio.datasets.v1 import datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_local.hub_mirror import Body, Faults
from mistudio_local.stack import Stack
from mistudio_servicekit.storage import Area
from tests.e2e.support import BIG_DATASET, SLOW_DATASET, Product, until_gone


@pytest.mark.parametrize("area", [Area.DATASETS, Area.MODELS])
async def test_a_download_is_cancelled_in_the_middle_and_its_sibling_stays(
    product: Product, faults: Faults, area: Area
) -> None:
    sibling = (await (product.ready_dataset() if area is Area.DATASETS else product.ready_model())).id
    before = product.digest(area, sibling)
    faults.bodies.append(Body(times=None, path="*", bytes_per_second=2 * 2**20))
    job = await product.download_slow(area)
    await product.until(job.id, lambda progress: progress.done > 0)
    await product.cancelled_soon(job.id)
    await until_gone(product.folder(area, job.resource_id))
    assert product.epochs(area, job.resource_id) == []
    assert product.digest(area, sibling) == before


async def test_a_tokenization_is_cancelled_and_its_sibling_stays(product: Product) -> None:
    big, small, model = (
        await product.ready_dataset(BIG_DATASET), await product.ready_dataset(), await product.ready_model()
    )  # fmt: skip
    sibling = await product.tokenize(small.id, model.id)
    await product.succeeded(sibling.job.id)
    before = product.digest(Area.TOKENIZATIONS, sibling.tokenization.id)
    answer = await product.tokenize(big.id, model.id)
    await product.until(answer.job.id, lambda progress: progress.done > 0)
    await product.cancelled_soon(answer.job.id)
    cancelled = await product.tokenization(answer.tokenization.id)
    assert cancelled.status == tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
    assert product.epochs(Area.TOKENIZATIONS, answer.tokenization.id) == []
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
