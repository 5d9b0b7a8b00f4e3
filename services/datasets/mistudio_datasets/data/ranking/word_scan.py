"""Searching for words by reading every row: finds what the word index finds, by the same rule, without one.

Rows that cannot match are passed over by a quick look for the words as mere letters; only the others are taken apart.
Scores are those of the index (BM25 as tantivy computes it, summed over columns) but for two roundings: the index keeps
lengths of texts in 8 bits, and here the mean length is taken from the first rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.data.ranking.ranked import RankedPage, best_of
from mistudio_datasets.data.ranking.word_texts import row_words, rows_that_may_hold
from mistudio_datasets.data.ranking.words import Phrase
from mistudio_datasets.data.texts.rows import Rows
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_datasets.domain.progress import Check

_K1, _B = 1.2, 0.75
"""Parameters of BM25, the same as tantivy's."""

_BATCH_BYTES = 8 << 20
_SAMPLE_ROWS = 50_000
_MOST_HELD = 4_000_000

_Ints: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Search:
    """What is looked for, as numbers: word 0 is the empty one, -1 any other."""

    phrases: tuple[Phrase, ...]

    @cached_property
    def words(self) -> list[str]:
        return ["", *dict.fromkeys(word for phrase in self.phrases for word in phrase)]

    @cached_property
    def pattern(self) -> str:
        return "|".join(re.escape(word) for word in self.words[1:])

    @cached_property
    def numbered(self) -> list[list[int]]:
        return [[self.words.index(word) for word in phrase] for phrase in self.phrases]


@dataclass(frozen=True)
class _Words:
    """The words of some rows of a column, one after another, with the row of each."""

    numbers: npt.NDArray[np.int32]
    rows: _Ints

    @classmethod
    def of(cls, texts: pa.StringArray, search: _Search) -> _Words:
        split = pc.split_pattern(texts, " ")
        known = pc.index_in(split.values, value_set=pa.array(search.words)).fill_null(-1)
        numbers = known.to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(len(texts)), np.diff(split.offsets.to_numpy()))
        there = numbers != 0
        return cls(numbers[there], rows[there])

    def occurrences(self, phrase: Sequence[int]) -> _Ints:
        """Row of every place where the words of `phrase` follow one another."""
        starts = len(self.numbers) - len(phrase) + 1
        if starts <= 0:
            return np.empty(0, np.int64)
        here = self.rows[:starts] == self.rows[len(phrase) - 1 :]
        for at, number in enumerate(phrase):
            here &= self.numbers[at : at + starts] == number
        rows: _Ints = self.rows[:starts][here]
        return rows


