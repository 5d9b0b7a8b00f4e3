"""The table of the schema `models` that is this service's own; the job engine brings its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Computed
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mistudio_servicekit.records import COLUMN_TYPES, ResourceRow


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = COLUMN_TYPES


class ModelRow(ResourceRow, Base):
    """A model; see `domain.models.Model` for its fields.

    Of the models of one commit of a repository at most one is not ERROR or CANCELLED. `architecture` and `parameters`
    repeat what `facts` holds, for filters and order. `search_text` is what a search looks through: in most locales it
    is slow to ignore case only then.
    """

    __tablename__ = "models"

    name: Mapped[str]
    repo_id: Mapped[str]
    revision: Mapped[str]
    commit: Mapped[str]
    facts: Mapped[dict[str, Any]]
    architecture: Mapped[str]
    parameters: Mapped[int]
    labels: Mapped[dict[str, Any]]
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )
