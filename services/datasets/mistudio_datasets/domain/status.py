"""The life of what a job makes of a dataset."""

from __future__ import annotations

from enum import StrEnum


class WorkStatus(StrEnum):
    """Where a tokenization, an export or derived data is in its life; the API has an enum for each."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    READY = "READY"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"

    @property
    def ended_badly(self) -> bool:
        """Whether there are no files and none are on their way."""
        return self in ENDED_BADLY

    @property
    def is_running(self) -> bool:
        """Whether a job will work or works on it."""
        return self in (WorkStatus.QUEUED, WorkStatus.PROCESSING)


ENDED_BADLY = (WorkStatus.ERROR, WorkStatus.CANCELLED)
