"""Exports: views of tokenizations as datasets of fixed-length sequences on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.views import View


@dataclass(frozen=True)
class ExportSettings:
    """What is written; equal settings of one tokenization are one export.

    Attributes:
        view: as `effective` gives it.
        shuffle_seed: seed of the order of sequences, from 0; None keeps their own order.
    """

    view: View
    shuffle_seed: int | None

    @classmethod
    def of(cls, view: View, shuffle_seed: int | None) -> Self:
        """The settings for what a client asks for."""
        return cls(effective(view), shuffle_seed)

    def digest(self) -> str:
        """SHA-256, hexadecimal; tells settings apart in a unique index."""
        plain = {"view": self.view.to_json(), "shuffle_seed": self.shuffle_seed}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def effective(view: View) -> View:
    """The plainest view with the very same sequences: views that differ only in what has no effect become equal."""
    stride = 0 if view.first_window_only or view.stride == view.room else view.stride
    # No window is without a token.
    return replace(view, stride=stride, min_tokens=view.min_tokens if view.min_tokens > 1 else 0)


@dataclass(frozen=True)
class Export:
    """A view of a tokenization as a dataset on disk.

    Attributes:
        epoch: job attempt whose folder counts; 0 until READY.
        sequences: number of sequences, each exactly as long as the context; 0 until READY.
        short_sequences: sequences of the view that are shorter and were left out; 0 until READY.
        tokens: token ids in it; 0 until READY.
        size_bytes: bytes of its files in the store; 0 until READY.
        error: why its status is ERROR, as `MistudioError.to_record` gives it.
        job_id: the job that writes or wrote it.
        version: grows with every change.
    """

    id: UUID
    tokenization_id: UUID
    settings: ExportSettings
    status: WorkStatus
    epoch: int
    sequences: int
    short_sequences: int
    tokens: int
    size_bytes: int
    error: Mapping[str, Any] | None
    job_id: UUID
    create_time: datetime
    update_time: datetime
    version: int = 1
