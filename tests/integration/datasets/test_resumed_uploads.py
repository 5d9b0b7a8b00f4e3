"""Uploads that go on where they were cut."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, upload_pb2
from mistudio_datasets.domain.uploads import BLOCK_BYTES
from mistudio_datasets.service.upload_expiry import sweep_uploads
from mistudio_datasets.store import SCHEMA
from mistudio_datasets.store.folders import named_folders
from mistudio_servicekit.database import Database
from mistudio_servicekit.storage import Area

from .service_client import Service

LINE = json.dumps({"text": "row", "n": 12345}).encode() + b"\n"
JSONL = LINE * 40_000
CUT = 123_457
MIB = 1 << 20


def parquet() -> bytes:
    noise = random.Random(5)  # test data, no key
    buffer = io.BytesIO()
    pq.write_table(pa.table({"noise": [noise.randbytes(1000) for _ in range(12_000)]}), buffer, compression="none")
    return buffer.getvalue()


def header(content: bytes = JSONL, **fields: Any) -> datasets_service_pb2.UploadHeader:
    given = {"file_name": "rows.jsonl", "request_id": "mine", "size_bytes": len(content), **fields}
    return datasets_service_pb2.UploadHeader(**given)


def pieces(content: bytes) -> list[bytes]:
    return [content[at : at + MIB] for at in range(0, len(content), MIB)]


class Stream:
    """A stream of an upload that is sent piece by piece, and stays open until it is cut or ended."""

    def __init__(self, service: Service, header: datasets_service_pb2.UploadHeader) -> None:
        self._parts: asyncio.Queue[datasets_service_pb2.UploadDatasetRequest | None] = asyncio.Queue()
        self._parts.put_nowait(datasets_service_pb2.UploadDatasetRequest(header=header))
        self.call = service.datasets.UploadDataset(self._sent())

    async def _sent(self) -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
        while (part := await self._parts.get()) is not None:
            yield part

    def send(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self._parts.put_nowait(datasets_service_pb2.UploadDatasetRequest(chunk=chunk))

    def end(self) -> None:
        self._parts.put_nowait(None)

    async def cut(self) -> None:
        self.call.cancel()
        with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
            await self.call


async def upload_of(service: Service, request_id: str = "mine") -> upload_pb2.Upload:
    request = datasets_service_pb2.GetUploadRequest(request_id=request_id)
    return (await service.datasets.GetUpload(request)).upload


async def until(service: Service, reached: Callable[[upload_pb2.Upload], bool]) -> upload_pb2.Upload:
    async with asyncio.timeout(100):
        while True:
            try:
                upload = await upload_of(service)
            except grpc.RpcError:
                upload = upload_pb2.Upload()
            if reached(upload):
                return upload
            await asyncio.sleep(0.02)


async def cut_after(service: Service, content: bytes, size: int, **fields: Any) -> upload_pb2.Upload:
    """Send the first `size` bytes of `content`, then cut; the upload once it has them."""
    offset = fields.get("offset", 0)
    stream = Stream(service, header(content, **fields))
    stream.send(pieces(content[offset:size]))
    await until(service, lambda upload: bool(upload.request_id))
    await arrived(service, stream, size)
    await stream.cut()
    return await until(service, lambda upload: upload.received_bytes == size)


async def arrived(service: Service, stream: Stream, size: int) -> None:
    """Wait until the service has all `size` bytes: each second it notes how far it is when another chunk comes."""
    async with asyncio.timeout(100):
        while (await upload_of(service)).received_bytes < size:
            stream.send([b""])
            await asyncio.sleep(0.05)


async def go_on(service: Service, content: bytes, **fields: Any) -> datasets_service_pb2.UploadDatasetResponse:
    """Send the rest of `content`."""
    offset = (await upload_of(service)).received_bytes
    return await service.send(header(content, offset=offset, **fields), pieces(content[offset:]))


def left(service: Service) -> list[str]:
    return [str(path) for path in service.backend.store.root.glob("datasets/*")]


async def test_a_cut_upload_goes_on_where_it_was_cut(working_service: Service) -> None:
    service = working_service
    upload = await cut_after(service, JSONL, CUT)
    assert (upload.received_bytes, upload.size_bytes, upload.file_name) == (CUT, len(JSONL), "rows.jsonl")
    assert (upload.complete, upload.dataset_id) == (False, "")
    assert timedelta(hours=23) < upload.expire_time.ToDatetime(UTC) - datetime.now(UTC) <= timedelta(hours=24)
    answer = await go_on(service, JSONL)
    assert answer.size_bytes == len(JSONL)
    await service.succeeded(answer.job.id)
    dataset = await service.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines) == (40_000, 0)
    assert len(left(service)) == 1
    done = await upload_of(service)
    assert (done.complete, done.dataset_id, done.received_bytes) == (True, dataset.id, len(JSONL))


async def test_a_file_that_was_cut_again_and_again_is_the_same_to_the_byte(working_service: Service) -> None:
    service, content = working_service, parquet()
    cuts = [100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 7, 2 * BLOCK_BYTES + 9, len(content)]
    for before, cut in zip([0, *cuts], cuts, strict=False):
        await cut_after(service, content, cut, file_name="rows.parquet", offset=before)
    answer = await go_on(service, content, file_name="rows.parquet")
    await service.succeeded(answer.job.id)
    (kept,) = service.folder(Area.DATASETS, answer.dataset.id).rglob("upload.parquet")
    assert kept.read_bytes() == content
    again = await service.send(header(content, file_name="rows.parquet"), pieces(content))
    assert again.dataset.id == answer.dataset.id  # its content is known by its digest, however it came


async def test_another_offset_is_refused_and_the_right_one_told(service: Service) -> None:
    error = await service.refusal(service.send(header(offset=5), [JSONL[5:100]]))
    assert (error.code, error.reason, error.field) == ("FAILED_PRECONDITION", "UPLOAD_OFFSET_MISMATCH", "header.offset")
    assert error.metadata["received_bytes"] == "0"
    await cut_after(service, JSONL, CUT)
    for offset in (1, CUT - 1, CUT + 1, len(JSONL)):
        error = await service.refusal(service.send(header(offset=offset), [JSONL[offset : offset + 100]]))
        assert (error.reason, error.metadata["received_bytes"]) == ("UPLOAD_OFFSET_MISMATCH", str(CUT))
        assert f"offset {CUT}" in error.message
    assert (await upload_of(service)).received_bytes == CUT


async def test_offset_0_starts_over(working_service: Service) -> None:
    service = working_service
    await cut_after(service, b"other content" * 100_000, 700_000, size_bytes=0)
    (first,) = left(service)
    answer = await service.send(header(), pieces(JSONL))
    await service.succeeded(answer.job.id)
    assert (await service.dataset(answer.dataset.id)).rows == 40_000
    assert first not in left(service)
    assert len(left(service)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"file_name": "other.jsonl"},
        {"size_bytes": len(JSONL) + 1},
        {"format": dataset_pb2.UPLOAD_FORMAT_TEXT},
        {"name": "other"},
    ],
)
async def test_a_request_id_stands_for_one_file(service: Service, other: dict[str, Any]) -> None:
    await cut_after(service, JSONL, CUT)
    for offset in (0, CUT):
        error = await service.refusal(service.send(header(**{**other, "offset": offset}), [JSONL[offset:]][:0]))
        assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert error.field == f"header.{next(iter(other))}"
    assert (await upload_of(service)).received_bytes == CUT


async def test_offsets_that_cannot_be_right_are_refused(service: Service) -> None:
    for fields in ({"offset": -1}, {"offset": 7, "request_id": ""}):
        error = await service.refusal(service.send(header(**fields), [JSONL[:10]]))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "header.offset")


async def test_an_unknown_upload_is_not_found(service: Service) -> None:
    error = await service.refusal(upload_of(service, "nobody's"))
    assert (error.code, error.reason) == ("NOT_FOUND", "UPLOAD_NOT_FOUND")
    assert "nobody's" in error.message
    error = await service.refusal(upload_of(service, ""))
    assert (error.reason, error.field) == ("MISSING_FIELD", "request_id")
    error = await service.refusal(upload_of(service, "x" * 129))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "request_id")


async def test_who_missed_the_answer_gets_it_at_the_end_of_the_file(service: Service) -> None:
    first = await service.send(header(), pieces(JSONL))
    again = await go_on(service, JSONL)
    assert (again.dataset.id, again.job.id, again.size_bytes) == (first.dataset.id, first.job.id, len(JSONL))
    error = await service.refusal(service.send(header(offset=len(JSONL)), [b"more"]))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "header.size_bytes")
    assert len(left(service)) == 1


async def test_a_stream_that_was_taken_over_changes_nothing_any_more(working_service: Service) -> None:
    service = working_service
    mine, others = LINE * 20_000, b"X" * 3 * MIB
    zombie = Stream(service, header(b"", file_name="rows.txt", size_bytes=0))
    zombie.send(pieces(mine))
    await until(service, lambda upload: bool(upload.request_id))
    await arrived(service, zombie, len(mine))
    # Its bytes come in still, but the upload goes on elsewhere.
    heir = Stream(service, header(b"", file_name="rows.txt", size_bytes=0, offset=len(mine)))
    heir.send(pieces(mine))
    await arrived(service, heir, 2 * len(mine))
    zombie.send(pieces(others))
    zombie.end()
    error = await service.refusal(zombie.call)
    assert (error.reason, error.metadata["received_bytes"]) == ("UPLOAD_OFFSET_MISMATCH", str(2 * len(mine)))
    heir.end()
    answer = await heir.call
    await service.succeeded(answer.job.id)
    dataset = await service.dataset(answer.dataset.id)
    assert (dataset.rows, answer.size_bytes) == (40_000, 2 * len(mine))
    samples = await service.datasets.ListSamples(
        datasets_service_pb2.ListSamplesRequest(dataset_id=dataset.id, offset=19_990)
    )
    assert {sample.values["text"] for sample in samples.samples} == {LINE.decode().strip()}


async def test_a_stream_that_was_started_over_leaves_the_new_one_alone(service: Service) -> None:
    zombie = Stream(service, header())
    zombie.send(pieces(JSONL[:CUT]))
    await until(service, lambda upload: bool(upload.request_id))
    answer = await service.send(header(), pieces(JSONL))
    zombie.send(pieces(JSONL[CUT:]))
    zombie.end()
    error = await service.refusal(zombie.call)
    assert error.reason == "UPLOAD_OFFSET_MISMATCH"
    assert [UUID(path.rpartition("/")[2]) for path in left(service)] == [UUID(answer.dataset.id)]


async def test_a_file_that_ends_too_early_waits_for_its_rest(service: Service) -> None:
    error = await service.refusal(service.send(header(), [JSONL[:CUT]]))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "header.size_bytes")
    assert (await upload_of(service)).received_bytes == CUT
    assert (await go_on(service, JSONL)).size_bytes == len(JSONL)


async def test_a_refused_file_leaves_nothing(service: Service) -> None:
    error = await service.refusal(service.send(header(b"", file_name="a.parquet", size_bytes=0), [b"no parquet"]))
    assert error.reason == "MALFORMED_FILE"
    assert left(service) == []
    assert (await service.refusal(upload_of(service))).reason == "UPLOAD_NOT_FOUND"


async def test_a_full_store_keeps_what_it_took_until_there_is_room(service: Service) -> None:
    content = LINE * 300_000
    object.__setattr__(service.backend.store, "quota_bytes", 5 * MIB)
    error = await service.refusal(service.send(header(content, size_bytes=0), pieces(content)))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    kept = (await upload_of(service)).received_bytes
    assert 0 < kept <= 5 * MIB
    error = await service.refusal(go_on(service, content))
    assert error.reason == "DISK_FULL"
    object.__setattr__(service.backend.store, "quota_bytes", None)
    assert (await go_on(service, content)).size_bytes == len(content)


async def test_an_upload_that_nobody_goes_on_with_expires(service: Service) -> None:
    await cut_after(service, JSONL, CUT)
    database = Database(service.backend.database_url, SCHEMA)
    try:
        (folder,) = left(service)
        async with database.transaction() as session:
            assert await named_folders(session, Area.DATASETS) == {(UUID(folder.rpartition("/")[2]), 0)}
        assert await sweep_uploads(database, service.backend.store) == 0
        with service.database.connect() as connection:
            connection.execute(f"UPDATE {SCHEMA}.uploads SET expires_at = now()")
        error = await service.refusal(service.send(header(offset=CUT), [JSONL[CUT:][:100]]))
        assert (error.reason, error.metadata["received_bytes"]) == ("UPLOAD_OFFSET_MISMATCH", "0")
        assert (await service.refusal(upload_of(service))).reason == "UPLOAD_NOT_FOUND"
        async with database.transaction() as session:
            assert await named_folders(session, Area.DATASETS) == set()
        assert await sweep_uploads(database, service.backend.store) == 1
        assert left(service) == []
        assert await sweep_uploads(database, service.backend.store) == 0
    finally:
        await database.close()


async def test_the_record_of_a_complete_upload_expires_without_its_dataset(working_service: Service) -> None:
    service = working_service
    answer = await service.send(header(), pieces(JSONL))
    await service.succeeded(answer.job.id)
    with service.database.connect() as connection:
        connection.execute(f"UPDATE {SCHEMA}.uploads SET expires_at = now()")
    database = Database(service.backend.database_url, SCHEMA)
    try:
        assert await sweep_uploads(database, service.backend.store) == 0
    finally:
        await database.close()
    assert (await service.dataset(answer.dataset.id)).rows == 40_000
    again = await service.send(header(), pieces(JSONL))
    assert again.dataset.id == answer.dataset.id
