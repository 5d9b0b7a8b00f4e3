"""The tables of the schema `datasets` that are this service's own; the job engine brings its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, query_expression

from mistudio_servicekit.records import COLUMN_TYPES, ResourceRow


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = COLUMN_TYPES


class DatasetRow(ResourceRow, Base):
    """A dataset; see `domain.datasets.Dataset` for its fields.

    `identity` tells what was asked for: of the datasets with the same one, at most one is not ERROR or CANCELLED.
    It is NULL for uploads. `layout` is `Layout.summary()`; `rows` repeats what it holds, for filters and order.
    `search_text` is what a search looks through. Lists read `listed_layout` and `more_columns` instead of `layout`:
    the same with the first columns only, and how many more there are.
    """

    __tablename__ = "datasets"

    name: Mapped[str]
    identity: Mapped[str | None]
    repo_id: Mapped[str]
    revision: Mapped[str]
    commit: Mapped[str]
    config: Mapped[str]
    splits: Mapped[list[str]]
    labels: Mapped[dict[str, Any]]
    layout: Mapped[dict[str, Any] | None]
    listed_layout: Mapped[dict[str, Any] | None] = query_expression()
    more_columns: Mapped[int | None] = query_expression()
    rows: Mapped[int]
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )


class TokenizationRow(ResourceRow, Base):
    """A tokenization; see `domain.tokenizations.Tokenization` for its fields.

    Of the tokenizations with the same dataset, model and `settings_digest`, at most one is not ERROR or CANCELLED.
    `statistics` is `TokenizationStatistics.to_json()`, present once READY; read only where it is asked for.
    `model_deleted_at` is NULL while the model is there; `model_deleted` tells the same, for filters.
    """

    __tablename__ = "tokenizations"

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    model_id: Mapped[UUID]
    settings: Mapped[dict[str, Any]]
    settings_digest: Mapped[str]
    documents: Mapped[int]
    tokens: Mapped[int]
    engine: Mapped[str]
    tokenizer_sha256: Mapped[str]
    model_deleted_at: Mapped[datetime | None] = mapped_column()
    model_deleted: Mapped[bool] = column_property(model_deleted_at.is_not(None), deferred=True)
    statistics: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)


class UploadRow(Base):
    """A file on its way in, by the `request_id` it was begun with.

    `received_bytes` are safely in the store, as `segments`: names of files, each with how many of its bytes count.
    `digest` is that of their complete blocks. `writer` is the stream that may write: a later one takes over. Of an
    incomplete upload the file is given up at `expires_at`.
    """

    __tablename__ = "uploads"

    request_id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[UUID]
    file_name: Mapped[str]
    name: Mapped[str]
    format: Mapped[str]
    size_bytes: Mapped[int]
    received_bytes: Mapped[int]
    segments: Mapped[list[list[Any]]] = mapped_column(JSONB)
    digest: Mapped[str]
    writer: Mapped[UUID]
    complete: Mapped[bool]
    expires_at: Mapped[datetime]


class DerivedRow(ResourceRow, Base):
    """Something made of a complete dataset in the background; see `domain.derived.Derived` for its fields.

    Of the same dataset and kind at most one is not ERROR or CANCELLED.
    """

    __tablename__ = "derived"

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    kind: Mapped[str]


class ExportRow(ResourceRow, Base):
    """A view of a tokenization as a dataset on disk; see `domain.exports.Export` for its fields.

    Of the exports with the same tokenization and `view_digest`, at most one is not ERROR or CANCELLED.
    """

    __tablename__ = "exports"

    tokenization_id: Mapped[UUID] = mapped_column(ForeignKey("tokenizations.id"))
    view: Mapped[dict[str, Any]]
    view_digest: Mapped[str]
    shuffle_seed: Mapped[int | None]
    sequences: Mapped[int]
    short_sequences: Mapped[int]
    tokens: Mapped[int]
