"""Tokenizing datasets for models."""

import asyncio
from typing import Any

import datasets
import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import Service

pb = tokenizations_service_pb2


SHARED = pytest.mark.asyncio(loop_scope="module")
"""Of tests that use the `shared_service`."""


async def _count(service: Service) -> int:
    return (await service.tokenizations.ListTokenizations(pb.ListTokenizationsRequest())).total_size


async def _tokenized(
    service: Service, dataset_id: str, model_id: str, **settings: str
) -> tokenization_pb2.Tokenization:
    answer = await service.tokenize(dataset_id, model_id, **settings)
    await service.succeeded(answer.job.id)
    return await service.tokenization(answer.tokenization.id)


@SHARED
async def test_tokens_are_those_of_the_models_own_tokenizer_and_open_unconverted(
    shared_service: Service, tokenizer: Tokenizer, texts: list[str]
) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    made = await _tokenized(shared_service, dataset.id, model)
    assert (made.status, made.settings.split, made.settings.text_column) == (
        tokenization_pb2.TOKENIZATION_STATUS_READY,
        "train",
        "text",
    )
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts[:1000]]
    opened = datasets.load_from_disk(str(shared_service.backend.store.root / made.store_path))
    assert opened["input_ids"][:] == expected
    assert (made.documents, made.tokens) == (1000, sum(map(len, expected)))

    request = pb.GetTokenizationStatisticsRequest(id=made.id)
    statistics = (await shared_service.tokenizations.GetTokenizationStatistics(request)).statistics
    assert (statistics.documents, statistics.tokens) == (made.documents, made.tokens)
    assert statistics.max_tokens == max(map(len, expected))
    assert sum(bin.documents for bin in statistics.histogram) == 1000
    assert statistics.vocabulary_size == tokenizer.get_vocab_size()


@SHARED
async def test_its_job_counts_rows_of_a_known_total(shared_service: Service, tokenizer: Tokenizer) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    answer = await shared_service.tokenize(dataset.id, model, split="test")
    assert answer.tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_QUEUED
    job = await shared_service.succeeded(answer.job.id)
    assert (job.kind, job.resource_type) == ("datasets.tokenize", "tokenization")
    assert (job.progress.done, job.progress.total, job.progress.unit) == (200, 200, "rows")
    assert job.progress.metrics["bytes"] == job.progress.metrics["bytes_total"] > 0
    assert job.result["tokens"] == job.progress.metrics["tokens"]


async def test_sequences_show_pieces_from_any_document_even_when_the_model_is_gone(
    working_service: Service, hub: Hub, tokenizer: Tokenizer, texts: list[str]
) -> None:
    dataset, model = await working_service.ready(hub.english), working_service.models.put(tokenizer)
    made = await _tokenized(working_service, dataset.id, model)
    await working_service.stop_models()
    page = await working_service.tokenizations.ListSequences(
        pb.ListSequencesRequest(tokenization_id=made.id, offset=995, page_size=3, max_tokens=4)
    )
    encoded = tokenizer.encode(texts[995], add_special_tokens=False)
    first = page.sequences[0]
    assert (first.document, list(first.token_ids), first.total_tokens) == (995, encoded.ids[:4], len(encoded.ids))
    assert texts[995].startswith("".join(first.tokens))
    rest = await working_service.tokenizations.ListSequences(
        pb.ListSequencesRequest(tokenization_id=made.id, page_size=3, max_tokens=4, page_token=page.next_page_token)
    )
    assert [found.document for found in rest.sequences] == [998, 999]
    assert (rest.next_page_token, rest.total_size) == ("", 1000)


@SHARED
async def test_the_same_is_joined_and_other_settings_are_their_own(
    shared_service: Service, tokenizer: Tokenizer
) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    answers = await asyncio.gather(*(shared_service.tokenize(dataset.id, model) for _ in range(50)))
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    await shared_service.succeeded(answers[0].job.id)
    again = await shared_service.tokenize(dataset.id, model, split="train", text_column="text")
    assert (again.joined, again.tokenization.id) == (True, answers[0].tokenization.id)
    other = await shared_service.tokenize(dataset.id, model, split="test")
    assert not other.joined


@SHARED
async def test_a_request_id_gives_one_answer_and_takes_no_other_content(
    shared_service: Service, tokenizer: Tokenizer
) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    first = await shared_service.tokenize(dataset.id, model, request_id="mine")
    again = await shared_service.tokenize(dataset.id, model, request_id="mine")
    assert again.job.id == first.job.id
    error = await shared_service.refusal(shared_service.tokenize(dataset.id, model, request_id="mine", split="test"))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


