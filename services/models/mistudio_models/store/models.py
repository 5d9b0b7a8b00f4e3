"""Models in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update

from mistudio_models.domain.models import Model, ModelFacts, ModelStatus
from mistudio_models.store.tables import ModelRow
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import ModelNotFound
from mistudio_servicekit.filters import FieldParser, choice_of, conditions, parse_filter, time_value, whole_number
from mistudio_servicekit.pagination import Order, Page, PageRequest, like_pattern, page
from mistudio_servicekit.storage import Area

_ENDED_BADLY = (ModelStatus.ERROR, ModelStatus.CANCELLED)

_FILTERS: Mapping[str, FieldParser] = {
    "status": choice_of(*ModelStatus),
    "name": str,
    "repo_id": str,
    "architecture": str,
    "parameters": whole_number,
    "size_bytes": whole_number,
    "created_at": time_value,
}
_ORDERS = {
    "created_at": Order(ModelRow.created_at, datetime),
    "name": Order(ModelRow.name, str),
    "parameters": Order(ModelRow.parameters, int),
    "size_bytes": Order(ModelRow.size_bytes, int),
}


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


async def get(session: Session, model_id: UUID, *, lock: bool = False) -> Model:
    """The model; with `lock` nobody else changes it until the transaction ends.

    Raises:
        ModelNotFound: no model has this id.
    """
    found = await find(session, model_id, lock=lock)
    if found is None:
        raise ModelNotFound.of(str(model_id))
    return found


async def find(session: Session, model_id: UUID, *, lock: bool = False) -> Model | None:
    """The model, or None if it is gone; with `lock` nobody else changes it until the transaction ends."""
    # What the session saw of it before may be stale.
    statement = select(ModelRow).where(ModelRow.id == model_id).execution_options(populate_existing=True)
    row = await session.scalar(statement.with_for_update() if lock else statement)
    return None if row is None else _model(row)


async def find_alive(session: Session, repo_id: str, commit: str) -> Model | None:
    """The model of this commit that is READY or on its way."""
    wanted = ModelRow.repo_id == repo_id, ModelRow.commit == commit, ModelRow.status.not_in(_ENDED_BADLY)
    row = await session.scalar(select(ModelRow).where(*wanted))
    return None if row is None else _model(row)


async def lock_identity(session: Session, repo_id: str, commit: str) -> None:
    """Wait for every other transaction that has locked the same commit of the same repository."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{repo_id}@{commit}", 0))))


async def list_page(session: Session, request: PageRequest) -> Page[Model]:
    """A page of models by search, filter and order; see `ListModelsRequest`.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
    """
    terms = parse_filter(request.filter, _FILTERS)
    statement = select(ModelRow).where(*conditions(terms, {name: getattr(ModelRow, name) for name in _FILTERS}))
    if request.search:
        statement = statement.where(ModelRow.search_text.like(func.lower(like_pattern(request.search))))
    found = await page(session, statement, request, orders=_ORDERS, key=ModelRow.id)
    return Page([_model(row) for row in found.rows], found.next_page_token, found.total_size)


async def change(session: Session, model_id: UUID, values: Mapping[str, object]) -> Model | None:
    """Set columns by name, and the version and time with them; None if the model is gone."""
    row = await session.scalar(
        update(ModelRow)
        .where(ModelRow.id == model_id)
        .values(**values, version=ModelRow.version + 1, updated_at=func.clock_timestamp())
        .returning(ModelRow)
        .execution_options(populate_existing=True)
    )
    return None if row is None else _model(row)


async def remove(session: Session, model_id: UUID) -> None:
    """Delete the row."""
    await session.execute(delete(ModelRow).where(ModelRow.id == model_id))


async def named_folders(session: Session, area: Area) -> set[tuple[UUID, int]]:
    """Model and epoch of every folder that counts; the service has one area of the store."""
    rows = await session.execute(select(ModelRow.id, ModelRow.epoch).where(ModelRow.epoch > 0))
    return {(model_id, epoch) for model_id, epoch in rows} if area is Area.MODELS else set()


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
