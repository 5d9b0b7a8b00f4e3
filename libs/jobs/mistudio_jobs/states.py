"""The states of a job's life."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where in its life a job is; mirrors `mistudio.jobs.v1.JobState` without its prefix."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRY_WAIT = "RETRY_WAIT"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether a job in this state has ended."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
ACTIVE = frozenset(JobState) - TERMINAL
"""States of a job that has not ended; in one of them its `dedupe_key` is taken."""

HELD = frozenset({JobState.RUNNING, JobState.CANCELLING})
"""States in which a worker holds the job under a lease."""


class Outcome(StrEnum):
    """How one attempt of a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
