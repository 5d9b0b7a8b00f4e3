"""The lines that could not be read, whole, of uploads and of the Hub's files."""

import json
from typing import Any

import pytest

from mistudio.datasets.v1 import datasets_service_pb2

from .served_hub import Hub
from .service_client import Service

SHARED = pytest.mark.asyncio(loop_scope="module")
"""Of tests that use the `shared_service`."""

MIB = 1 << 20
LONG = b'{"text": "' + b"caf\xc3\xa9 " * 300_000 + b"\n"
LATIN = b'{"text": "caf\xe9"}\n'


async def chunks_of(service: Service, dataset_id: str) -> list[bytes]:
    request = datasets_service_pb2.ReadDamagedLinesRequest(dataset_id=dataset_id)
    return [answer.chunk async for answer in service.datasets.ReadDamagedLines(request)]


async def listed(service: Service, dataset_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(await chunks_of(service, dataset_id)).splitlines()]


@SHARED
async def test_every_damaged_line_is_read_whole(shared_service: Service) -> None:
    service = shared_service
    answer = await service.upload("rows.jsonl", b'{"text": "good"}\n' + LONG + LATIN)
    await service.succeeded(answer.job.id)
    dataset = await service.dataset(answer.dataset.id)
    assert (dataset.rows, dataset.damaged_lines) == (1, 2)
    chunks = await chunks_of(service, dataset.id)
    assert len(chunks) > 1
    assert max(map(len, chunks)) <= MIB
    first, second = await listed(service, dataset.id)
    assert (first["file"], first["line"], first["byte_offset"], first["byte_count"]) == ("rows.jsonl", 2, 17, len(LONG))
    assert first["text"].encode() == LONG
    assert (second["text"], second["base64"], second["reason"]) == (
        None, "eyJ0ZXh0IjogImNhZukifQo=", "not UTF-8 at byte 13 of the line"
    )  # fmt: skip
    assert [(line.line, line.reason) for line in dataset.damaged] == [(2, first["reason"]), (3, second["reason"])]


@SHARED
async def test_a_dataset_without_damage_has_none_to_read(shared_service: Service) -> None:
    answer = await shared_service.upload("rows.jsonl", b'{"text": "good"}\n')
    await shared_service.succeeded(answer.job.id)
    assert await chunks_of(shared_service, answer.dataset.id) == []


async def test_damaged_lines_of_the_hubs_files_are_read_as_well(working_service: Service, hub: Hub) -> None:
    folder = hub.root / "datasets" / "tests" / "damaged"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(b'{"text": "good"}\n{broken\n')
    dataset = await working_service.ready("tests/damaged")
    assert (dataset.rows, dataset.damaged_lines) == (1, 1)
    (line,) = await listed(working_service, dataset.id)
    assert (line["file"], line["line"], line["text"]) == ("train.jsonl", 2, "{broken\n")


@pytest.mark.parametrize(
    ("dataset_id", "code", "reason"),
    [
        ("", "INVALID_ARGUMENT", "MISSING_FIELD"),
        ("no-id", "INVALID_ARGUMENT", "MALFORMED_ID"),
        ("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e", "NOT_FOUND", "DATASET_NOT_FOUND"),
    ],
)
async def test_there_must_be_such_a_dataset(service: Service, dataset_id: str, code: str, reason: str) -> None:
    error = await service.refusal(chunks_of(service, dataset_id))
    assert (error.code, error.reason) == (code, reason)


async def test_the_dataset_must_be_ready(service: Service) -> None:
    answer = await service.upload("rows.jsonl", b'{"text": "good"}\n')
    error = await service.refusal(chunks_of(service, answer.dataset.id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DATASET_NOT_READY")
    assert str(answer.job.id) in error.message