@SHARED
async def test_what_cannot_be_tokenized_is_refused_at_once(shared_service: Service, tokenizer: Tokenizer) -> None:
    service = shared_service
    english, numbers = await service.ready(Hub.english), await service.ready(Hub.numbers)
    hollow = await service.ready(Hub.hollow)
    model, before = service.models.put(tokenizer), await _count(service)
    for call, code, reason in (
        (service.tokenize("abc", model), "INVALID_ARGUMENT", "MALFORMED_ID"),
        (service.tokenize(english.id, ""), "INVALID_ARGUMENT", "MISSING_FIELD"),
        (service.tokenize(str(new_id()), model), "NOT_FOUND", "DATASET_NOT_FOUND"),
        (service.tokenize(english.id, str(new_id())), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (service.tokenize(english.id, service.models.put(None)), "FAILED_PRECONDITION", "TOKENIZER_MISSING"),
        (
            service.tokenize(english.id, service.models.put(tokenizer, "DOWNLOADING")),
            "FAILED_PRECONDITION",
            "MODEL_NOT_READY",
        ),
        (service.tokenize(english.id, model, split="nope"), "NOT_FOUND", "SPLIT_NOT_FOUND"),
        (service.tokenize(english.id, model, text_column="nope"), "INVALID_ARGUMENT", "TEXT_COLUMN_MISSING"),
        (service.tokenize(english.id, model, text_column="id"), "INVALID_ARGUMENT", "TEXT_COLUMN_MISSING"),
        (service.tokenize(numbers.id, model), "INVALID_ARGUMENT", "TEXT_COLUMN_MISSING"),
        (service.tokenize(hollow.id, model), "FAILED_PRECONDITION", "DATASET_EMPTY"),
    ):
        error = await service.refusal(call)
        assert (error.code, error.reason) == (code, reason)
    assert await _count(service) == before


async def test_a_dataset_that_is_not_ready_and_models_that_are_away_are_told(
    service: Service, hub: Hub, tokenizer: Tokenizer
) -> None:
    model = service.models.put(tokenizer)
    coming = (await service.download(hub.english)).dataset
    error = await service.refusal(service.tokenize(coming.id, model))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DATASET_NOT_READY")
    await service.start_worker()
    await service.succeeded(coming.job_id)
    await service.stop_models()
    error = await service.refusal(service.tokenize(coming.id, model))
    assert (error.code, error.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert "models service" in error.message


@SHARED
async def test_a_broken_tokenizer_ends_in_error_with_the_same_text_and_leaves_nothing(
    shared_service: Service, tokenizer: Tokenizer
) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    (file,) = shared_service.folder(Area.MODELS, model).rglob("tokenizer.json")
    file.write_text("{}")
    answer = await shared_service.tokenize(dataset.id, model)
    job = await shared_service.ended(answer.job.id)
    made = await shared_service.tokenization(answer.tokenization.id)
    assert (made.status, made.error) == (tokenization_pb2.TOKENIZATION_STATUS_ERROR, job.error)
    assert job.error.reason == "TOKENIZER_INVALID"
    assert not shared_service.folder(Area.TOKENIZATIONS, made.id).exists()
    tokenizer.save(str(file))
    await shared_service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id))
    await shared_service.succeeded(job.id)
    mended = await shared_service.tokenization(made.id)
    assert (mended.status, mended.HasField("error")) == (tokenization_pb2.TOKENIZATION_STATUS_READY, False)


async def test_a_queued_and_a_running_tokenization_are_cancelled_and_the_sibling_stays(
    working_service: Service, hub: Hub, slow_tokenizer: Tokenizer
) -> None:
    service, model = working_service, working_service.models.put(slow_tokenizer)
    big, english = await service.ready(hub.big), await service.ready(hub.english)
    sibling = await _tokenized(service, english.id, model)
    running = await service.tokenize(big.id, model)
    queued = await service.tokenize(english.id, model, split="test")
    await service.until(running.job.id, lambda job: job.progress.done > 0)
    for answer in (queued, running):
        await service.tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=answer.tokenization.id))
        async with asyncio.timeout(100):
            assert (await service.ended(answer.job.id)).state == job_pb2.JOB_STATE_CANCELLED
        cancelled = await service.tokenization(answer.tokenization.id)
        assert cancelled.status == tokenization_pb2.TOKENIZATION_STATUS_CANCELLED
        assert not service.folder(Area.TOKENIZATIONS, answer.tokenization.id).exists()
    assert await service.tokenization(sibling.id) == sibling
    assert (service.backend.store.root / sibling.store_path / "state.json").exists()


async def test_what_is_not_complete_has_no_statistics_or_sequences(
    working_service: Service, hub: Hub, slow_tokenizer: Tokenizer
) -> None:
    dataset, model = await working_service.ready(hub.big), working_service.models.put(slow_tokenizer)
    answer = await working_service.tokenize(dataset.id, model)
    statistics = pb.GetTokenizationStatisticsRequest(id=answer.tokenization.id)
    sequences = pb.ListSequencesRequest(tokenization_id=answer.tokenization.id)
    for call in (
        working_service.tokenizations.GetTokenizationStatistics(statistics),
        working_service.tokenizations.ListSequences(sequences),
    ):
        error = await working_service.refusal(call)
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "TOKENIZATION_NOT_READY")
    out_of_range: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": 100_001}, "INVALID_FIELD"),
        ({"offset": -1}, "INVALID_FIELD"),
    ]
    for fields, reason in out_of_range:
        request = pb.ListSequencesRequest(tokenization_id=answer.tokenization.id, **fields)
        error = await working_service.refusal(working_service.tokenizations.ListSequences(request))
        assert error.reason == reason
    stop = pb.CancelTokenizationRequest(id=answer.tokenization.id)
    await working_service.tokenizations.CancelTokenization(stop)


