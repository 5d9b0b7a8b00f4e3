"""The tables of the schema `datasets` that are this service's own; the job engine brings its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Computed, DateTime, ForeignKey, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {  # noqa: RUF012  # read by SQLAlchemy, which wants a plain class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: JSONB,
        str: Text,
        int: BigInteger,
    }


class DatasetRow(Base):
    """A dataset; see `domain.datasets.Dataset` for its fields.

    `identity` tells what was asked for: of the datasets with the same one, at most one is not ERROR or CANCELLED.
    It is NULL for uploads. `layout` is `Layout.summary()`; `rows` repeats what it holds, for filters and order.
    `search_text` is what a search looks through.
    """

    __tablename__ = "datasets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    identity: Mapped[str | None]
    repo_id: Mapped[str]
    revision: Mapped[str]
    commit: Mapped[str]
    config: Mapped[str]
    splits: Mapped[list[str]]
    labels: Mapped[dict[str, Any]]
    epoch: Mapped[int]
    layout: Mapped[dict[str, Any] | None]
    rows: Mapped[int]
    size_bytes: Mapped[int]
    error: Mapped[dict[str, Any] | None]
    job_id: Mapped[UUID]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )


class TokenizationRow(Base):
    """A tokenization; see `domain.tokenizations.Tokenization` for its fields.

    Of the tokenizations with the same dataset, model and `settings_digest`, at most one is not ERROR or CANCELLED.
    `statistics` is `TokenizationStatistics.to_json()`, present once READY.
    """

    __tablename__ = "tokenizations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    model_id: Mapped[UUID]
    settings: Mapped[dict[str, Any]]
    settings_digest: Mapped[str]
    status: Mapped[str]
    epoch: Mapped[int]
    documents: Mapped[int]
    tokens: Mapped[int]
    size_bytes: Mapped[int]
    engine: Mapped[str]
    tokenizer_sha256: Mapped[str]
    statistics: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    job_id: Mapped[UUID]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
