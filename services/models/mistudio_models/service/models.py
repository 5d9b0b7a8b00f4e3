"""Models that are here: reading, listing, changing and deleting them."""

from __future__ import annotations

from uuid import UUID

from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model, ModelStatus
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.changes import Change
from mistudio_servicekit.errors import ResourceInUse
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_etag, etag_of

_NAMED_USERS = 5


async def get(tools: Tools, model_id: UUID) -> Model:
    """The model.

    Raises:
        ModelNotFound: no model has this id.
    """
    async with tools.database.transaction() as session:
        return await models.get(session, model_id)


async def list_page(tools: Tools, request: PageRequest) -> Page[Model]:
    """A page of models.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    async with tools.database.transaction() as session:
        return await models.list_page(session, request)


async def update(tools: Tools, change: Change) -> Model:
    """Rename or label a model.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
        MissingField, InvalidArgument: as `Change.values` says.
    """
    values = change.values()
    async with tools.database.transaction() as session:
        model = await models.get(session, change.id, lock=Lock.EXCLUSIVE)
        check_etag(change.etag, etag_of(model.version), f"Model {model.id}")
        changed = await models.change(session, model.id, values)
        assert changed is not None, "its row is locked"
        return changed


async def delete(tools: Tools, model_id: UUID, *, etag: str = "", force: bool = False) -> Job:
    """Remove a model at once, stop its download, and start the job that removes its files.

    Args:
        tools: what use cases work with.
        model_id: the model.
        etag: the one that it must have; empty takes any.
        force: whether tokenizations that are being made with it are stopped first; complete ones do not need it.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
        ResourceInUse: tokenizations are being made with it, and `force` is not given.
        Unavailable: the datasets service, which knows them, cannot be reached.
    """
    model = await get(tools, model_id)
    check_etag(etag, etag_of(model.version), f"Model {model_id}")
    # No other has ever been tokenized with. One that begins from here on finds the model gone, and says so.
    if model.status is ModelStatus.READY:
        await _release(tools, model_id, force=force)
    async with tools.engine.transaction() as session:
        # Jobs are locked before their resources, everywhere: the end of a job does so too.
        download = await tools.engine.get(session, (await models.get(session, model_id)).job_id, lock=True)
        model = await models.get(session, model_id, lock=Lock.EXCLUSIVE)
        # Before the cancellation, which may change the model itself.
        check_etag(etag, etag_of(model.version), f"Model {model_id}")
        await tools.engine.cancel_unended(session, [download.id])
        await models.remove(session, model_id)
        return (await tools.engine.submit(session, NewJob(tools.kinds.cleanup, model_id, payload={}))).job


async def _release(tools: Tools, model_id: UUID, *, force: bool) -> None:
    """Stop the tokenizations that are being made with the model, or raise if there are any and `force` is not given."""
    running = await tools.tokenizations.running_with(model_id)
    if not force and running:
        named = ", ".join(map(str, running[:_NAMED_USERS]))
        more = f" and {len(running) - _NAMED_USERS} more" if len(running) > _NAMED_USERS else ""
        raise ResourceInUse(
            f"Model {model_id} is needed by tokenization {named}{more}, not yet complete",
            next_step="Wait until these are complete, or delete the model with force, which stops them",
            metadata={"subject": f"model/{model_id}", "tokenizations": named.replace(" ", "")},
        )
    for tokenization_id in running:
        await tools.tokenizations.cancel(model_id, tokenization_id)