class _Found:
    """The rows found so far, with the part of their score that does not depend on how rare the words are."""

    def __init__(self, columns: int, search: _Search, most: int) -> None:
        self._search = search
        self.frequency = np.zeros((columns, len(search.words)), np.int64)
        self.total = 0
        self.seen = 0
        self._width = columns * len(search.phrases)
        self._most = max(most, _MOST_HELD // (2 * self._width))
        self._rows: list[_Ints] = []
        self._parts: list[_Floats] = []

    def add(self, rows: _Ints, parts: _Floats) -> None:
        """Take rows; `parts` has a line for each, with a figure for each column and phrase."""
        self.total += len(rows)
        self._rows.append(rows)
        self._parts.append(parts)
        held = sum(map(len, self._rows))
        if held > self._most and held * self._width > _MOST_HELD:
            self._forget()

    def _forget(self) -> None:
        """Keep the best by what is known of the words by now, which after so many rows hardly changes any more."""
        rows, parts = self._joined()
        order = np.lexsort((rows, -(parts @ self._rarity())))[: self._most]
        self._rows, self._parts = [rows[order]], [parts[order]]

    def _joined(self) -> tuple[_Ints, _Floats]:
        nothing = np.empty((0, self._width), np.float32)
        return np.concatenate([np.empty(0, np.int64), *self._rows]), np.concatenate([nothing, *self._parts])

    def _rarity(self) -> _Floats:
        """Weight of every column and phrase: the sum over its words of ln(1 + (N - n + 0.5) / (n + 0.5))."""
        rare = np.log1p((self.seen - self.frequency + 0.5) / (self.frequency + 0.5))
        weights = [rare[column, phrase].sum() for column in range(len(rare)) for phrase in self._search.numbered]
        return np.array(weights, np.float32)

    def page(self, offset: int, limit: int) -> RankedPage:
        rows, parts = self._joined()
        rows, scores = best_of(rows, parts @ self._rarity(), offset + limit)
        return RankedPage(tuple(rows[offset:].tolist()), tuple(scores[offset:].tolist()), self.total)


def scan_for_words(
    folder: Path,
    split: SplitInfo,
    phrases: Sequence[Phrase],
    columns: Sequence[str],
    keep: npt.NDArray[np.bool_] | None,
    offset: int,
    limit: int,
    check: Check,
) -> RankedPage:
    """The rows of `split` that hold any of `phrases` in any of `columns`, best first.

    Args:
        folder: the dataset's epoch folder.
        split: where the rows lie.
        phrases: from `words.phrases_of`.
        columns: from `word_texts.text_columns`.
        keep: which rows of the split may be found; None for all.
        offset: how many of the best are passed over.
        limit: most rows in the page.
        check: raises when nobody waits for the answer any more.

    Raises:
        MalformedFile: a file is broken.
    """
    search = _Search(tuple(phrases))
    if not columns:
        return RankedPage((), (), 0)
    found = _Found(len(columns), search, offset + limit)
    rows = Rows(folder, split, columns)
    lengths = _mean_lengths(rows, check)
    for batch in rows.batches(_BATCH_BYTES):
        check()
        _take(batch.rows, search, lengths, keep, found)
    return found.page(offset, limit)


def _take(
    batch: pa.RecordBatch, search: _Search, lengths: _Floats, keep: npt.NDArray[np.bool_] | None, found: _Found
) -> None:
    """Look through a batch."""
    first, parts = found.seen, np.zeros((len(batch), len(batch.columns), len(search.phrases)), np.float32)
    for number, column in enumerate(batch.columns):
        parts[:, number], frequency = _score(column, search, float(lengths[number]))
        found.frequency[number] += frequency
    found.seen += len(batch)
    matching = parts.any(axis=(1, 2))
    if keep is not None:
        matching &= keep[first : found.seen]
    at = np.flatnonzero(matching)
    found.add(at + first, parts[at].reshape(len(at), parts.shape[1] * parts.shape[2]))


def _score(column: pa.Array[Any], search: _Search, mean_length: float) -> tuple[_Floats, _Ints]:
    """For every row and phrase its part of the score, and for every word in how many rows it is."""
    parts = np.zeros((len(column), len(search.phrases)), np.float32)
    frequency = np.zeros(len(search.words), np.int64)
    candidates = np.flatnonzero(rows_that_may_hold(column, search.pattern))
    if not len(candidates):
        return parts, frequency
    words = _Words.of(row_words(column.take(candidates)), search)
    lengths = np.bincount(words.rows, minlength=len(candidates))
    shortness = _K1 * (1 - _B + _B * lengths / mean_length)
    for number, phrase in enumerate(search.numbered):
        counts = np.bincount(words.occurrences(phrase), minlength=len(candidates))
        parts[candidates, number] = counts * (1 + _K1) / (counts + shortness)
    for word in range(1, len(search.words)):
        frequency[word] = len(np.unique(words.occurrences([word])))
    return parts, frequency


def _mean_lengths(rows: Rows, check: Check) -> _Floats:
    """Words of a row in each column, on average over the first 50,000 rows."""
    words: _Ints | int = 0
    seen, nothing = 0, _Search(())
    for batch in rows.batches(_BATCH_BYTES):
        check()
        seen += len(batch.rows)
        words += np.array([len(_Words.of(row_words(column), nothing).rows) for column in batch.rows.columns])
        if seen >= _SAMPLE_ROWS:
            break
    return (np.maximum(words, 1) / max(seen, 1)).astype(np.float32)
