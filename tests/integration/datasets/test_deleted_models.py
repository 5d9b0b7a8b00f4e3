"""Tokenizations whose model is deleted say so, whatever is lost on the way, and are read and exported as before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError
from tokenizers import Tokenizer

from mistudio.datasets.v1 import exports_service_pb2, tokenization_pb2, tokenizations_service_pb2, view_pb2
from mistudio_datasets.config import ServiceConfig
from mistudio_datasets.server import serving
from mistudio_jobs.events import deleted_subject
from mistudio_jobs.streams import EVENTS, connect
from mistudio_local.nats import NatsServer
from mistudio_local.postgres import PostgresServer
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .made_rows import Rows
from .served_hub import Hub
from .service_client import Service

AT = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)


@pytest.fixture
async def log(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A connection to the event log, as the models service has one."""
    client = await connect(nats_server.url, "models")
    yield client
    await client.close()


async def tell_deleted(log: Client, model_id: str, at: datetime = AT) -> None:
    await log.jetstream().publish(deleted_subject("models", model_id), at.isoformat().encode())


def of_model(rows: Rows, model_id: str, count: int = 1, status: str = "READY") -> list[str]:
    """Tokenizations of a model; their ids."""
    (dataset,) = rows.datasets(1)
    made = [rows.tokenization(dataset, status) for _ in range(count)]
    rows.execute("UPDATE tokenizations SET model_id = %s WHERE id = ANY(%s::uuid[])", model_id, made)
    return made


async def until(reached: Callable[[], Awaitable[bool]], seconds: float = 100) -> None:
    async with asyncio.timeout(seconds):
        while not await reached():
            await asyncio.sleep(0.02)


async def marked(service: Service, *tokenization_ids: str) -> list[tokenization_pb2.Tokenization]:
    """The tokenizations, once all say that their model is deleted."""

    async def all_say_so() -> bool:
        found = [await service.tokenization(each) for each in tokenization_ids]
        return all(each.HasField("model_delete_time") for each in found)

    await until(all_say_so)
    return [await service.tokenization(each) for each in tokenization_ids]


async def until_place(log: Client, reached: Callable[[ConsumerInfo], bool]) -> None:
    """Wait until the service's place in the log is as wanted."""

    async def place_is_reached() -> bool:
        try:
            return reached(await log.jetstream().consumer_info(EVENTS, "datasets_hears_models_deletions"))
        except NotFoundError:
            return False

    await until(place_is_reached)


async def heard(log: Client) -> None:
    """Wait until the service has acknowledged all that the log tells it."""
    await until_place(log, lambda place: place.num_pending == 0 and place.num_ack_pending == 0)


async def test_tokenizations_say_when_their_model_was_deleted_and_are_found_by_it(
    service: Service, log: Client, tokenizer: Tokenizer
) -> None:
    rows, gone, there = Rows(service.database), service.models.put(None), service.models.put(tokenizer)
    made, other = of_model(rows, gone, 3), of_model(rows, there)
    before = await service.tokenization(made[0])
    await tell_deleted(log, gone)
    for tokenization in await marked(service, *made):
        assert tokenization.model_delete_time.ToDatetime(UTC) == AT
        assert tokenization.status == tokenization_pb2.TOKENIZATION_STATUS_READY
        assert tokenization.etag != before.etag
    assert not (await service.tokenization(other[0])).HasField("model_delete_time")
    for text, ids in {"true": made, "false": other}.items():
        request = tokenizations_service_pb2.ListTokenizationsRequest(filter=f"model_deleted = {text}")
        page = await service.tokenizations.ListTokenizations(request)
        assert {each.id for each in page.tokenizations} == set(ids)
    request = tokenizations_service_pb2.ListTokenizationsRequest(filter="model_deleted = perhaps")
    error = await service.refusal(service.tokenizations.ListTokenizations(request))
    assert (error.reason, error.field) == ("INVALID_FILTER", "filter")


async def test_a_deletion_that_is_told_again_changes_nothing(service: Service, log: Client) -> None:
    model = service.models.put(None)
    (made,) = of_model(Rows(service.database), model)
    await tell_deleted(log, model)
    (first,) = await marked(service, made)
    for later in (1, 2):
        await tell_deleted(log, model, AT + timedelta(hours=later))
    await heard(log)
    assert await service.tokenization(made) == first


async def test_what_is_no_deletion_holds_up_none(service: Service, log: Client) -> None:
    model = service.models.put(None)
    (made,) = of_model(Rows(service.database), model)
    await log.jetstream().publish("evt.models.nonsense.deleted", b"nonsense")
    await log.jetstream().publish(deleted_subject("models", model), b"at some time")
    await tell_deleted(log, model)
    await marked(service, made)
    await heard(log)


