"""What the use cases work with, wired in `server.py`."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_hub.lookup import HubLookup
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_models.service.hub_source import HubModel
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
    hub: HubLookup[[str], HubModel]
