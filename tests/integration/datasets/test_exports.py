"""Views of tokenizations written as datasets of their own."""

import asyncio
import json
from typing import Any
from uuid import UUID

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import export_pb2, exports_service_pb2, view_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area
from tests.integration.datasets_data.stored_tokens import store_tokens_with_source

from .made_rows import Rows
from .served_hub import Hub
from .service_client import Service

pb = exports_service_pb2

SHARED = pytest.mark.asyncio(loop_scope="module")
"""Of tests that use the `shared_service`."""

PACKED = view_pb2.View(mode=view_pb2.VIEW_MODE_PACKED, context_length=32)


def windows(**fields: Any) -> view_pb2.View:
    return view_pb2.View(mode=view_pb2.VIEW_MODE_WINDOWS, context_length=32, **fields)


async def _export(
    service: Service, tokenization_id: str, view: view_pb2.View = PACKED, **fields: Any
) -> pb.CreateExportResponse:
    request = pb.CreateExportRequest(tokenization_id=tokenization_id, view=view, **fields)
    return await service.exports.CreateExport(request)


async def _get(service: Service, export_id: str) -> export_pb2.Export:
    return (await service.exports.GetExport(pb.GetExportRequest(id=export_id))).export


async def _exported(service: Service, tokenization_id: str, **fields: Any) -> export_pb2.Export:
    answer = await _export(service, tokenization_id, **fields)
    await service.succeeded(answer.job.id)
    return await _get(service, answer.export.id)


def _sequences(service: Service, store_path: str) -> list[list[int]]:
    found: list[list[int]] = datasets.load_from_disk(str(service.backend.store.root / store_path))["input_ids"][:]
    return found


@pytest.fixture
def tokenization(service: Service) -> str:
    """UUID of a tokenization of 200 short documents, and no other thing in the service."""
    return _stored(service)


@pytest.fixture
def shared_tokenization(shared_service: Service) -> str:
    """UUID of such a tokenization for this test alone, in the service that tests share."""
    return _stored(shared_service)


def _stored(service: Service) -> str:
    rows = Rows(service.database)
    (dataset,) = rows.datasets(1)
    made = rows.tokenization(dataset)
    draw = np.random.default_rng(0)
    documents = [draw.integers(3, 50, length).tolist() for length in draw.integers(0, 100, 200)]
    store_tokens_with_source(
        service.backend.store.epoch(Area.TOKENIZATIONS, UUID(made), 1), documents, special={"bos": None, "eos": 2}
    )
    return made


@SHARED
async def test_an_export_opens_unconverted_and_holds_the_sequences_of_the_view(
    shared_service: Service, tokenizer: Tokenizer
) -> None:
    service = shared_service
    dataset = await service.ready(Hub.english)
    tokenized = await service.tokenize(dataset.id, service.models.put(tokenizer), split="test")
    await service.succeeded(tokenized.job.id)
    tokenization = await service.tokenization(tokenized.tokenization.id)
    answer = await _export(service, tokenization.id)
    assert (answer.joined, answer.export.status) == (False, export_pb2.EXPORT_STATUS_QUEUED)
    job = await service.succeeded(answer.job.id)
    made = await _get(service, answer.export.id)
    assert (made.status, made.tokenization_id) == (export_pb2.EXPORT_STATUS_READY, tokenization.id)
    assert (made.view, made.HasField("shuffle_seed")) == (PACKED, False)
    stream = [id_ for ids in _sequences(service, tokenization.store_path) for id_ in ids]
    assert made.sequences == tokenization.tokens // 32 == len(stream) // 32
    expected = [stream[first : first + 32] for first in range(0, made.tokens, 32)]
    assert _sequences(service, made.store_path) == expected
    assert (made.tokens, made.short_sequences) == (made.sequences * 32, 0)
    folder = service.backend.store.root / made.store_path
    assert made.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert (job.kind, job.resource_type) == ("datasets.export", "export")
    assert (job.progress.done, job.progress.total, job.progress.unit) == (made.sequences, made.sequences, "sequences")
    told = json.loads((folder / "sae_lens.json").read_text())
    assert (told["original_dataset"], told["original_split"], told["context_size"]) == (Hub.english, "test", 32)


@SHARED
async def test_a_seed_shuffles_and_is_told_beside_the_sequences(
    shared_service: Service, shared_tokenization: str
) -> None:
    plain = await _exported(shared_service, shared_tokenization)
    shuffled = await _exported(shared_service, shared_tokenization, shuffle_seed=0)
    assert (shuffled.HasField("shuffle_seed"), shuffled.shuffle_seed) == (True, 0)
    first, second = (_sequences(shared_service, made.store_path) for made in (plain, shuffled))
    assert first != second
    assert sorted(first) == sorted(second)
    told = json.loads((shared_service.backend.store.root / shuffled.store_path / "sae_lens.json").read_text())
    assert (told["shuffled"], told["seed"], told["context_size"]) == (True, 0, 32)


