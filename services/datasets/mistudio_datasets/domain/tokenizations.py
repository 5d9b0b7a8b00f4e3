"""Tokenizations: any dataset for any model, once per settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.conversations import ChatSettings
from mistudio_datasets.domain.status import WorkStatus


@dataclass(frozen=True)
class TokenizationSettings:
    """What is tokenized; equal settings for one dataset and model are one tokenization.

    In a request, what is empty is to be found out.

    Attributes:
        split: split of the dataset.
        text_column: column that holds the text; empty for conversations.
        chat: where the conversations are; None for text.
        cleaning: what is done to every text, in this order.
    """

    split: str
    text_column: str
    chat: ChatSettings | None = None
    cleaning: tuple[CleaningStep, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """These settings as JSON-ready values.

        What is not used is left out, so that settings from before it existed keep their digest.
        """
        chat = {} if self.chat is None else {"chat": self.chat.to_json()}
        cleaning = {"cleaning": [step.value for step in self.cleaning]} if self.cleaning else {}
        return {"split": self.split, "text_column": self.text_column, **chat, **cleaning}

    def canonical_json(self) -> str:
        """These settings as JSON with sorted keys and no spaces: equal settings give equal text."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal; tells settings apart in a unique index."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The settings that `to_json` described."""
        return cls(
            split=value["split"],
            text_column=value["text_column"],
            chat=ChatSettings.from_json(value["chat"]) if "chat" in value else None,
            cleaning=tuple(map(CleaningStep, value.get("cleaning", ()))),
        )


@dataclass(frozen=True)
class Tokenization:
    """A dataset's text as token ids of a model: whole documents, unpadded, uncut, without special tokens.

    Attributes:
        settings: with every default filled in.
        epoch: job attempt whose folder counts; 0 until READY.
        documents: number of documents; 0 until READY.
        tokens: token ids in all documents; 0 until READY.
        size_bytes: bytes of its files in the store; 0 until READY.
        engine: what made the ids, `tokenizers` or `gigatoken`; empty until READY.
        tokenizer_sha256: hash of the tokenizer's files; empty until READY.
        error: why its status is ERROR, as `MistudioError.to_record` gives it.
        job_id: the job that makes or made it.
        model_delete_time: when its model was deleted; None while that is there.
        version: grows with every change.
    """

    id: UUID
    dataset_id: UUID
    model_id: UUID
    settings: TokenizationSettings
    status: WorkStatus
    epoch: int
    documents: int
    tokens: int
    size_bytes: int
    engine: str
    tokenizer_sha256: str
    error: Mapping[str, Any] | None
    job_id: UUID
    create_time: datetime
    update_time: datetime
    model_delete_time: datetime | None = None
    version: int = 1
