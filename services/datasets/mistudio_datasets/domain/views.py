"""Views: ways to see a tokenization as sequences of bounded length, and exactly what they keep and drop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from mistudio_servicekit.errors import InvalidArgument

MIN_CONTEXT = 2
MAX_CONTEXT = 1_048_576


class ViewMode(StrEnum):
    """How documents become sequences; mirrors `mistudio.datasets.v1.ViewMode`."""

    PACKED = "PACKED"
    """One stream of all documents, cut into sequences of exactly the context length."""
    WINDOWS = "WINDOWS"
    """Windows of every document on its own; the last one may be shorter."""


class SpecialTokenPolicy(StrEnum):
    """Where a special token is put; mirrors `mistudio.datasets.v1.SpecialTokenPolicy`."""

    NOWHERE = "NOWHERE"
    DOCUMENT = "DOCUMENT"
    """Once for each document, where the document does not have it already."""
    SEQUENCE = "SEQUENCE"
    """Once for each sequence, where the sequence does not have it already."""


@dataclass(frozen=True)
class View:
    """A way to see a tokenization.

    Stored tokens are the ids of the documents as they were tokenized; empty documents are in no sequence and get no
    special token. A document has BOS already when its first stored token is BOS, and EOS when its last is EOS.

    PACKED: all documents, each with the BOS and EOS that policy DOCUMENT puts in, follow one another in a stream,
    which is cut into sequences of exactly `context_length`. With policy SEQUENCE the first place of every sequence is
    BOS, and the last is EOS: the stream's own token where that comes next, else one that is put in. What is left over
    at the end of the stream is dropped.

    WINDOWS: every document on its own is cut into windows of `room` stored tokens; window k begins at stored token
    `k * step`. They end with the first that reaches the document's end; the last may be short. Policy DOCUMENT puts BOS
    before a document's first window, and EOS behind the window with its last token. Policy SEQUENCE puts them at both
    ends of every window that does not begin with BOS, or end with EOS, already. Room is kept for the special tokens
    of both policies in every window, so windows of a document are alike.

    Attributes:
        mode: how documents become sequences.
        context_length: most tokens of a sequence, special tokens included.
        stride: tokens from the beginning of one window to the next, special tokens left out; 0: they do not overlap.
        bos: where the token that begins a text is put.
        eos: where the token that ends a text is put.
        first_window_only: whether only the first window of a document is kept.
        min_tokens: windows with fewer tokens, special tokens left out, are dropped.
    """

    mode: ViewMode
    context_length: int
    stride: int = 0
    bos: SpecialTokenPolicy = SpecialTokenPolicy.NOWHERE
    eos: SpecialTokenPolicy = SpecialTokenPolicy.NOWHERE
    first_window_only: bool = False
    min_tokens: int = 0

    @property
    def room(self) -> int:
        """Tokens of a sequence beside the special tokens that each sequence has a place for."""
        policies = {SpecialTokenPolicy.SEQUENCE}
        if self.mode is ViewMode.WINDOWS:
            policies.add(SpecialTokenPolicy.DOCUMENT)
        return self.context_length - (self.bos in policies) - (self.eos in policies)

    @property
    def step(self) -> int:
        """Stored tokens from the beginning of one window to the beginning of the next."""
        return self.stride or self.room

    def check(self) -> None:
        """Raise `InvalidArgument`, which names the field `view.<field>`, unless sequences can be made this way."""
        if not MIN_CONTEXT <= self.context_length <= MAX_CONTEXT:
            raise _wrong("context_length", self.context_length, f"Use {MIN_CONTEXT} to {MAX_CONTEXT:,}")
        if self.room < 1:
            next_step = "Use a longer one, which has room for tokens beside the special ones"
            raise _wrong("context_length", self.context_length, next_step)
        if self.mode is ViewMode.PACKED:
            self._check_packed()
        if self.stride < 0:
            raise _wrong("stride", self.stride, "Use 1 or more, or 0 for windows that do not overlap")
        if not 0 <= self.min_tokens <= self.room:
            raise _wrong("min_tokens", self.min_tokens, f"Use 0 to {self.room}, the tokens that a window has room for")

    def _check_packed(self) -> None:
        for field in ("stride", "first_window_only", "min_tokens"):
            if value := getattr(self, field):
                raise _wrong(field, value, "Leave it out of a packed view, or choose windows")

    def to_json(self) -> dict[str, Any]:
        """This view as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The view that `to_json` described."""
        plain = dict(value)
        plain["mode"] = ViewMode(plain["mode"])
        plain["bos"], plain["eos"] = SpecialTokenPolicy(plain["bos"]), SpecialTokenPolicy(plain["eos"])
        return cls(**plain)

    def digest(self) -> str:
        """SHA-256 of this view as JSON with sorted keys, hexadecimal: equal views have equal ones."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def _wrong(field: str, value: object, next_step: str) -> InvalidArgument:
    return InvalidArgument(f"view.{field} is {value}", next_step=next_step, field=f"view.{field}")


@dataclass(frozen=True)
class Span:
    """A piece of a document in a sequence.

    Attributes:
        document: number of the document, from 0.
        document_start: its first token in the document, from 0.
        sequence_start: its first token in the sequence, from 0.
        tokens: its length.
    """

    document: int
    document_start: int
    sequence_start: int
    tokens: int


@dataclass(frozen=True)
class ViewFigures:
    """Exactly what a view keeps and drops: `kept_tokens + dropped_tokens == tokens`.

    Attributes:
        sequences: number of sequences.
        tokens: token ids in all documents.
        kept_tokens: those in at least one sequence.
        dropped_tokens: those in no sequence: the sum of the four that follow.
        truncated_tokens: dropped behind the first window.
        short_tokens: dropped in windows below `min_tokens`.
        leftover_tokens: dropped at the end of the packed stream.
        skipped_tokens: dropped between windows that lie apart.
        repeated_tokens: occurrences beyond the first, because windows overlap.
        special_tokens: tokens that the view puts in.
        padding_tokens: places that stay empty up to the context length.
        utilization: tokens that are no padding over all places, 0 to 1; 0 without sequences.
        documents: documents with a token in at least one sequence.
    """

    sequences: int
    tokens: int
    kept_tokens: int
    dropped_tokens: int
    truncated_tokens: int
    short_tokens: int
    leftover_tokens: int
    skipped_tokens: int
    repeated_tokens: int
    special_tokens: int
    padding_tokens: int
    utilization: float
    documents: int