@SHARED
async def test_a_deleted_tokenization_goes_alone(shared_service: Service, tokenizer: Tokenizer) -> None:
    dataset, model = await shared_service.ready(Hub.english), shared_service.models.put(tokenizer)
    sibling = await _tokenized(shared_service, dataset.id, model, split="test")
    made = await _tokenized(shared_service, dataset.id, model)
    stale = pb.DeleteTokenizationRequest(id=made.id, etag="v0")
    assert (await shared_service.refusal(shared_service.tokenizations.DeleteTokenization(stale))).code == "ABORTED"
    request = pb.DeleteTokenizationRequest(id=made.id, etag=made.etag)
    job = (await shared_service.tokenizations.DeleteTokenization(request)).job
    assert (await shared_service.refusal(shared_service.tokenization(made.id))).reason == "TOKENIZATION_NOT_FOUND"
    await shared_service.succeeded(job.id)
    assert not shared_service.folder(Area.TOKENIZATIONS, made.id).exists()
    assert await shared_service.tokenization(sibling.id) == sibling
    assert (shared_service.backend.store.root / sibling.store_path / "state.json").exists()


async def test_a_tokenization_that_waits_for_its_turn_is_deleted_with_its_etag(
    working_service: Service, hub: Hub, tokenizer: Tokenizer, slow_tokenizer: Tokenizer
) -> None:
    service = working_service
    dataset = await service.ready(hub.big)
    running = await service.tokenize(dataset.id, service.models.put(slow_tokenizer))
    await service.until(running.job.id, lambda job: job.progress.done > 0)
    waiting = await service.tokenize(dataset.id, service.models.put(tokenizer))
    made = waiting.tokenization
    await service.tokenizations.DeleteTokenization(pb.DeleteTokenizationRequest(id=made.id, etag=made.etag))
    assert (await service.refusal(service.tokenization(made.id))).reason == "TOKENIZATION_NOT_FOUND"
    assert (await service.job(waiting.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    await service.tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=running.tokenization.id))


async def test_a_needed_dataset_is_kept_unless_forced(
    working_service: Service, hub: Hub, slow_tokenizer: Tokenizer
) -> None:
    service = working_service
    dataset, model = await service.ready(hub.big), service.models.put(slow_tokenizer)
    running = await service.tokenize(dataset.id, model)
    await service.until(running.job.id, lambda job: job.progress.done > 0)
    request = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id)
    error = await service.refusal(service.datasets.DeleteDataset(request))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert running.tokenization.id in error.message
    assert (await service.job(running.job.id)).state == job_pb2.JOB_STATE_RUNNING
    request = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id, force=True)
    cleanup = (await service.datasets.DeleteDataset(request)).job
    assert (await service.ended(running.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    await service.succeeded(cleanup.id)
    assert not service.folder(Area.DATASETS, dataset.id).exists()
    assert not service.folder(Area.TOKENIZATIONS, running.tokenization.id).exists()
    error = await service.refusal(service.tokenization(running.tokenization.id))
    assert error.reason == "TOKENIZATION_NOT_FOUND"


async def test_a_cancelled_tokenization_does_not_keep_its_dataset(
    working_service: Service, hub: Hub, slow_tokenizer: Tokenizer
) -> None:
    dataset, model = await working_service.ready(hub.big), working_service.models.put(slow_tokenizer)
    answer = await working_service.tokenize(dataset.id, model)
    await working_service.tokenizations.CancelTokenization(pb.CancelTokenizationRequest(id=answer.tokenization.id))
    await working_service.ended(answer.job.id)
    await working_service.datasets.DeleteDataset(datasets_service_pb2.DeleteDatasetRequest(id=dataset.id))
    assert (await working_service.refusal(working_service.dataset(dataset.id))).reason == "DATASET_NOT_FOUND"


async def test_lists_filter_by_dataset_and_model(working_service: Service, hub: Hub, tokenizer: Tokenizer) -> None:
    dataset = await working_service.ready(hub.english)
    models = [working_service.models.put(tokenizer) for _ in range(2)]
    made = [await _tokenized(working_service, dataset.id, model) for model in models]
    for text, expected in (
        (f"dataset_id = {dataset.id}", {made[0].id, made[1].id}),
        (f"model_id = {models[1]} AND status = READY", {made[1].id}),
        ("tokens < 10", set()),
    ):
        request = pb.ListTokenizationsRequest(filter=text, order_by="tokens desc")
        found = await working_service.tokenizations.ListTokenizations(request)
        assert {tokenization.id for tokenization in found.tokenizations} == expected
    error = await working_service.refusal(
        working_service.tokenizations.ListTokenizations(pb.ListTokenizationsRequest(filter="model_id = abc"))
    )
    assert error.reason == "INVALID_FILTER"
