"""Models in the database: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select

from mistudio_models.domain.models import Model, ModelFacts, ModelStatus
from mistudio_models.domain.weights import LoadSettings, WeightFormat
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
        "model_type": str,
        "quantization": str,
        "default_format": choice_of(*WeightFormat),
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
        model_type=model.facts.model_type,
        quantization=model.facts.quantization,
        parameters=model.facts.parameters,
        epoch=model.epoch,
        size_bytes=model.size_bytes,
        error=None,
        labels=dict(model.labels),
        allow_patterns=list(model.allow_patterns),
        deny_patterns=list(model.deny_patterns),
        selection=model.selection,
        **settings_columns(model.default_settings),
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


async def find_by_v1_id(session: Session, v1_id: str) -> Model | None:
    """The model that had this id before ids were UUIDs, where the UUID does not tell it."""
    row = await session.scalar(select(ModelRow).where(ModelRow.v1_id == v1_id))
    return None if row is None else _model(row)


async def of_ids(session: Session, model_ids: Iterable[UUID]) -> Sequence[Model]:
    """Those of the models that are there."""
    return [_model(row) for row in await session.scalars(select(ModelRow).where(records.among(ModelRow.id, model_ids)))]


async def job_ids(session: Session, model_ids: Iterable[UUID]) -> Sequence[UUID]:
    """The jobs that bring or brought these models in."""
    return (await session.scalars(select(ModelRow.job_id).where(records.among(ModelRow.id, model_ids)))).all()


async def lock_all(session: Session, model_ids: Iterable[UUID]) -> Sequence[Model]:
    """Those of the models that are not gone, held exclusively, by id."""
    return [_model(row) for row in await records.lock_all(session, ModelRow, model_ids)]


async def find_alive(session: Session, repo_id: str, commit: str, selection: str) -> Model | None:
    """The model of this commit and selection of files (`domain.models.selection_of`) that is READY or on its way."""
    same = ModelRow.repo_id == repo_id, ModelRow.commit == commit, ModelRow.selection == selection
    row = await session.scalar(select(ModelRow).where(*same, ModelRow.status.not_in(_ENDED_BADLY)))
    return None if row is None else _model(row)


async def lock_identity(session: Session, repo_id: str, commit: str, selection: str) -> None:
    """Wait for every other transaction that has locked the same selection of the same commit."""
    await records.lock_identity(session, f"{repo_id}@{commit} {selection}")


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


def settings_columns(settings: LoadSettings) -> dict[str, object]:
    """The columns that tell how a model is loaded where a request does not say."""
    return {"default_settings": settings.to_json(), "default_format": settings.format}


async def remove(session: Session, model_ids: Iterable[UUID]) -> None:
    """Delete the rows."""
    await session.execute(delete(ModelRow).where(records.among(ModelRow.id, model_ids)))


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
        allow_patterns=tuple(row.allow_patterns),
        deny_patterns=tuple(row.deny_patterns),
        default_settings=LoadSettings.from_json(row.default_settings),
        job_id=row.job_id,
        create_time=row.created_at,
        update_time=row.updated_at,
        version=row.version,
    )
