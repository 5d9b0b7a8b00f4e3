"""Word indexes and column statistics, made of datasets in the background."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import derived_data_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .made_rows import Rows
from .served_hub import Hub
from .service_client import Service, eventually

KINDS = ("word_index", "column_statistics")
READY = derived_data_pb2.DERIVED_STATUS_READY
PROCESSING = derived_data_pb2.DERIVED_STATUS_PROCESSING
ERROR = derived_data_pb2.DERIVED_STATUS_ERROR


async def _create(
    service: Service, kind: str, dataset_id: str
) -> pb.CreateWordIndexResponse | pb.CreateColumnStatisticsResponse:
    if kind == "word_index":
        return await service.datasets.CreateWordIndex(pb.CreateWordIndexRequest(dataset_id=dataset_id))
    return await service.datasets.CreateColumnStatistics(pb.CreateColumnStatisticsRequest(dataset_id=dataset_id))


async def _of(service: Service, kind: str, dataset_id: str) -> derived_data_pb2.DerivedData:
    dataset = await service.dataset(dataset_id)
    return dataset.word_index if kind == "word_index" else dataset.column_statistics


async def _statistics(service: Service, dataset_id: str, split: str = "", *columns: str):
    request = pb.GetColumnStatisticsRequest(dataset_id=dataset_id, split=split, columns=columns)
    return await service.datasets.GetColumnStatistics(request)


def _is_gone(folder: Path) -> bool:
    return not folder.exists()


async def _stopped(service: Service, hub: Hub, kind: str) -> tuple[str, job_pb2.Job]:
    """A dataset whose derived data was cancelled while it was made."""
    dataset = await service.ready(hub.big)
    job = (await _create(service, kind, dataset.id)).job
    await service.until(job.id, lambda job: job.state == job_pb2.JOB_STATE_RUNNING)
    await service.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=job.id))
    ended = await service.ended(job.id)
    assert ended.state == job_pb2.JOB_STATE_CANCELLED
    return dataset.id, ended


@pytest.mark.parametrize("kind", KINDS)
async def test_all_who_ask_join_one_job_and_its_data_is_shown_with_the_dataset(
    working_service: Service, hub: Hub, kind: str
) -> None:
    service = working_service
    dataset = await service.ready(hub.english)
    assert (await _of(service, kind, dataset.id)).job_id == ""
    answers = await asyncio.gather(*(_create(service, kind, dataset.id) for _ in range(20)))
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    job = await service.succeeded(answers[0].job.id)
    assert (job.kind, job.resource_type) == (f"datasets.{kind}", kind)
    assert job.progress.done == job.progress.total == (1200 if kind == "word_index" else 2400)
    made = await _of(service, kind, dataset.id)
    assert (made.status, made.job_id) == (READY, job.id)
    assert made.size_bytes == job.result["size_bytes"]
    assert made.size_bytes > 0
    again = await _create(service, kind, dataset.id)
    assert (again.joined, again.job.id) == (True, job.id)
    assert (again.dataset.id, again.dataset.rows) == (dataset.id, 1200)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_complete_dataset_is_refused(service: Service, hub: Hub, kind: str) -> None:
    coming = (await service.download(hub.english)).dataset
    for dataset_id, code, reason in (
        ("abc", "INVALID_ARGUMENT", "MALFORMED_ID"),
        (str(new_id()), "NOT_FOUND", "DATASET_NOT_FOUND"),
        (coming.id, "FAILED_PRECONDITION", "DATASET_NOT_READY"),
    ):
        error = await service.refusal(_create(service, kind, dataset_id))
        assert (error.code, error.reason) == (code, reason)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_for_what_is_being_cancelled_is_asked_to_come_back(service: Service, kind: str) -> None:
    rows = Rows(service.database)
    (dataset_id,) = rows.datasets(1)
    rows.being_cancelled((await _create(service, kind, dataset_id)).job.id)
    error = await service.refusal(_create(service, kind, dataset_id))
    assert (error.code, error.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert "is just being cancelled" in error.message


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_it_leaves_no_files_and_can_be_asked_for_afresh(
    working_service: Service, hub: Hub, kind: str
) -> None:
    dataset_id, job = await _stopped(working_service, hub, kind)
    assert (await _of(working_service, kind, dataset_id)).status == ERROR
    await eventually(lambda: not any(working_service.folder(Area.DERIVED, job.resource_id).glob("*")))
    again = await _create(working_service, kind, dataset_id)
    assert (again.joined, again.job.id == job.id) == (False, False)
    shown = await _of(working_service, kind, dataset_id)
    assert (shown.status, shown.job_id) == (PROCESSING, again.job.id)
    refused = await working_service.refusal(working_service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id)))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert again.job.id in refused.message


@pytest.mark.parametrize("kind", KINDS)
async def test_its_job_can_be_retried(working_service: Service, hub: Hub, kind: str) -> None:
    dataset_id, job = await _stopped(working_service, hub, kind)
    await working_service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id))
    assert (await _of(working_service, kind, dataset_id)).status == PROCESSING
    await working_service.succeeded(job.id)
    assert (await _of(working_service, kind, dataset_id)).status == READY


@pytest.mark.parametrize("kind", KINDS)
async def test_deleting_the_dataset_stops_it_and_removes_its_files(
    working_service: Service, hub: Hub, kind: str
) -> None:
    service = working_service
    made = await service.ready(hub.english)
    done = await service.succeeded((await _create(service, kind, made.id)).job.id)
    assert any(service.folder(Area.DERIVED, done.resource_id).iterdir())
    big = await service.ready(hub.big)
    job = (await _create(service, kind, big.id)).job
    await service.until(job.id, lambda job: job.state == job_pb2.JOB_STATE_RUNNING)
    deleted = [await service.datasets.DeleteDataset(pb.DeleteDatasetRequest(id=each.id)) for each in (big, made)]
    assert (await service.ended(job.id)).state == job_pb2.JOB_STATE_CANCELLED
    for answer in deleted:
        await service.succeeded(answer.job.id)
    for resource_id in (done.resource_id, job.resource_id):
        folder = service.folder(Area.DERIVED, resource_id)
        await eventually(partial(_is_gone, folder))
    refused = await service.refusal(service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id)))
    assert refused.reason == "JOB_NOT_RETRYABLE"


async def test_a_failure_is_shown_and_leaves_the_dataset_as_it_is(working_service: Service, hub: Hub) -> None:
    service = working_service
    dataset = await service.ready(hub.english)
    (file,) = service.folder(Area.DATASETS, dataset.id).glob("*/source/train.parquet")
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:4] + b"\xff" * 20_000 + content[20_004:])
    job = await service.ended((await _create(service, "column_statistics", dataset.id)).job.id)
    assert (job.state, job.error.reason) == (job_pb2.JOB_STATE_FAILED, "MALFORMED_FILE")
    assert "train.parquet" in job.error.message
    shown = await service.dataset(dataset.id)
    assert (shown.column_statistics.status, shown.status) == (ERROR, dataset.status)
    error = await service.refusal(_statistics(service, dataset.id))
    assert (error.reason, "afresh" in error.message) == ("COLUMN_STATISTICS_NOT_READY", True)


async def test_statistics_are_exact_for_every_split(working_service: Service, hub: Hub, texts: list[str]) -> None:
    service = working_service
    dataset = await service.ready(hub.english)
    await service.succeeded((await _create(service, "column_statistics", dataset.id)).job.id)
    found = await _statistics(service, dataset.id)
    assert (found.split, [column.column for column in found.columns]) == ("train", ["id", "text"])
    number, text = found.columns
    assert (number.type, number.rows, number.nulls, number.distinct) == ("int64", 1000, 0, 1000)
    assert (number.numbers.min, number.numbers.max, number.numbers.mean) == (0, 999, 499.5)
    assert number.numbers.standard_deviation == pytest.approx(np.arange(1000).std())
    assert sum(bin.rows for bin in number.numbers.histogram) == 1000
    assert {getattr(bin, "from") for bin in number.numbers.histogram} >= {0.0}
    lengths = [len(text) for text in texts[:1000]]
    assert (text.length_unit, text.lengths.max, text.lengths.mean) == ("characters", max(lengths), np.mean(lengths))
    assert (text.distinct, text.distinct_is_exact) == (len(set(texts[:1000])), True)
    assert not text.HasField("numbers")
    assert not text.HasField("trues")
    test = await _statistics(service, dataset.id, "test", "text", "text")
    assert (test.split, [column.rows for column in test.columns]) == ("test", [200])


async def test_statistics_that_cannot_be_shown_say_why(service: Service, hub: Hub) -> None:
    coming = (await service.download(hub.english)).dataset
    error = await service.refusal(_statistics(service, coming.id))
    assert error.reason == "DATASET_NOT_READY"
    for dataset_id, reason in (("abc", "MALFORMED_ID"), (str(new_id()), "DATASET_NOT_FOUND")):
        assert (await service.refusal(_statistics(service, dataset_id))).reason == reason
    await service.start_worker()
    await service.succeeded(coming.job_id)
    error = await service.refusal(_statistics(service, coming.id))
    assert (error.reason, "Call CreateColumnStatistics" in error.message) == ("COLUMN_STATISTICS_NOT_READY", True)
    await service.succeeded((await _create(service, "column_statistics", coming.id)).job.id)
    assert (await service.refusal(_statistics(service, coming.id, "nope"))).reason == "SPLIT_NOT_FOUND"
    error = await service.refusal(_statistics(service, coming.id, "", "text", "nope"))
    assert (error.code, error.reason, "'text'" in error.message) == ("NOT_FOUND", "COLUMN_NOT_FOUND", True)


async def test_statistics_on_their_way_name_the_job_to_wait_for(working_service: Service, hub: Hub) -> None:
    dataset = await working_service.ready(hub.big)
    job = (await _create(working_service, "column_statistics", dataset.id)).job
    error = await working_service.refusal(_statistics(working_service, dataset.id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "COLUMN_STATISTICS_NOT_READY")
    assert f"Wait for job {job.id}" in error.message
