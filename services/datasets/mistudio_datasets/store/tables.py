"""The tables of the schema `datasets` that are this service's own; the job engine brings its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Computed, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mistudio_servicekit.records import COLUMN_TYPES, ResourceRow


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = COLUMN_TYPES


class DatasetRow(ResourceRow, Base):
    """A dataset; see `domain.datasets.Dataset` for its fields.

    `identity` tells what was asked for: of the datasets with the same one, at most one is not ERROR or CANCELLED.
    It is NULL for uploads. `layout` is `Layout.summary()`; `rows` repeats what it holds, for filters and order.
    `search_text` is what a search looks through.
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
    rows: Mapped[int]
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )


class TokenizationRow(ResourceRow, Base):
    """A tokenization; see `domain.tokenizations.Tokenization` for its fields.

    Of the tokenizations with the same dataset, model and `settings_digest`, at most one is not ERROR or CANCELLED.
    `statistics` is `TokenizationStatistics.to_json()`, present once READY.
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
    statistics: Mapped[dict[str, Any] | None]