@SHARED
async def test_the_same_is_joined_also_where_it_is_spelled_otherwise(
    shared_service: Service, shared_tokenization: str
) -> None:
    answers = await asyncio.gather(*(_export(shared_service, shared_tokenization, windows()) for _ in range(20)))
    assert len({answer.export.id for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    await shared_service.succeeded(answers[0].job.id)
    again = await _export(shared_service, shared_tokenization, windows(stride=32, min_tokens=1))
    assert (again.joined, again.export.id) == (True, answers[0].export.id)
    for view, seed in ((windows(), 1), (windows(stride=16), None), (PACKED, None)):
        other = await _export(shared_service, shared_tokenization, view, shuffle_seed=seed)
        assert not other.joined


async def test_a_request_id_gives_one_answer_and_takes_no_other_content(service: Service, tokenization: str) -> None:
    first = await _export(service, tokenization, request_id="mine")
    again = await _export(service, tokenization, request_id="mine")
    assert again.job.id == first.job.id
    error = await service.refusal(_export(service, tokenization, request_id="mine", shuffle_seed=1))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_what_cannot_be_exported_is_refused_at_once(service: Service, tokenization: str) -> None:
    made = tokenization
    packed, sequence = view_pb2.VIEW_MODE_PACKED, view_pb2.SPECIAL_TOKEN_POLICY_SEQUENCE
    for call, reason, field in (
        (_export(service, "abc"), "MALFORMED_ID", "tokenization_id"),
        (_export(service, ""), "MISSING_FIELD", "tokenization_id"),
        (_export(service, made, view_pb2.View(context_length=32)), "MISSING_FIELD", "view.mode"),
        (_export(service, made, view_pb2.View(mode=packed)), "INVALID_FIELD", "view.context_length"),
        (
            _export(service, made, view_pb2.View(mode=packed, context_length=32, stride=4)),
            "INVALID_FIELD",
            "view.stride",
        ),
        (
            _export(service, made, view_pb2.View(mode=packed, context_length=32, bos=sequence)),
            "INVALID_FIELD",
            "view.bos",
        ),
        (_export(service, made, shuffle_seed=-1), "INVALID_FIELD", "shuffle_seed"),
        (_export(service, made, request_id="x" * 129), "INVALID_FIELD", "request_id"),
    ):
        error = await service.refusal(call)
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)
        assert error.next_step
    error = await service.refusal(_export(service, str(new_id())))
    assert (error.code, error.reason) == ("NOT_FOUND", "TOKENIZATION_NOT_FOUND")
    assert (await service.exports.ListExports(pb.ListExportsRequest())).total_size == 0


async def test_a_tokenization_that_is_not_complete_is_not_exported(service: Service) -> None:
    rows = Rows(service.database)
    (dataset,) = rows.datasets(1)
    for status in ("PROCESSING", "ERROR"):
        error = await service.refusal(_export(service, rows.tokenization(dataset, status)))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "TOKENIZATION_NOT_READY")


async def test_an_unknown_export_is_told_by_every_call(service: Service) -> None:
    export_id = str(new_id())
    for call in (
        service.exports.GetExport(pb.GetExportRequest(id=export_id)),
        service.exports.CancelExport(pb.CancelExportRequest(id=export_id)),
        service.exports.DeleteExport(pb.DeleteExportRequest(id=export_id)),
    ):
        error = await service.refusal(call)
        assert (error.code, error.reason) == ("NOT_FOUND", "EXPORT_NOT_FOUND")


@SHARED
async def test_a_view_without_a_full_sequence_ends_in_error_and_leaves_nothing(
    shared_service: Service, shared_tokenization: str
) -> None:
    view = view_pb2.View(mode=view_pb2.VIEW_MODE_WINDOWS, context_length=1 << 20)
    answer = await _export(shared_service, shared_tokenization, view)
    job = await shared_service.ended(answer.job.id)
    made = await _get(shared_service, answer.export.id)
    assert (made.status, made.error) == (export_pb2.EXPORT_STATUS_ERROR, job.error)
    assert (job.error.reason, job.attempt) == ("VIEW_EMPTY", 1)
    assert "1,048,576 tokens" in job.error.message
    assert not shared_service.folder(Area.EXPORTS, made.id).exists()


