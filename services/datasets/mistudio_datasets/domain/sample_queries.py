"""Which rows of a split are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from mistudio_servicekit.errors import InvalidArgument

MOST_SEARCH_CHARACTERS = 1000
MOST_FILTER_CHARACTERS = 10_000


@dataclass(frozen=True)
class TokenLength:
    """A range of lengths under a tokenization; `max_tokens` 0 means no limit."""

    tokenization_id: UUID
    min_tokens: int = 0
    max_tokens: int = 0


@dataclass(frozen=True)
class SampleQuery:
    """Conditions that must all hold; empty ones always do. See `mistudio.datasets.v1.SampleQuery` for each field.

    At most one of `contains`, `regex` and `words` is set.
    """

    filter: str = ""
    contains: str = ""
    regex: str = ""
    words: str = ""
    ignore_case: bool = False
    search_columns: tuple[str, ...] = ()
    token_length: TokenLength | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every row is wanted."""
        return not (self.filter.strip() or self.contains or self.regex or self.words or self.token_length)

    def check(self) -> None:
        """Raise `InvalidArgument` unless texts have a bounded length and the range of token lengths can be met."""
        for field in ("contains", "regex", "words"):
            _check_length(f"query.{field}", getattr(self, field), MOST_SEARCH_CHARACTERS)
        _check_length("query.filter", self.filter, MOST_FILTER_CHARACTERS)
        if self.token_length is not None:
            _check_range(self.token_length)


def _check_length(field: str, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidArgument(
            f"{field} has {len(value):,} characters", next_step=f"Use at most {most:,} characters", field=field
        )


def _check_range(wanted: TokenLength) -> None:
    least, most = wanted.min_tokens, wanted.max_tokens
    if least < 0 or most < 0 or (most and most < least):
        raise InvalidArgument(
            f"query.token_length asks for {least} to {most} tokens, which no row can have",
            next_step="Set min_tokens to 0 or more, and max_tokens to at least as much, or to 0 for no limit",
            field="query.token_length",
        )
