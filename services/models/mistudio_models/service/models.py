"""Models that are here: reading, listing and changing them."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from uuid import UUID

from mistudio_models.domain.models import Model
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.service.load_settings import check_for_files
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.changes import Change
from mistudio_servicekit.page_bytes import page_with_labels
from mistudio_servicekit.pagination import Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_etag, etag_of

DEFAULT_SETTINGS = "default_settings"
"""Path of the settings in a change."""


async def get(tools: Tools, model_id: UUID) -> Model:
    """The model.

    Raises:
        ModelNotFound: no model has this id.
    """
    async with tools.database.transaction() as session:
        return await models.get(session, model_id)


async def list_page(tools: Tools, request: PageRequest, *, with_labels: bool) -> Page[Model]:
    """A page of models; if their labels are told, with fewer of them where they have very many.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    async with tools.database.transaction() as session:
        read = partial(models.list_page, session)
        return await (page_with_labels(read, request, attrgetter("labels")) if with_labels else read(request))


async def update(tools: Tools, change: Change) -> Model:
    """Rename or label a model, or say how it is loaded where a request does not.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
        MissingField, InvalidArgument: as `Change.values` and `check_for_files` say.
    """
    values = change.values()
    settings = values.pop(DEFAULT_SETTINGS, None)
    async with tools.database.transaction() as session:
        model = await models.get(session, change.id, lock=Lock.EXCLUSIVE)
        if isinstance(settings, LoadSettings):
            field = f"{change.resource}.{DEFAULT_SETTINGS}"
            values |= models.settings_columns(check_for_files(field, settings, model.facts.quantization))
        check_etag(change.etag, etag_of(model.version), f"Model {model.id}")
        changed = await models.change(session, model.id, values)
        assert changed is not None, "its row is locked"
        return changed
