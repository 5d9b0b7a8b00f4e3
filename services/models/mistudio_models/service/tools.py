"""What the use cases work with, wired in `server.py`, and what they return when they start work."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model
from mistudio_models.service.hub_source import HubLookup
from mistudio_servicekit.database import Database
from mistudio_servicekit.storage import Store


@dataclass(frozen=True)
class Kinds:
    """The kinds of jobs that this service knows."""

    download: JobKind
    cleanup: JobKind

    def all(self) -> tuple[JobKind, ...]:
        """Every kind."""
        return (self.download, self.cleanup)


@dataclass(frozen=True)
class Tools:
    """What the use cases work with.

    Attributes:
        database: the schema `models`.
        engine: submits and stops jobs.
        kinds: the kinds of jobs.
        store: the shared file store.
        hub: finds models on the Hub.
    """

    database: Database
    engine: JobEngine
    kinds: Kinds
    store: Store
    hub: HubLookup


@dataclass(frozen=True)
class Started:
    """A model and the job that works for it; `joined` when both were there before the request."""

    model: Model
    job: Job
    joined: bool
