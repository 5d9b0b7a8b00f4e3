"""What the use cases work with, wired in `server.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

from mistudio_datasets.data.ranking.word_index import OpenIndexes
from mistudio_datasets.domain.inspection import DatasetInspection
from mistudio_datasets.domain.previews import Preview, PreviewInput
from mistudio_datasets.service.hub_source import HubDataset
from mistudio_datasets.service.scans import Scans
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
    export: JobKind
    export_cleanup: JobKind
    word_index: JobKind
    column_statistics: JobKind

    def all(self) -> tuple[JobKind, ...]:
        """Every kind."""
        return tuple(getattr(self, kind.name) for kind in fields(self))


@dataclass(frozen=True)
class ModelInfo:
    """What a tokenization needs to know of a model.

    Attributes:
        status: its status, for example `READY`.
        epoch: names its folder in the store once it is READY.
        has_tokenizer: whether its repository carries a tokenizer.
        has_chat_template: whether its tokenizer has a chat template.
    """

    id: UUID
    name: str
    repo_id: str
    status: str
    epoch: int
    has_tokenizer: bool
    has_chat_template: bool


class ModelDirectory(Protocol):
    """Knows the models: the models service, seen from here."""

    async def get(self, model_id: UUID) -> ModelInfo:
        """The model.

        Raises:
            ModelNotFound: there is none of this id.
            Unavailable: the models service cannot be reached.
        """


class Tokenizers(Protocol):
    """Tokenizes with the tokenizers of models, elsewhere than in this process."""

    async def encode(self, model_folder: Path, text: str) -> Sequence[int]:
        """The ids of `text` by the tokenizer in `model_folder`, the epoch folder of a model, without special tokens.

        Raises:
            ModelNotFound: the folder is gone.
            TokenizerMissing, TokenizerInvalid: it holds no usable tokenizer.
            TimedOut, OutOfMemory: the text is too much.
            Unavailable: it was lost in the middle.
        """

    async def preview(self, wanted: PreviewInput) -> Preview:
        """A few rows as they would be tokenized.

        Raises:
            DatasetNotFound, MalformedFile, ChatTemplateMissing: and what `encode` raises.
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
        inspections: tells what the Hub says of datasets.
        models: knows the models.
        tokenizers: tokenizes a little, at once.
        upload_lifetime: how long a cut upload waits to be gone on with.
        scans: runs queries over rows.
        indexes: the word indexes that were searched last.
    """

    database: Database
    engine: JobEngine
    kinds: Kinds
    store: Store
    hub: HubLookup[[str, str, Sequence[str]], HubDataset]
    inspections: HubLookup[[str], DatasetInspection]
    models: ModelDirectory
    tokenizers: Tokenizers
    upload_lifetime: timedelta
    scans: Scans
    indexes: OpenIndexes = field(default_factory=OpenIndexes)
