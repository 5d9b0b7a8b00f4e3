"""Calls have deadlines, are retried where that is harmless, and fail with everything the service said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, datasets_service_pb2_grpc, sample_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_client import Client, MistudioCallError, has_ended
from mistudio_servicekit import errors
from mistudio_servicekit.interceptors import abort
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import JOB_ID, a_job

MiB = 1024 * 1024


class Datasets(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """Fails `failures` in turn, then answers; keeps what it was sent."""

    def __init__(self) -> None:
        self.failures: list[errors.MistudioError | grpc.StatusCode] = []
        self.deadlines: list[float | None] = []
        self.header = datasets_service_pb2.UploadHeader()
        self.chunks: list[bytes] = []

    async def GetDataset(self, request: Any, context: Any) -> Any:
        await self._fail(context)
        return datasets_service_pb2.GetDatasetResponse(dataset=dataset_pb2.Dataset(id=request.id))

    async def ListSamples(self, request: Any, context: Any) -> Any:
        await self._fail(context)
        return datasets_service_pb2.ListSamplesResponse()

    async def GetSample(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._fail(context)
        yield datasets_service_pb2.GetSampleResponse(content=sample_pb2.SampleContent(chunk=b"a cell"))

    async def DeleteDataset(self, request: Any, context: Any) -> Any:
        await self._fail(context)
        return datasets_service_pb2.DeleteDatasetResponse()

    async def UploadDataset(self, parts: AsyncIterator[Any], context: Any) -> Any:
        self.header = (await anext(aiter(parts))).header
        await self._fail(context)
        self.chunks = [part.chunk async for part in parts]
        return datasets_service_pb2.UploadDatasetResponse(size_bytes=sum(map(len, self.chunks)))

    async def _fail(self, context: Any) -> None:
        self.deadlines.append(context.time_remaining())
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, errors.MistudioError):
            await abort(context, failure)
        if failure:
            await context.abort(failure, "no details")


@pytest.fixture
def datasets() -> Datasets:
    return Datasets()


@pytest.fixture
async def client(serve: Serve, datasets: Datasets) -> AsyncIterator[Client]:
    _, target = await serve((datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server, datasets))
    async with Client(target) as connected:
        yield connected


GET = datasets_service_pb2.GetDatasetRequest(id="7")
DELETE = datasets_service_pb2.DeleteDatasetRequest(id="7")


async def test_a_refusal_carries_all_that_the_service_said(client: Client, datasets: Datasets) -> None:
    refusal = errors.MalformedId.of("id", "7")
    datasets.failures = [refusal]
    with pytest.raises(MistudioCallError) as raised:
        await client.datasets.GetDataset(GET)
    error = raised.value
    assert (error.code, error.reason, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_ID", "id")
    assert error.message == str(error) == refusal.message
    assert error.metadata == {"value": "7"}
    assert error.retry_after is None


async def test_an_error_says_after_how_long_a_retry_helps(client: Client, datasets: Datasets) -> None:
    datasets.failures = [errors.HubRateLimited("Too many requests", next_step="Wait", retry_after_seconds=2.5)]
    with pytest.raises(MistudioCallError) as raised:
        await client.datasets.DeleteDataset(DELETE)
    assert raised.value.retry_after == 2.5


async def test_a_failure_that_no_service_worded_names_the_gateway_and_the_next_step() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(MistudioCallError, match=r"gateway 127\.0\.0\.1:1 did not answer .*make up") as raised:
            await client.datasets.DeleteDataset(DELETE)
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_reading_calls_are_tried_again_and_others_are_not(client: Client, datasets: Datasets) -> None:
    datasets.failures = [grpc.StatusCode.UNAVAILABLE] * 2
    assert (await client.datasets.GetDataset(GET)).dataset.id == "7"
    datasets.failures = [grpc.StatusCode.UNAVAILABLE]
    with pytest.raises(MistudioCallError):
        await client.datasets.DeleteDataset(DELETE)


async def test_every_call_has_a_deadline_and_keeps_its_own(client: Client, datasets: Datasets) -> None:
    await client.datasets.GetDataset(GET)
    await client.datasets.GetDataset(GET, timeout=5)
    first, second = datasets.deadlines
    assert first is not None and 20 < first <= 31
    assert second is not None and second <= 6


async def test_a_search_has_the_time_to_read_a_whole_dataset(client: Client, datasets: Datasets) -> None:
    await client.datasets.ListSamples(datasets_service_pb2.ListSamplesRequest())
    assert datasets.deadlines[0] is not None and 80 < datasets.deadlines[0] <= 91


async def test_a_cell_comes_in_pieces_or_fails_with_all_that_the_service_said(
    client: Client, datasets: Datasets
) -> None:
    pieces = [piece async for piece in client.sample_content("7", 3, column="text")]
    assert b"".join(piece.chunk for piece in pieces) == b"a cell"
    datasets.failures = [errors.RowNotFound("There are 3 rows", next_step="Use 0 to 2")]
    with pytest.raises(MistudioCallError) as raised:
        await anext(client.sample_content("7", 3))
    assert raised.value.reason == "ROW_NOT_FOUND"


async def test_an_upload_arrives_whole_in_small_pieces(client: Client, datasets: Datasets, tmp_path: Path) -> None:
    content = bytes(range(256)) * (10 * 1024) + b"the end"
    (tmp_path / "rows.jsonl").write_bytes(content)
    told: list[tuple[int, int]] = []
    answer = await client.upload(
        tmp_path / "rows.jsonl", name="Rows", on_progress=lambda sent, total: told.append((sent, total))
    )
    assert b"".join(datasets.chunks) == content
    assert max(map(len, datasets.chunks)) <= MiB
    assert (datasets.header.file_name, datasets.header.name) == ("rows.jsonl", "Rows")
    assert datasets.header.size_bytes == answer.size_bytes == len(content)
    assert datasets.header.request_id
    assert told[-1] == (len(content), len(content))


async def test_a_refused_upload_ends_with_the_services_error(
    client: Client, datasets: Datasets, tmp_path: Path
) -> None:
    datasets.failures = [errors.DiskFull("The store has 1 byte free", next_step="Delete something")]
    (tmp_path / "big.parquet").write_bytes(b"x" * (64 * MiB))
    with pytest.raises(MistudioCallError) as raised:
        await client.upload(tmp_path / "big.parquet")
    assert raised.value.reason == "DISK_FULL"


async def test_waiting_for_a_job_that_has_ended_gives_it_at_once(serve: Serve) -> None:
    class Jobs(jobs_service_pb2_grpc.JobsServiceServicer):
        async def GetJob(self, request: Any, context: Any) -> Any:
            return jobs_service_pb2.GetJobResponse(job=a_job(40, job_pb2.JOB_STATE_FAILED))

    jobs = Jobs()
    _, target = await serve((jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, jobs))
    async with Client(target) as client:
        job = await client.wait(JOB_ID)
    assert has_ended(job)
    assert job.state == job_pb2.JOB_STATE_FAILED


def test_an_unknown_host_among_several_gateways_is_named() -> None:
    with pytest.raises(MistudioCallError, match=r"gateway nowhere\.invalid:50050 is not known"):
        Client(["127.0.0.1:50050", "nowhere.invalid:50050"])
