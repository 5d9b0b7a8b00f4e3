"""The tables of the schema `models` that are this service's own; the job engine brings its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, Identity, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mistudio_servicekit.records import COLUMN_TYPES, ResourceRow


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = COLUMN_TYPES


class ModelRow(ResourceRow, Base):
    """A model; see `domain.models.Model` for its fields.

    Of the models of one commit of a repository and one `selection` of its files at most one is not ERROR or CANCELLED.
    `architecture`, `model_type`, `quantization` and `parameters` repeat what `facts` holds, and `default_format` what
    `default_settings` holds, for filters and order. `search_text` is what a search looks through: in most locales it is
    slow to ignore case only then. `v1_id` is the id that the model had before ids were UUIDs, where the UUID does not
    tell it.
    """

    __tablename__ = "models"

    name: Mapped[str]
    repo_id: Mapped[str]
    revision: Mapped[str]
    commit: Mapped[str]
    facts: Mapped[dict[str, Any]]
    architecture: Mapped[str]
    model_type: Mapped[str]
    quantization: Mapped[str]
    parameters: Mapped[int]
    labels: Mapped[dict[str, Any]]
    allow_patterns: Mapped[list[str]]
    deny_patterns: Mapped[list[str]]
    selection: Mapped[str]
    default_settings: Mapped[dict[str, Any]]
    default_format: Mapped[str]
    v1_id: Mapped[str | None]
    search_text: Mapped[str] = mapped_column(
        Computed(r"lower(name || E'\n' || repo_id)", persisted=True), deferred=True
    )


class MeasurementRow(Base):
    """What one load of a model took, beside what was predicted; all sizes in bytes.

    `settings` are `domain.weights.LoadSettings.to_json()` with every default filled in.
    """

    __tablename__ = "measurements"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    model_id: Mapped[UUID]
    settings: Mapped[dict[str, Any]]
    worker: Mapped[str]
    device: Mapped[str]
    predicted_weights_bytes: Mapped[int]
    measured_weights_bytes: Mapped[int]
    predicted_load_peak_bytes: Mapped[int]
    measured_load_peak_bytes: Mapped[int]
    measured_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
