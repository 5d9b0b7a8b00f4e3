"""Exact figures over all documents of a tokenization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class LengthPercentile:
    """A percentile (0 to 100) of the document length, in tokens, interpolated between neighbours."""

    percentile: float
    tokens: float


@dataclass(frozen=True)
class LengthBin:
    """Documents whose length is at least `from_tokens` and less than `to_tokens`."""

    from_tokens: int
    to_tokens: int
    documents: int


@dataclass(frozen=True)
class TokenCount:
    """How often a token occurs: its id, its text, its occurrences."""

    token_id: int
    token: str
    count: int


@dataclass(frozen=True)
class TokenizationStatistics:
    """Exact figures over all documents; lengths are in tokens.

    Attributes:
        documents: documents, empty ones included.
        empty_documents: documents without a token.
        tokens: token ids in all documents.
        percentiles: of the length, every one from 1 to 99; older tokenizations have fewer.
        histogram: bins that double every second edge, from 0 to beyond the longest document.
        vocabulary_size: entries of the tokenizer's vocabulary, added tokens included.
        vocabulary_used: different ids that occur.
        top_tokens: the most frequent tokens, most frequent first.
    """

    documents: int
    empty_documents: int
    tokens: int
    min_tokens: int
    mean_tokens: float
    median_tokens: float
    max_tokens: int
    percentiles: tuple[LengthPercentile, ...]
    histogram: tuple[LengthBin, ...]
    vocabulary_size: int
    vocabulary_used: int
    top_tokens: tuple[TokenCount, ...]

    def to_json(self) -> dict[str, Any]:
        """These figures as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The figures that `to_json` described."""
        plain = dict(value)
        plain["percentiles"] = tuple(LengthPercentile(**item) for item in value["percentiles"])
        plain["histogram"] = tuple(LengthBin(**item) for item in value["histogram"])
        plain["top_tokens"] = tuple(TokenCount(**item) for item in value["top_tokens"])
        return cls(**plain)
