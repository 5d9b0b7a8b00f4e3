"""Data derived from a complete dataset in the background: its word index, the statistics of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from mistudio_datasets.domain.status import WorkStatus


class DerivedKind(StrEnum):
    """What is derived; also the type of the resource that its job names."""

    WORD_INDEX = "word_index"
    COLUMN_STATISTICS = "column_statistics"

    @property
    def noun(self) -> str:
        """What people call it."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Derived:
    """Something made of a complete dataset; of each kind at most one is READY or on its way.

    Attributes:
        epoch: job attempt whose folder counts; 0 until READY.
        size_bytes: bytes of its files in the store; 0 until READY.
        error: why its status is ERROR, as `MistudioError.to_record` gives it.
        job_id: the job that makes or made it.
        version: grows with every change.
    """

    id: UUID
    dataset_id: UUID
    kind: DerivedKind
    status: WorkStatus
    epoch: int
    size_bytes: int
    error: Mapping[str, Any] | None
    job_id: UUID
    create_time: datetime
    update_time: datetime
    version: int = 1
