"""Models in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select

from mistudio_models.domain.models import Model, ModelFacts, ModelStatus
from mistudio_models.store.tables import ModelRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import ModelNotFound
from mistudio_servicekit.filters import choice_of, time_value, whole_number
from mistudio_servicekit.listing import Listing
from mistudio_servicekit.pagination import Order, Page, PageRequest
from mistudio_servicekit.records import Lock
from mistudio_servicekit.storage import Area

_ENDED_BADLY = (ModelStatus.ERROR, ModelStatus.CANCELLED)

_LISTING = Listing(
    ModelRow,
    filters={
        "status": choice_of(*ModelStatus),
        "name": str,
        "repo_id": str,
        "architecture": str,
        "parameters": whole_number,
        "size_bytes": whole_number,
        "created_at": time_value,
    },
    orders={
        "created_at": Order(ModelRow.created_at, datetime),
        "name": Order(ModelRow.name, str),
        "parameters": Order(ModelRow.parameters, int),
        "size_bytes": Order(ModelRow.size_bytes, int),
    },
    searched=ModelRow.search_text,
)


async def add(session: Session, model: Model) -> Model:
    """Insert `model` and return it with its times."""
    row = ModelRow(
        id=model.id,
        name=model.name,
        status=model.status,
        repo_id=model.repo_id,
        revision=model.revision,
        commit=model.commit,
        facts=model.facts.to_json(),
        architecture=model.facts.architecture,
        parameters=model.facts.parameters,
        epoch=model.epoch,
        size_bytes=model.size_bytes,
        error=None,
        labels=dict(model.labels),
        job_id=model.job_id,
        version=model.version,
    )
    session.add(row)
    await session.flush()
    return _model(row)


async def get(session: Session, model_id: UUID, *, lock: Lock = Lock.NONE) -> Model:
    """The model.

    Raises:
        ModelNotFound: no model has this id.
    """
    found = await find(session, model_id, lock=lock)
    if found is None:
        raise ModelNotFound.of(str(model_id))
    return found


async def find(session: Session, model_id: UUID, *, lock: Lock = Lock.NONE) -> Model | None:
    """The model, or None if it is gone."""
    row = await records.find(session, ModelRow, model_id, lock)
    return None if row is None else _model(row)


async def find_alive(session: Session, repo_id: str, commit: str) -> Model | None:
    """The model of this commit that is READY or on its way."""
    wanted = ModelRow.repo_id == repo_id, ModelRow.commit == commit, ModelRow.status.not_in(_ENDED_BADLY)
    row = await session.scalar(select(ModelRow).where(*wanted))
    return None if row is None else _model(row)


async def lock_identity(session: Session, repo_id: str, commit: str) -> None:
    """Wait for every other transaction that has locked the same commit of the same repository."""
    await records.lock_identity(session, f"{repo_id}@{commit}")


async def list_page(session: Session, request: PageRequest) -> Page[Model]:
    """A page of models by search, filter and order; see `ListModelsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    return (await _LISTING.page(session, request)).of(_model)


async def change(session: Session, model_id: UUID, values: Mapping[str, object]) -> Model | None:
    """Set columns by name, and the version and time with them; None if the model is gone."""
    row = await records.change(session, ModelRow, model_id, values)
    return None if row is None else _model(row)


async def remove(session: Session, model_id: UUID) -> None:
    """Delete the row."""
    await session.execute(delete(ModelRow).where(ModelRow.id == model_id))


async def named_folders(session: Session, area: Area) -> set[tuple[UUID, int]]:
    """Model and epoch of every folder that counts; the service has one area of the store."""
    return await records.named_folders(session, ModelRow) if area is Area.MODELS else set()


def _model(row: ModelRow) -> Model:
    return Model(
        id=row.id,
        name=row.name,
        status=ModelStatus(row.status),
        repo_id=row.repo_id,
        revision=row.revision,
        commit=row.commit,
        facts=ModelFacts.from_json(row.facts),
        epoch=row.epoch,
        size_bytes=row.size_bytes,
        error=row.error,
        labels=row.labels,
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
