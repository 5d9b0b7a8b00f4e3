"""Models that are here: reading, listing, changing and deleting them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from mistudio_jobs import queue
from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.errors import InvalidArgument, MissingField
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.requests import MAX_NAME, check_etag, check_labels, check_length, etag_of

_CHANGEABLE = ("name", "labels")
_MAX_QUERY = 2048


@dataclass(frozen=True)
class ModelChange:
    """New values for a model; `paths` tells which of them count."""

    model_id: UUID
    paths: tuple[str, ...]
    name: str
    labels: Mapping[str, str]
    etag: str = ""

    def values(self) -> dict[str, object]:
        """The columns to change.

        Raises:
            MissingField: no path is given, or the name would be empty.
            InvalidArgument: a path cannot be changed, or a value is too long.
        """
        if not self.paths:
            raise MissingField.of("update_mask", "name")
        for path in self.paths:
            if path not in _CHANGEABLE:
                raise InvalidArgument(
                    f"update_mask names {path!r}, which cannot be changed",
                    next_step=f"Name {' or '.join(_CHANGEABLE)}",
                    field="update_mask",
                )
        return {path: self._value(path) for path in self.paths}

    def _value(self, path: str) -> object:
        if path == "labels":
            return check_labels("model.labels", dict(self.labels))
        if not self.name.strip():
            raise MissingField.of("model.name", "GPT-2 small")
        return check_length("model.name", self.name, MAX_NAME)


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
    check_length("search", request.search, MAX_NAME)
    check_length("filter", request.filter, _MAX_QUERY)
    async with tools.database.transaction() as session:
        return await models.list_page(session, request)


async def update(tools: Tools, change: ModelChange) -> Model:
    """Rename or label a model.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
        MissingField, InvalidArgument: as `ModelChange.values` says.
    """
    values = change.values()
    async with tools.database.transaction() as session:
        model = await models.get(session, change.model_id, lock=True)
        check_etag(change.etag, etag_of(model.version), f"Model {model.id}")
        changed = await models.change(session, model.id, values)
        assert changed is not None, "its row is locked"
        return changed


async def delete(tools: Tools, model_id: UUID, etag: str) -> Job:
    """Remove a model at once, stop its download, and start the job that removes its files.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
    """
    async with tools.engine.transaction() as session:
        # Jobs are locked before their resources, everywhere: the end of a job does so too.
        job_id = (await models.get(session, model_id)).job_id
        download = await queue.get(session, tools.kinds.all(), job_id, lock=True)
        model = await models.get(session, model_id, lock=True)
        # Before the cancellation, which may change the model itself.
        check_etag(etag, etag_of(model.version), f"Model {model_id}")
        if not download.job_state.terminal:
            await tools.engine.cancel(session, job_id)
        await models.remove(session, model_id)
        return (await tools.engine.submit(session, NewJob(tools.kinds.cleanup, model_id, payload={}))).job
