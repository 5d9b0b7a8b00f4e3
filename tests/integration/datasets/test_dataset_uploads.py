"""Taking local files in."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_servicekit.storage import Area

from .service_client import Service, eventually

ROWS = [{"text": f"row {number}", "n": number} for number in range(500)]
SHARED = pytest.mark.asyncio(loop_scope="module")
"""Of tests that use the `shared_service`."""

JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


def _csv() -> bytes:
    return b"text,n\n" + b"".join(f"row {number},{number}\n".encode() for number in range(500))


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("rows.jsonl", JSONL, ["text", "n"]),
        ("rows.csv", _csv(), ["text", "n"]),
        ("rows.parquet", _parquet(), ["text", "n"]),
        ("rows.txt", b"a line\n" * 500, ["text"]),
    ],
)
@SHARED
async def test_a_file_becomes_a_dataset_and_its_upload_goes(
    shared_service: Service, name: str, content: bytes, columns: list[str]
) -> None:
    answer = await shared_service.upload(name, content, size_bytes=len(content), chunk_bytes=777)
    assert (answer.size_bytes, answer.dataset.status) == (len(content), dataset_pb2.DATASET_STATUS_PROCESSING)
    await shared_service.succeeded(answer.job.id)
    dataset = await shared_service.dataset(answer.dataset.id)
    assert (dataset.status, dataset.rows, dataset.name) == (dataset_pb2.DATASET_STATUS_READY, 500, name)
    assert [column.name for column in dataset.columns] == columns
    folder = shared_service.folder(Area.DATASETS, dataset.id)
    await eventually(lambda: not (folder / "0").exists())
    assert [path.is_dir() for path in folder.iterdir()] == [True]


@SHARED
async def test_damaged_lines_are_counted_listed_and_kept(shared_service: Service) -> None:
    content = b'{"text": "one"}\n{broken\n{"text": "two"}\n"' + b"x" * 1000 + b'"\n'
    answer = await shared_service.upload("rows.jsonl", content)
    await shared_service.succeeded(answer.job.id)
    dataset = await shared_service.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines) == (2, 2)
    assert [(line.line, len(line.text)) for line in dataset.damaged] == [(2, 8), (4, 200)]
    (kept,) = shared_service.folder(Area.DATASETS, dataset.id).rglob("damaged.jsonl")
    assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [2, 4]


@SHARED
async def test_ragged_rows_of_a_csv_are_set_aside(shared_service: Service) -> None:
    answer = await shared_service.upload("rows.csv", b"text,n\na,1\nb\nc,3\n")
    await shared_service.succeeded(answer.job.id)
    dataset = await shared_service.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines, dataset.damaged[0].line) == (2, 1, 3)
    assert dataset.damaged[0].reason == "1 fields where the header has 2"


def _left(service: Service) -> list[str]:
    return [str(path) for path in service.backend.store.root.glob("datasets/*")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.parquet", b"no parquet at all", "MALFORMED_FILE"),
        ("rows.jsonl", b"", "DATASET_EMPTY"),
        ("rows.bin", b"\0\1\2" * 100, "UNSUPPORTED_FORMAT"),
    ],
)
async def test_a_file_that_is_not_what_it_should_be_is_refused(
    service: Service, name: str, content: bytes, reason: str
) -> None:
    error = await service.refusal(service.upload(name, content))
    assert error.reason == reason
    assert _left(service) == []
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0


@SHARED
async def test_a_parquet_file_without_its_footer_ends_in_error_and_leaves_nothing(shared_service: Service) -> None:
    answer = await shared_service.upload("rows.parquet", _parquet()[:-20])
    job = await shared_service.ended(answer.job.id)
    dataset = await shared_service.dataset(answer.dataset.id)
    assert (dataset.status, dataset.error) == (dataset_pb2.DATASET_STATUS_ERROR, job.error)
    assert (job.error.reason, job.error.failure_class) == ("MALFORMED_FILE", job_pb2.FAILURE_CLASS_VALIDATION)
    await eventually(lambda: not shared_service.folder(Area.DATASETS, dataset.id).exists())
    error = await shared_service.refusal(shared_service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id)))
    assert (error.reason, "Upload the file again" in error.message) == ("JOB_NOT_RETRYABLE", True)


async def test_wrong_headers_and_chunks_are_refused_and_leave_nothing(service: Service) -> None:
    header = datasets_service_pb2.UploadHeader
    calls = {
        "header": service.send(None, []),
        "header.file_name": service.send(header(), [JSONL]),
        "header.size_bytes": service.send(header(file_name="a.jsonl", size_bytes=-1), [JSONL]),
        "chunk": service.send(header(file_name="a.jsonl"), [b"x" * ((1 << 20) + 1)]),
    }
    for field, call in calls.items():
        error = await service.refusal(call)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    for size in (len(JSONL) - 1, len(JSONL) + 1):
        error = await service.refusal(service.send(header(file_name="a.jsonl", size_bytes=size), [JSONL]))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "header.size_bytes")
    assert _left(service) == []


async def test_a_second_header_is_refused(service: Service) -> None:
    header = datasets_service_pb2.UploadDatasetRequest(header=datasets_service_pb2.UploadHeader(file_name="a.jsonl"))
    error = await service.refusal(service.datasets.UploadDataset(iter([header, header])))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "chunk")


async def test_an_upload_that_is_cut_leaves_nothing(service: Service) -> None:
    arrived = asyncio.Event()

    async def parts() -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
        """An endless stream, cut below."""
        yield datasets_service_pb2.UploadDatasetRequest(
            header=datasets_service_pb2.UploadHeader(file_name="rows.jsonl")
        )
        while not arrived.is_set():
            yield datasets_service_pb2.UploadDatasetRequest(chunk=JSONL)
            arrived_now = list(service.backend.store.root.glob("datasets/*/0/upload"))
            if arrived_now:
                arrived.set()
        await asyncio.Event().wait()

    call = service.datasets.UploadDataset(parts())
    await arrived.wait()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await call
    await eventually(lambda: not _left(service))
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0


async def test_uploads_without_a_size_that_are_all_cut_at_once_are_never_taken_for_whole(service: Service) -> None:
    async def cut(number: int) -> None:
        header = datasets_service_pb2.UploadHeader(file_name=f"rows{number}.jsonl")
        call = service.datasets.UploadDataset()
        await call.write(datasets_service_pb2.UploadDatasetRequest(header=header))
        await call.write(datasets_service_pb2.UploadDatasetRequest(chunk=JSONL))
        all_sent.release()
        await cutting.wait()
        call.cancel()

    all_sent, cutting = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(cut(number))
        for _ in range(100):
            await all_sent.acquire()
        cutting.set()
    await eventually(lambda: not _left(service))
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0


async def test_a_full_store_refuses_an_upload_before_and_during_it(service: Service) -> None:
    object.__setattr__(service.backend.store, "quota_bytes", 10_000)
    for size in (1_000_000, 0):
        error = await service.refusal(service.upload("rows.jsonl", JSONL * 200, size_bytes=size))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    assert _left(service) == []


async def test_the_same_request_id_takes_the_same_file_once(service: Service) -> None:
    first = await service.upload("rows.jsonl", JSONL, request_id="mine")
    again = await service.upload("rows.jsonl", JSONL, chunk_bytes=99, request_id="mine")
    assert (again.dataset.id, again.job.id) == (first.dataset.id, first.job.id)
    assert len(_left(service)) == 1
    error = await service.refusal(service.upload("rows.jsonl", JSONL + b'{"text": "more"}\n', request_id="mine"))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert len(_left(service)) == 1


async def test_a_cancelled_upload_leaves_no_file(service: Service) -> None:
    answer = await service.upload("rows.jsonl", JSONL)
    await service.datasets.CancelDataset(datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id))
    await service.start_worker()
    await eventually(lambda: not service.folder(Area.DATASETS, answer.dataset.id).exists())
    assert (await service.dataset(answer.dataset.id)).status == dataset_pb2.DATASET_STATUS_CANCELLED


async def test_a_file_name_is_never_a_path(working_service: Service) -> None:
    answer = await working_service.upload("../../../tmp/evil.jsonl", JSONL)
    await working_service.succeeded(answer.job.id)
    assert {entry.name for entry in working_service.backend.store.root.iterdir()} == {"datasets"}
    assert (await working_service.dataset(answer.dataset.id)).name == "../../../tmp/evil.jsonl"
