"""What the models service asks of this one, and what complete tokenizations need of their model: nothing."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2
from mistudio_models.api.datasets_client import DatasetsClient
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .made_rows import Rows
from .served_hub import Hub
from .service_client import Service


@pytest.fixture
async def directory(service: Service) -> AsyncIterator[DatasetsClient]:
    """The models service's view of this service."""
    async with DatasetsClient(service.target) as directory:
        yield directory


async def test_the_models_service_finds_and_stops_what_is_being_made_with_a_model(
    service: Service, directory: DatasetsClient, hub: Hub
) -> None:
    rows, model, job = Rows(service.database), new_id(), (await service.download(hub.english)).job.id
    (dataset,) = rows.datasets(1)
    waiting, ready = rows.tokenization(dataset, "QUEUED"), rows.tokenization(dataset)
    rows.execute("UPDATE tokenizations SET model_id = %s", model)
    other = rows.tokenization(dataset, "QUEUED")
    queued = rows.job_like(job, "datasets.tokenize", waiting)
    rows.execute("UPDATE tokenizations SET job_id = %s WHERE id = %s", queued, waiting)
    assert await directory.running_with([model]) == {model: [UUID(waiting)]}
    assert await directory.running_with([new_id(), model]) == {model: [UUID(waiting)]}
    await directory.cancel(UUID(waiting))
    await directory.cancel(UUID(waiting))  # has ended
    await directory.cancel(new_id())  # is gone
    assert await directory.running_with([model]) == {}
    states = {each: (await service.tokenization(each)).status for each in (waiting, ready, other)}
    assert states == {
        waiting: tokenization_pb2.TOKENIZATION_STATUS_CANCELLED,
        ready: tokenization_pb2.TOKENIZATION_STATUS_READY,
        other: tokenization_pb2.TOKENIZATION_STATUS_QUEUED,
    }


async def test_a_complete_tokenization_is_read_though_its_model_is_gone(
    working_service: Service, hub: Hub, tokenizer: Tokenizer
) -> None:
    service, model = working_service, working_service.models.put(tokenizer)
    dataset = await service.ready(hub.english)
    made = await service.tokenize(dataset.id, model)
    await service.succeeded(made.job.id)
    pb = tokenizations_service_pb2
    sequences = pb.ListSequencesRequest(tokenization_id=made.tokenization.id)
    figures = pb.GetTokenizationStatisticsRequest(id=made.tokenization.id)
    before = await service.tokenizations.ListSequences(sequences)
    service.models.known.clear()
    shutil.rmtree(service.folder(Area.MODELS, model))
    assert await service.tokenizations.ListSequences(sequences) == before
    assert (await service.tokenizations.GetTokenizationStatistics(figures)).statistics.documents == 1000
    assert (await service.tokenization(made.tokenization.id)).status == tokenization_pb2.TOKENIZATION_STATUS_READY
