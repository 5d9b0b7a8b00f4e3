"""What the use cases work with, wired in `server.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mistudio_datasets.service.hub_source import HubDataset
from mistudio_hub.lookup import HubLookup
from mistudio_jobs.engine import JobEngine
from mistudio_jobs.handler import JobKind
from mistudio_servicekit.database import Database
from mistudio_servicekit.storage import Store


@dataclass(frozen=True)
class Kinds:
    """The kinds of jobs that this service knows; a cleanup removes folders of what was deleted."""

    download: JobKind
    ingest: JobKind
    tokenize: JobKind
    dataset_cleanup: JobKind
    tokenization_cleanup: JobKind

    def all(self) -> tuple[JobKind, ...]:
        """Every kind."""
        return (self.download, self.ingest, self.tokenize, self.dataset_cleanup, self.tokenization_cleanup)


@dataclass(frozen=True)
class ModelInfo:
    """What a tokenization needs to know of a model.

    Attributes:
        status: its status, for example `READY`.
        epoch: names its folder in the store once it is READY.
        has_tokenizer: whether its repository carries a tokenizer.
    """

    id: UUID
    name: str
    status: str
    epoch: int
    has_tokenizer: bool


class ModelDirectory(Protocol):
    """Knows the models: the models service, seen from here."""

    async def get(self, model_id: UUID) -> ModelInfo:
        """The model.

        Raises:
            ModelNotFound: there is none of this id.
            Unavailable: the models service cannot be reached.
        """


@dataclass(frozen=True)
class Tools:
    """What the use cases work with.

    Attributes:
        database: the schema `datasets`.
        engine: submits and stops jobs.
        kinds: the kinds of jobs.
        store: the shared file store.
        hub: finds datasets on the Hub.
        models: knows the models.
    """

    database: Database
    engine: JobEngine
    kinds: Kinds
    store: Store
    hub: HubLookup[[str, str, Sequence[str]], HubDataset]
    models: ModelDirectory
