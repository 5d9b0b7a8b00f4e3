"""An upload survives what happens to its connection, and knows when there is no use in going on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mistudio.datasets.v1 import datasets_service_pb2, datasets_service_pb2_grpc, upload_pb2
from mistudio_client import Client, MistudioCallError
from mistudio_client.uploading import ResumedUpload
from mistudio_servicekit import errors
from mistudio_servicekit.interceptors import abort
from tests.unit.client.conftest import Serve

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (32 * 1024)


class Store(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """Takes bytes; each of `cuts` ends a stream once the store has so many of them."""

    def __init__(self) -> None:
        self.cuts: list[tuple[int, errors.MistudioError | grpc.StatusCode]] = []
        self.refusals: list[errors.MistudioError | grpc.StatusCode] = []
        self.received = b""
        self.known = False
        self.offsets: list[int] = []

    async def UploadDataset(self, parts: AsyncIterator[Any], context: Any) -> Any:
        header = (await anext(aiter(parts))).header
        self.offsets.append(header.offset)
        self.received, self.known = self.received[: header.offset], True
        async for part in parts:
            self.received += part.chunk
            if self.cuts and len(self.received) >= self.cuts[0][0]:
                size, failure = self.cuts.pop(0)
                self.received = self.received[:size]
                await fail(context, failure)
        return datasets_service_pb2.UploadDatasetResponse(size_bytes=len(self.received))

    async def GetUpload(self, request: Any, context: Any) -> Any:
        if self.refusals:
            await fail(context, self.refusals.pop(0))
        if not self.known:
            await abort(context, errors.UploadNotFound("There is none", next_step="Send it"))
        upload = upload_pb2.Upload(request_id=request.request_id, received_bytes=len(self.received))
        return datasets_service_pb2.GetUploadResponse(upload=upload)


async def fail(context: Any, failure: errors.MistudioError | grpc.StatusCode) -> None:
    if isinstance(failure, errors.MistudioError):
        await abort(context, failure)
    await context.abort(failure, "cut")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def client(serve: Serve, store: Store) -> AsyncIterator[Client]:
    _, target = await serve((datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server, store))
    async with Client(target) as connected:
        yield connected


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(CONTENT)
    return path


AWAY = errors.Unavailable("The service is away", next_step="Wait")
MISMATCH = errors.UploadOffsetMismatch("It goes on elsewhere", next_step="Ask")


async def test_a_cut_upload_goes_on_from_what_the_store_has(client: Client, store: Store, file: Path) -> None:
    store.cuts = [(3 * MIB, grpc.StatusCode.UNAVAILABLE), (5 * MIB, AWAY), (7 * MIB, MISMATCH)]
    told: list[int] = []
    answer = await client.upload(file, on_progress=lambda sent, total: told.append(sent))
    assert store.received == CONTENT
    assert (answer.size_bytes, store.offsets) == (len(CONTENT), [0, 3 * MIB, 5 * MIB, 7 * MIB])
    assert told == sorted(set(told))
    assert told[-1] == len(CONTENT)


async def test_a_store_that_lost_all_gets_all_again(client: Client, store: Store, file: Path) -> None:
    store.cuts = [(3 * MIB, AWAY)]
    store.refusals = [errors.UploadNotFound("It is gone", next_step="Send it")]
    await client.upload(file)
    assert (store.received, store.offsets) == (CONTENT, [0, 0])


async def test_it_is_asked_until_somebody_answers(client: Client, store: Store, file: Path) -> None:
    store.cuts, store.refusals = [(3 * MIB, AWAY)], [grpc.StatusCode.UNAVAILABLE] * 5
    await client.upload(file)
    assert (store.received, store.offsets) == (CONTENT, [0, 3 * MIB])


async def test_a_refusal_is_no_cut(client: Client, store: Store, file: Path) -> None:
    store.cuts = [(3 * MIB, errors.DiskFull("The store is full", next_step="Delete something"))]
    with pytest.raises(MistudioCallError) as raised:
        await client.upload(file)
    assert (raised.value.reason, store.offsets) == ("DISK_FULL", [0])


async def test_patience_ends_where_nothing_arrives_any_more(client: Client, store: Store, file: Path) -> None:
    store.cuts = [(3 * MIB, AWAY)] * 1000
    header = datasets_service_pb2.UploadHeader(file_name="rows.jsonl", request_id="mine")
    upload = ResumedUpload(client.datasets, client.target, file, header, patience_seconds=1.0)
    with pytest.raises(MistudioCallError, match="away"):
        await upload.run(begun=False)
    assert 1 < len(store.offsets) < 20


async def test_an_upload_of_an_earlier_process_goes_on(client: Client, store: Store, file: Path) -> None:
    store.received, store.known = CONTENT[:MIB], True
    await client.upload(file, request_id="mine")
    assert (store.received, store.offsets) == (CONTENT, [MIB])


async def test_a_file_that_changes_meanwhile_is_not_mixed(client: Client, store: Store, file: Path) -> None:
    store.cuts = [(3 * MIB, AWAY)]

    def change(sent: int, total: int) -> None:
        if not store.offsets[1:]:
            os.utime(file, ns=(sent, sent))

    with pytest.raises(OSError, match="changed while it was sent"):
        await client.upload(file, on_progress=change)


async def test_without_a_gateway_it_fails_at_once(file: Path) -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(MistudioCallError, match="make up"):
            await client.upload(file)