async def test_a_cancelled_export_leaves_nothing_and_its_job_can_be_started_afresh(
    service: Service, tokenization: str
) -> None:
    waiting = await _export(service, tokenization)
    stopped = await service.exports.CancelExport(pb.CancelExportRequest(id=waiting.export.id))
    assert stopped.job.state == job_pb2.JOB_STATE_CANCELLED
    assert stopped.export.status == export_pb2.EXPORT_STATUS_CANCELLED
    again = service.exports.CancelExport(pb.CancelExportRequest(id=waiting.export.id))
    assert (await service.refusal(again)).reason == "JOB_NOT_CANCELLABLE"
    assert not service.folder(Area.EXPORTS, waiting.export.id).exists()
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=waiting.job.id))
    assert (await _get(service, waiting.export.id)).status == export_pb2.EXPORT_STATUS_QUEUED
    await service.start_worker()
    await service.succeeded(waiting.job.id)
    made = await _get(service, waiting.export.id)
    assert made.status == export_pb2.EXPORT_STATUS_READY
    assert len(_sequences(service, made.store_path)) == made.sequences


async def test_a_request_for_an_export_that_is_being_cancelled_is_asked_to_come_back(
    service: Service, tokenization: str
) -> None:
    first = await _export(service, tokenization)
    Rows(service.database).being_cancelled(first.job.id)
    error = await service.refusal(_export(service, tokenization))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "EXPORT_NOT_READY")
    assert f"The same export {first.export.id} is just being cancelled" in error.message
    assert error.next_step == "Repeat the call in a second to write it afresh"
    assert error.metadata["subject"] == f"export/{first.export.id}"
    assert not (await _export(service, tokenization, shuffle_seed=1)).joined


async def test_a_cancelled_export_is_not_revived_beside_its_successor(service: Service, tokenization: str) -> None:
    first = await _export(service, tokenization)
    await service.exports.CancelExport(pb.CancelExportRequest(id=first.export.id))
    second = await _export(service, tokenization)
    assert (second.joined, second.export.id != first.export.id) == (False, True)
    error = await service.refusal(service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=first.job.id)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert second.export.id in error.message


async def test_a_deleted_export_is_not_revived(service: Service, tokenization: str) -> None:
    waiting = await _export(service, tokenization)
    await service.exports.DeleteExport(pb.DeleteExportRequest(id=waiting.export.id, etag=waiting.export.etag))
    assert (await service.job(waiting.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    error = await service.refusal(service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=waiting.job.id)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")


@SHARED
async def test_a_deleted_export_goes_alone(shared_service: Service, shared_tokenization: str) -> None:
    service = shared_service
    sibling = await _exported(service, shared_tokenization, shuffle_seed=1)
    made = await _exported(service, shared_tokenization)
    stale = pb.DeleteExportRequest(id=made.id, etag="v0")
    assert (await service.refusal(service.exports.DeleteExport(stale))).code == "ABORTED"
    cleanup = (await service.exports.DeleteExport(pb.DeleteExportRequest(id=made.id, etag=made.etag))).job
    assert (await service.refusal(_get(service, made.id))).reason == "EXPORT_NOT_FOUND"
    await service.succeeded(cleanup.id)
    assert not service.folder(Area.EXPORTS, made.id).exists()
    assert await _get(service, sibling.id) == sibling
    assert len(_sequences(service, sibling.store_path)) == sibling.sequences
    assert (service.folder(Area.TOKENIZATIONS, shared_tokenization) / "1" / "state.json").exists()


async def test_lists_filter_and_order(working_service: Service, tokenization: str) -> None:
    service = working_service
    packed = await _exported(service, tokenization)
    cut = await _exported(service, tokenization, view=windows())
    assert cut.tokens < packed.tokens

    async def listed(**fields: Any) -> list[str]:
        return [export.id for export in (await service.exports.ListExports(pb.ListExportsRequest(**fields))).exports]

    assert await listed() == [cut.id, packed.id]
    for order, expected in (
        ("created_at", [packed.id, cut.id]),
        ("tokens", [cut.id, packed.id]),
        ("size_bytes desc", [packed.id, cut.id]),
    ):
        assert await listed(order_by=order) == expected
    for text, expected in (
        (f"tokenization_id = {tokenization} AND status = READY", [cut.id, packed.id]),
        (f"sequences >= {packed.sequences}", [packed.id]),
        (f"tokens < {packed.tokens}", [cut.id]),
        (f"size_bytes < {packed.size_bytes}", [cut.id]),
        ('created_at < "2020-01-01T00:00:00Z"', []),
        (f"tokenization_id = {new_id()}", []),
    ):
        assert await listed(filter=text) == expected
    page = await service.exports.ListExports(pb.ListExportsRequest(page_size=1))
    rest = await service.exports.ListExports(pb.ListExportsRequest(page_size=1, page_token=page.next_page_token))
    assert ([export.id for export in rest.exports], rest.next_page_token, rest.total_size) == ([packed.id], "", 2)
    for wrong, reason in (
        (pb.ListExportsRequest(filter="view = 1"), "INVALID_FILTER"),
        (pb.ListExportsRequest(order_by="sequences"), "INVALID_ORDER_BY"),
    ):
        assert (await service.refusal(service.exports.ListExports(wrong))).reason == reason
