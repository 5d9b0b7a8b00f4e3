"""Counting lengths and tokens, exactly, in memory that grows with the vocabulary and not with the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.tokens.shards import pieces_of
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE, TokenFiles
from mistudio_datasets.domain.statistics import LengthBin, LengthPercentile, TokenCount, TokenizationStatistics

PERCENTILES = tuple(map(float, range(1, 100)))
TOP_TOKENS = 50

_Ints = npt.NDArray[np.int64]


class Lengths:
    """How many documents have which length."""

    def __init__(self) -> None:
        self._values: _Ints = np.empty(0, np.int64)
        self._counts: _Ints = np.empty(0, np.int64)

    def add(self, lengths: _Ints) -> None:
        """Count these documents."""
        values, counts = np.unique(lengths, return_counts=True)
        merged, where = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.zeros(len(merged), np.int64)
        np.add.at(self._counts, where, weights)
        self._values = merged

    @property
    def documents(self) -> int:
        """Documents counted."""
        return int(self._counts.sum())

    @property
    def empty_documents(self) -> int:
        """Documents of length 0."""
        return int(self._counts[self._values == 0].sum())

    @property
    def tokens(self) -> int:
        """Tokens in all documents."""
        return int(self._values @ self._counts)

    @property
    def shortest(self) -> int:
        """Length of the shortest document; 0 without documents."""
        return int(self._values[0]) if len(self._values) else 0

    @property
    def longest(self) -> int:
        """Length of the longest document; 0 without documents."""
        return int(self._values[-1]) if len(self._values) else 0

    def percentile(self, percent: float) -> float:
        """The percentile of the length, interpolated linearly between neighbours as `numpy.percentile` does."""
        if not len(self._values):
            return 0.0
        position = (self.documents - 1) * percent / 100
        below = int(position)
        low, high = self._at(below), self._at(min(below + 1, self.documents - 1))
        return low + (high - low) * (position - below)

    def _at(self, rank: int) -> int:
        """Length of the document at `rank` (from 0) in order of length."""
        return int(self._values[np.searchsorted(np.cumsum(self._counts), rank, side="right")])

    def histogram(self) -> tuple[LengthBin, ...]:
        """Log-spaced bins that cover every length."""
        edges = histogram_edges(self.longest)
        bins = np.searchsorted(edges, self._values, side="right") - 1
        counts = np.zeros(len(edges) - 1, np.int64)
        np.add.at(counts, bins, self._counts)
        return tuple(
            LengthBin(low, high, int(count)) for low, high, count in zip(edges, edges[1:], counts, strict=False)
        )


def histogram_edges(longest: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 8, 12, 16, 24 … up to the first edge beyond `longest`."""
    edges = [0, 1, 2]
    while edges[-1] <= longest:
        edges.append(edges[-2] * 2 if len(edges) > 3 else edges[-1] + 1)
    return edges


def figures(lengths: Lengths, token_counts: _Ints, vocabulary_size: int, pieces: list[str]) -> TokenizationStatistics:
    """The statistics of what was counted; `pieces` gives the text of every id."""
    documents, tokens = lengths.documents, lengths.tokens
    return TokenizationStatistics(
        documents=documents,
        empty_documents=lengths.empty_documents,
        tokens=tokens,
        min_tokens=lengths.shortest,
        mean_tokens=tokens / documents if documents else 0.0,
        median_tokens=lengths.percentile(50),
        max_tokens=lengths.longest,
        percentiles=tuple(LengthPercentile(percent, lengths.percentile(percent)) for percent in PERCENTILES),
        histogram=lengths.histogram(),
        vocabulary_size=vocabulary_size,
        vocabulary_used=int(np.count_nonzero(token_counts)),
        top_tokens=_top(token_counts, pieces),
    )


def _top(token_counts: _Ints, pieces: list[str]) -> tuple[TokenCount, ...]:
    order = np.argsort(-token_counts, kind="stable")[:TOP_TOKENS]
    return tuple(TokenCount(int(id_), pieces[id_], int(token_counts[id_])) for id_ in order if token_counts[id_])


def recompute(folder: Path) -> TokenizationStatistics:
    """The statistics of the tokenization in `folder` from its files: lengths from the offsets alone, without copying
    ids, and vocabulary use from the counts that were made while writing.
    """
    lengths = Lengths()
    for batch in TokenFiles(folder).batches():
        lengths.add(batch.lengths())
    token_counts: _Ints = np.load(folder / COUNTS_FILE)
    pieces = pieces_of(folder)
    return figures(lengths, token_counts, len(pieces) - pieces.count(""), pieces)