async def test_a_model_that_went_while_the_service_was_away_and_the_log_with_it_is_found_out_by_asking(
    service: Service, log: Client, nats_server: NatsServer
) -> None:
    rows, model = Rows(service.database), service.models.put(None)
    (made,) = of_model(rows, model)
    await tell_deleted(log, str(new_id()))
    await heard(log)
    service.models.known.clear()
    await asyncio.to_thread(_lose_everything, nats_server)
    (found,) = await marked(service, made)
    assert abs(found.model_delete_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)


def _lose_everything(nats: NatsServer) -> None:
    nats.stop()
    shutil.rmtree(nats.folder / "jetstream")
    nats.start()


async def test_a_service_that_starts_finds_out_which_models_went_unheard(service: Service, log: Client) -> None:
    await tell_deleted(log, str(new_id()))
    await heard(log)  # it has asked before, when it started itself
    (gone,) = of_model(Rows(service.database), str(new_id()))
    (kept,) = of_model(Rows(service.database), service.models.put(None))
    listen = ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1)
    async with serving(ServiceConfig(service.backend, listen, service.models_target)):
        await marked(service, gone)
    assert not (await service.tokenization(kept)).HasField("model_delete_time")


async def test_after_the_log_was_lost_deletions_are_heard_again(
    service: Service, log: Client, nats_server: NatsServer
) -> None:
    model = service.models.put(None)
    (made,) = of_model(Rows(service.database), model)
    await tell_deleted(log, str(new_id()))
    await heard(log)
    await asyncio.to_thread(_lose_everything, nats_server)

    async def log_is_back() -> bool:
        return log.is_connected and any(each.config.name == EVENTS for each in await log.jetstream().streams_info())

    await until(log_is_back)
    await tell_deleted(log, model)
    (found,) = await marked(service, made)
    assert found.model_delete_time.ToDatetime(UTC) == AT


async def test_a_deletion_that_the_database_could_not_take_is_told_again(
    service: Service, log: Client, postgres: PostgresServer
) -> None:
    rows, model = Rows(service.database), service.models.put(None)
    (made,) = of_model(rows, model)
    rows.execute("ALTER TABLE tokenizations RENAME COLUMN model_deleted_at TO model_deleted_at_away")
    await tell_deleted(log, model)
    await until_place(log, lambda place: bool(place.num_redelivered))
    rows.execute("ALTER TABLE tokenizations RENAME COLUMN model_deleted_at_away TO model_deleted_at")
    await marked(service, made)


async def test_while_the_models_service_is_away_nothing_is_taken_for_deleted(
    service: Service, log: Client, nats_server: NatsServer
) -> None:
    model = service.models.put(None)
    (made,) = of_model(Rows(service.database), model)
    await service.stop_models()
    await asyncio.to_thread(nats_server.process.restart)
    other = service.models.put(None)
    (told,) = of_model(Rows(service.database), other)
    await until(lambda: _connected(log))
    await tell_deleted(log, other)
    await marked(service, told)
    assert not (await service.tokenization(made)).HasField("model_delete_time")


async def _connected(log: Client) -> bool:
    return log.is_connected


async def test_without_model_and_files_a_tokenization_is_read_counted_viewed_and_exported_as_before(
    working_service: Service, hub: Hub, log: Client, tokenizer: Tokenizer
) -> None:
    service, model = working_service, working_service.models.put(tokenizer)
    dataset = await service.ready(hub.english)
    made = await service.tokenize(dataset.id, model)
    await service.succeeded(made.job.id)
    before = await _all_that_is_read(service, made.tokenization.id)
    service.models.known.clear()
    shutil.rmtree(service.folder(Area.MODELS, model))
    await tell_deleted(log, model)
    await marked(service, made.tokenization.id)
    assert await _all_that_is_read(service, made.tokenization.id) == before
    export = exports_service_pb2.CreateExportRequest(tokenization_id=made.tokenization.id, view=_VIEW)
    await service.succeeded((await service.exports.CreateExport(export)).job.id)
    error = await service.refusal(service.tokenize(dataset.id, model, split="train"))
    assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


_VIEW = view_pb2.View(mode=view_pb2.VIEW_MODE_PACKED, context_length=64)


async def _all_that_is_read(service: Service, tokenization_id: str) -> list[object]:
    pb = tokenizations_service_pb2
    documents = await service.tokenizations.ListSequences(pb.ListSequencesRequest(tokenization_id=tokenization_id))
    assert any(any(sequence.tokens) for sequence in documents.sequences), "pieces are shown"
    viewed = pb.ListSequencesRequest(tokenization_id=tokenization_id, view=_VIEW)
    ids = pb.TokenIds(values=documents.sequences[0].token_ids[:2])
    return [
        documents,
        await service.tokenizations.ListSequences(viewed),
        await service.tokenizations.GetTokenizationStatistics(pb.GetTokenizationStatisticsRequest(id=tokenization_id)),
        await service.tokenizations.SearchTokens(pb.SearchTokensRequest(tokenization_id=tokenization_id, ids=ids)),
    ]
