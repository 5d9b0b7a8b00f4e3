"""Figures of a set of numbers that is read in parts, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from mistudio_datasets.domain.column_statistics import NumberBin, NumberFigures, NumberPercentile

PERCENTILES = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
MOST_BINS = 20
MOST_VALUES = 1_000_000
"""Of more different values, percentiles are estimates."""

Numbers: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.uint64] | npt.NDArray[np.float64]
_Floats: TypeAlias = npt.NDArray[np.float64]
_Ints: TypeAlias = npt.NDArray[np.int64]


class Moments:
    """Bounds, mean and spread of finite numbers, put together part by part (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.low = np.inf
        self.high = -np.inf
        self.mean = 0.0
        self._squares = 0.0

    def add(self, numbers: _Floats) -> None:
        """Count finite numbers."""
        if not len(numbers):
            return
        # Adding 0.0 makes of a negative zero a plain one.
        self.low, self.high = min(self.low, float(numbers.min()) + 0.0), max(self.high, float(numbers.max()) + 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.mean(numbers)
            squares = np.sum(np.square(numbers - mean))
            step, total = mean - self.mean, self.count + len(numbers)
            self._squares = float(self._squares + squares + step * step * self.count * (len(numbers) / total))
            self.mean = float(self.mean + step * (len(numbers) / total))
        self.count = total

    @property
    def standard_deviation(self) -> float:
        """Standard deviation of the population."""
        return float(np.sqrt(self._squares / self.count)) if self.count else 0.0


class NumberTable:
    """How often which number occurs; beyond a million different ones neighbours share an entry.

    Attributes:
        is_exact: whether every number still has its own entry.
        not_a_number: numbers that are none, which nothing else counts.
        below: numbers that are minus infinity.
        above: numbers that are infinity.
        finite: bounds, mean and spread of the others.
    """

    def __init__(self) -> None:
        self._values: Numbers | None = None
        self._counts: _Ints = np.empty(0, np.int64)
        self.is_exact = True
        self.not_a_number = self.below = self.above = 0
        self.finite = Moments()

    def add(self, numbers: Numbers) -> None:
        """Count these numbers; they always have the same type."""
        plain = numbers.astype(np.float64)
        there = ~np.isnan(plain)
        self.not_a_number += int(len(plain) - there.sum())
        self.below += int(np.isneginf(plain).sum())
        self.above += int(np.isposinf(plain).sum())
        self.finite.add(plain[np.isfinite(plain)])
        values, counts = np.unique(numbers[there], return_counts=True)
        self._merge(cast(Numbers, values), counts.astype(np.int64))

    def _merge(self, values: Numbers, counts: _Ints) -> None:
        if self._values is None:
            self._values, self._counts = values, counts
        else:
            merged, where = np.unique(np.concatenate([self._values, values]), return_inverse=True)
            weights = np.concatenate([self._counts, counts])
            self._values, self._counts = merged, np.zeros(len(merged), np.int64)
            np.add.at(self._counts, where, weights)
        if len(self._values) > MOST_VALUES:
            self._thin(self._values)

    def _thin(self, values: Numbers) -> None:
        """Of two neighbours the more frequent one stands for both."""
        self.is_exact = False
        even = len(values) // 2 * 2
        pairs, counts = values[:even].reshape(-1, 2), self._counts[:even].reshape(-1, 2)
        chosen = pairs[np.arange(len(pairs)), np.argmax(counts, axis=1)]
        self._values = np.concatenate([chosen, values[even:]])
        self._counts = np.concatenate([counts.sum(axis=1), self._counts[even:]])

    @property
    def count(self) -> int:
        """Numbers counted."""
        return self.below + self.finite.count + self.above

    @property
    def is_whole(self) -> bool:
        """Whether they are of a type of whole numbers."""
        return self._values is not None and self._values.dtype != np.float64

    def histogram(self, edges: Sequence[float]) -> Histogram:
        """Every number in its bin; exact if the table is."""
        histogram = Histogram(edges)
        if self._values is not None:
            histogram.add(self._values, self._counts)
        return histogram

    def figures(self, histogram: Histogram) -> NumberFigures | None:
        """The figures with the bins of `histogram`; None if there is nothing to tell of."""
        if not self.count:
            nothing = (float(np.nan),) * 4
            return NumberFigures(*nothing, (), (), self.not_a_number) if self.not_a_number else None
        return NumberFigures(
            min=-np.inf if self.below else self.finite.low if self.finite.count else np.inf,
            max=np.inf if self.above else self.finite.high if self.finite.count else -np.inf,
            mean=self._mean(),
            standard_deviation=np.nan if self.below or self.above else self.finite.standard_deviation,
            percentiles=tuple(NumberPercentile(percent, self.percentile(percent)) for percent in PERCENTILES),
            histogram=histogram.bins(),
            not_a_number=self.not_a_number,
        )

    def _mean(self) -> float:
        if self.below and self.above:
            return float(np.nan)
        return -np.inf if self.below else np.inf if self.above else self.finite.mean

    def percentile(self, percent: float) -> float:
        """The percentile, interpolated linearly between neighbours."""
        ends = np.cumsum(self._counts)
        position = (self.count - 1) * percent / 100
        below, part = int(position), position - int(position)
        low = self._at(ends, below)
        return low if part == 0.0 else _between(low, self._at(ends, below + 1), part)

    def _at(self, ends: _Ints, rank: int) -> float:
        """The number at `rank` (from 0) in order."""
        assert self._values is not None, "numbers were counted"
        return float(self._values[np.searchsorted(ends, rank, side="right")])


def _between(low: float, high: float, part: float) -> float:
    """So that neither large numbers nor infinite ones that are equal go astray."""
    return low if low == high else low * (1 - part) + high * part


class Histogram:
    """Numbers counted in bins between `edges`; the last edge belongs to the last bin."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = np.array(edges, np.float64)
        self._rows = np.zeros(max(0, len(edges) - 1), np.int64)

    def add(self, numbers: Numbers, counts: _Ints | None = None) -> None:
        """Count numbers, each once or as often as `counts` says; none lies beyond the edges."""
        plain = numbers.astype(np.float64)
        there = ~np.isnan(plain)
        if not there.any():
            return
        bins = np.searchsorted(self._edges, plain[there], side="right") - 1
        np.add.at(self._rows, np.minimum(bins, len(self._rows) - 1), 1 if counts is None else counts[there])

    def bins(self) -> tuple[NumberBin, ...]:
        """The bins in order."""
        edges = self._edges.tolist()
        return tuple(NumberBin(*bounds) for bounds in zip(edges, edges[1:], self._rows.tolist(), strict=False))


def equal_edges(table: NumberTable) -> list[float]:
    """Edges of equal bins over the finite numbers, with bins of their own for infinite ones around them.

    Whole numbers of a small range have a bin each.
    """
    inner: list[float] = []
    if table.finite.count:
        low, high = table.finite.low, table.finite.high
        bins = int(min(MOST_BINS, high - low + 1)) if table.is_whole else MOST_BINS
        parts = np.linspace(0, 1, bins + 1)
        # Not `low + part * (high - low)`, which overflows where both are huge.
        inner = np.unique(np.concatenate([[low], (low * (1 - parts) + high * parts)[1:-1], [high]])).tolist()
    edges = [-np.inf] * bool(table.below) + inner + [np.inf] * bool(table.above)
    return edges * 2 if len(edges) == 1 else edges
