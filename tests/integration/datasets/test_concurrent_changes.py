"""Creating, cancelling, retrying and deleting at the same moment: every call ends in order, nothing is left over."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import grpc
from tokenizers import Tokenizer

from mistudio.datasets.v1 import datasets_service_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_servicekit.status import error_of_call
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import TERMINAL, Service, eventually

EXPECTED = {
    "DATASET_NOT_FOUND",
    "DATASET_NOT_READY",
    "JOB_NOT_CANCELLABLE",
    "JOB_NOT_RETRYABLE",
    "TOKENIZATION_NOT_FOUND",
    "TOKENIZATION_NOT_READY",
}


async def _reason(call: Awaitable[object]) -> str:
    """Why a call was refused, or nothing."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error_of_call(error).reason
    return ""


async def test_a_dataset_deleted_amid_everything_takes_all_with_it(
    working_service: Service, hub: Hub, tokenizer: Tokenizer
) -> None:
    service, model = working_service, working_service.models.put(tokenizer)
    for _ in range(3):
        dataset = await service.ready(hub.english)
        first = await service.tokenize(dataset.id, model)
        others = [service.models.put(tokenizer) for _ in range(5)]
        cancel = tokenizations_service_pb2.CancelTokenizationRequest(id=first.tokenization.id)
        retry = jobs_service_pb2.RetryJobRequest(id=first.job.id)
        delete = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id, force=True)
        reasons = await asyncio.gather(
            *(_reason(service.tokenize(dataset.id, other)) for other in others),
            _reason(service.tokenizations.CancelTokenization(cancel)),
            _reason(service.jobs.RetryJob(retry)),
            _reason(service.datasets.DeleteDataset(delete)),
            *(_reason(service.tokenize(dataset.id, other)) for other in others),
        )
        assert set(reasons) - {""} <= EXPECTED
        await _all_jobs_ended(service)
        left = await service.tokenizations.ListTokenizations(tokenizations_service_pb2.ListTokenizationsRequest())
        assert left.total_size == 0
        await eventually(lambda: not _folders(service))


def _folders(service: Service) -> list[Path]:
    root = service.backend.store.root
    return [*root.glob(f"{Area.DATASETS}/*"), *root.glob(f"{Area.TOKENIZATIONS}/*")]


async def _all_jobs_ended(service: Service) -> None:
    found = await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest(page_size=500))
    for job in found.jobs:
        if job.state not in TERMINAL:
            await service.ended(job.id)


async def test_equal_downloads_cancelled_and_retried_at_once_leave_one_alive(service: Service, hub: Hub) -> None:
    answer = await service.download(hub.english)
    cancel = datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id)
    for _ in range(5):
        reasons = await asyncio.gather(
            _reason(service.datasets.CancelDataset(cancel)),
            _reason(service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=answer.job.id))),
            *(_reason(service.download(hub.english)) for _ in range(5)),
        )
        assert set(reasons) - {""} <= EXPECTED
    await service.download(hub.english)
    alive = await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest(filter="status = DOWNLOADING"))
    assert alive.total_size == 1
