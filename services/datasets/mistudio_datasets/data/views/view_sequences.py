"""Sequences of a view, many at once as flat arrays, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from mistudio_datasets.data.tokens.token_files import Ids, Ints, sums
from mistudio_datasets.domain.views import Span

_SHORT_RUN = 32
"""Mean tokens of a run below which indexing all tokens at once beats a copy for each run."""


@dataclass(frozen=True)
class ViewSequence:
    """A sequence: its ids (int32), and the pieces of documents in it, in order."""

    ids: Ids
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class SpanTable:
    """Pieces of documents, in the order of their sequences; int64 columns of one length, named as in `Span`.

    Attributes:
        sequence: place of the sequence in its batch, from 0.
    """

    sequence: Ints
    document: Ints
    document_start: Ints
    sequence_start: Ints
    tokens: Ints

    def where(self, rows: Ints | slice) -> Self:
        """These rows of it."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one part after the other."""
        empty = [np.empty(0, np.int64)]
        return cls(*(np.concatenate(empty + [getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences one after the other.

    Attributes:
        ids: of all of them, int32.
        offsets: first token of each in `ids`, and behind the last the number of tokens; int64.
        spans: the pieces of documents in them.
    """

    ids: Ids
    offsets: Ints
    spans: SpanTable

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.offsets) - 1

    def lengths(self) -> Ints:
        """Tokens of each, special tokens included."""
        return np.diff(self.offsets)

    def sequence(self, at: int) -> ViewSequence:
        """The sequence at this place of the batch."""
        first, end = np.searchsorted(self.spans.sequence, [at, at + 1])
        spans = self.spans.where(slice(first, end))
        columns = (spans.document, spans.document_start, spans.sequence_start, spans.tokens)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return ViewSequence(self.ids[self.offsets[at] : self.offsets[at + 1]], tuple(Span(*row) for row in rows))

    def rows(self, length: int) -> Ids:
        """The ids of those sequences that have exactly `length` tokens, in order; shape (sequences, length)."""
        full = self.lengths() == length
        kept: Ids = self.ids if full.all() else self.ids[np.repeat(full, self.lengths())]
        return kept.reshape(-1, length)

    def reordered(self, order: Ints) -> Self:
        """The sequences at these places of the batch, in this order."""
        lengths = self.lengths()[order]
        firsts, ends = np.searchsorted(self.spans.sequence, [order, order + 1])
        spans = self.spans.where(ranges(firsts, ends - firsts))
        numbered = SpanTable(
            np.repeat(np.arange(len(order)), ends - firsts),
            spans.document,
            spans.document_start,
            spans.sequence_start,
            spans.tokens,
        )
        return type(self)(self.ids[ranges(self.offsets[order], lengths)], sums(lengths), numbered)


def ranges(firsts: Ints, counts: Ints) -> Ints:
    """`counts[i]` numbers from `firsts[i]` on, for one i after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(firsts - ends + counts, counts)


def copy_runs(out: Ids, places: Ints, ids: Ids, sources: Ints, tokens: Ints) -> None:
    """Copy `tokens[i]` ids from `sources[i]` on to `places[i]` on in `out`, for every i; runs that adjoin at once."""
    if not len(tokens):
        return
    adjoins = (sources[1:] == sources[:-1] + tokens[:-1]) & (places[1:] == places[:-1] + tokens[:-1])
    firsts = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(~adjoins) + 1])
    places, sources, tokens = places[firsts], sources[firsts], np.add.reduceat(tokens, firsts)
    if tokens.sum() < _SHORT_RUN * len(tokens):
        out[ranges(places, tokens)] = ids[ranges(sources, tokens)]
        return
    for place, source, count in zip(places.tolist(), sources.tolist(), tokens.tolist(), strict=True):
        out[place : place + count] = ids[source : source + count]
