"""Searching the rows of a dataset for words."""

from __future__ import annotations

import json

import pytest

from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import derived_data_pb2, sample_pb2
from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHATS = [
    {"title": "weather", "messages": [{"role": "user", "content": "Rain in Paris?"}, {"role": "bot", "content": "No"}]},
    {"title": "rain rain", "messages": []},
    {"title": "東京の天気", "messages": [{"role": "user", "content": "Sun in Rome; no RAIN"}]},
    {"title": None, "messages": None},
]


async def _search(service: Service, dataset_id: str, words: str, **fields: object) -> pb.ListSamplesResponse:
    columns = fields.pop("columns", ())
    query = sample_pb2.SampleQuery(words=words, search_columns=columns)  # type: ignore[arg-type]  # a list of names
    return await service.datasets.ListSamples(
        pb.ListSamplesRequest(dataset_id=dataset_id, query=query, **fields)  # type: ignore[arg-type]  # as the test says
    )


async def _uploaded(service: Service) -> str:
    lines = "\n".join(json.dumps(chat) for chat in CHATS)
    answer = await service.upload("chats.jsonl", lines.encode())
    await service.succeeded(answer.job.id)
    return answer.dataset.id


async def test_the_first_search_is_answered_at_once_and_builds_the_index_for_the_next(
    shared_service: Service,
) -> None:
    dataset_id = await _uploaded(shared_service)
    first = await _search(shared_service, dataset_id, "rain")
    assert first.ranking == sample_pb2.RANKING_SCAN
    await shared_service.succeeded(first.word_index_job_id)
    second = await _search(shared_service, dataset_id, "rain")
    assert (second.ranking, second.word_index_job_id) == (sample_pb2.RANKING_INDEX, "")
    for answer in (first, second):
        assert sorted(sample.row for sample in answer.samples) == [0, 1, 2]
        assert (answer.total_size, answer.samples[0].row) == (3, 1)
        assert answer.samples[0].score > answer.samples[2].score > 0
    assert (await shared_service.dataset(dataset_id)).word_index.status == derived_data_pb2.DERIVED_STATUS_READY


@pytest.mark.parametrize("indexed", [False, True])
async def test_words_phrases_and_columns_with_and_without_the_index(shared_service: Service, indexed: bool) -> None:
    service = shared_service
    dataset_id = await _uploaded(service)
    if indexed:
        answer = await service.datasets.CreateWordIndex(pb.CreateWordIndexRequest(dataset_id=dataset_id))
        await service.succeeded(answer.job.id)

    async def rows(words: str, *columns: str) -> list[int]:
        return sorted(sample.row for sample in (await _search(service, dataset_id, words, columns=columns)).samples)

    assert await rows('"rain in paris"') == [0]
    assert await rows("paris rome") == [0, 2]
    assert await rows("rain", "messages") == [0, 2]
    assert await rows("天気") == [2]
    assert await rows('+rain -absent* AND "') == [0, 1, 2]
    pages = [await _search(service, dataset_id, "rain", page_size=1)]
    while pages[-1].next_page_token:
        token = pages[-1].next_page_token
        pages.append(await _search(service, dataset_id, "rain", page_size=1, page_token=token))
    assert sorted(page.samples[0].row for page in pages) == [0, 1, 2]
    for words, columns, reason in (
        ("?!", (), "INVALID_SEARCH"),
        (" ".join(f"w{number}" for number in range(101)), (), "INVALID_SEARCH"),
        ("rain", ("nope",), "COLUMN_NOT_FOUND"),
    ):
        assert (await service.refusal(_search(service, dataset_id, words, columns=columns))).reason == reason


async def test_a_dataset_without_text_cannot_be_searched(shared_service: Service) -> None:
    dataset = await shared_service.ready(Hub.numbers)
    error = await shared_service.refusal(_search(shared_service, dataset.id, "one"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_SEARCH")


async def test_an_index_that_was_cancelled_is_not_started_again_by_every_search(shared_service: Service) -> None:
    service = shared_service
    dataset = await service.ready(Hub.big)
    job = (await service.datasets.CreateWordIndex(pb.CreateWordIndexRequest(dataset_id=dataset.id))).job
    await service.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=job.id))
    await service.ended(job.id)
    for _ in range(2):
        found = await _search(service, dataset.id, "python")
        assert (found.ranking, found.word_index_job_id) == (sample_pb2.RANKING_SCAN, "")
        assert found.total_size > 0


async def test_a_deleted_dataset_is_no_longer_searched(shared_service: Service) -> None:
    service = shared_service
    dataset_id = await _uploaded(service)
    first = await _search(service, dataset_id, "rain")
    await service.succeeded(first.word_index_job_id)
    await _search(service, dataset_id, "rain")
    resource = (await service.job(first.word_index_job_id)).resource_id
    gone = await service.datasets.DeleteDataset(pb.DeleteDatasetRequest(id=dataset_id))
    await service.succeeded(gone.job.id)
    assert not service.folder(Area.DERIVED, resource).exists()
    assert (await service.refusal(_search(service, dataset_id, "rain"))).reason == "DATASET_NOT_FOUND"
