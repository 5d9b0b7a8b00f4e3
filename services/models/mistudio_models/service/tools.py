"""What the use cases work with, wired in `server.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

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


class TokenizationDirectory(Protocol):
    """Knows the tokenizations: the datasets service, seen from here."""

    async def running_with(self, model_id: UUID) -> Sequence[UUID]:
        """The tokenizations that are being made with the model, or wait for a worker.

        Raises:
            Unavailable: the datasets service cannot be reached.
        """

    async def cancel(self, model_id: UUID, tokenization_id: UUID) -> None:
        """Stop a tokenization that is being made with the model; one that has ended meanwhile is no error.

        Raises:
            Unavailable: the datasets service cannot be reached.
        """


@dataclass(frozen=True)
class Tools:
    """What the use cases work with.

    Attributes:
        database: the schema `models`.
        engine: submits and stops jobs.
        kinds: the kinds of jobs.
        store: the shared file store.
        hub: finds models on the Hub.
        tokenizations: knows what is made with models.
    """

    database: Database
    engine: JobEngine
    kinds: Kinds
    store: Store
    hub: HubLookup[[str], HubModel]
    tokenizations: TokenizationDirectory
