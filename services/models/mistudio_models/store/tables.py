"""The table of the schema `models` that is this service's own; the job engine brings its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Computed, DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {  # noqa: RUF012  # read by SQLAlchemy, which wants a plain class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        str: Text,
        int: BigInteger,
    }


class ModelRow(Base):
    """A model; see `domain.models.Model` for its fields.

    Of the models of one commit of a repository at most one is not ERROR or CANCELLED. `architecture` and `parameters`
    repeat what `facts` holds, for filters and order. `search_text` is what a search looks through: in most locales it
    is slow to ignore case only then.
    """

    __tablename__ = "models"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    repo_id: Mapped[str]
    revision: Mapped[str]
    commit: Mapped[str]
    facts: Mapped[dict[str, Any]]
    architecture: Mapped[str]
    parameters: Mapped[int]
    epoch: Mapped[int]
    size_bytes: Mapped[int]
    error: Mapped[dict[str, Any] | None]
    labels: Mapped[dict[str, Any]]
    job_id: Mapped[UUID]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )
