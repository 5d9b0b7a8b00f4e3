"""What the use cases work with, wired in `server.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mistudio_hub.lookup import HubLookup
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_models.domain.policy import Policy
from mistudio_models.service.examiner import Examiner
from mistudio_models.service.hub_outline import HubOutline
from mistudio_models.service.hub_source import HubModel
from mistudio_models.service.selection import FilePatterns
from mistudio_servicekit.database import Database
from mistudio_servicekit.storage import Store


@dataclass(frozen=True)
class Kinds:
    """The kinds of jobs that this service knows."""

    download: JobKind
    cleanup: JobKind
    load: JobKind

    def all(self) -> tuple[JobKind, ...]:
        """Every kind."""
        return (self.download, self.cleanup, self.load)


class TokenizationDirectory(Protocol):
    """Knows the tokenizations: the datasets service, seen from here."""

    async def running_with(self, model_ids: Collection[UUID]) -> Mapping[UUID, Sequence[UUID]]:
        """The tokenizations that are being made with these models, or wait for a worker: by model, where there are any.

        Raises:
            Unavailable: the datasets service cannot be reached.
        """

    async def cancel(self, tokenization_id: UUID) -> None:
        """Stop a tokenization that is being made; one that has ended meanwhile is no error.

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
        policy: what the operator allows.
        outlines: finds what models on the Hub are made of.
        examiner: works out what models need.
    """

    database: Database
    engine: JobEngine
    kinds: Kinds
    store: Store
    hub: HubLookup[[str, FilePatterns], HubModel]
    tokenizations: TokenizationDirectory
    policy: Policy
    outlines: HubLookup[[str], HubOutline]
    examiner: Examiner
