"""Exact figures of the columns of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ValueCount:
    """A value, as text of at most 200 characters, and the rows that have it."""

    value: str
    count: int


@dataclass(frozen=True)
class NumberPercentile:
    """A percentile (0 to 100) of a set of numbers, interpolated between neighbours."""

    percentile: float
    value: float


@dataclass(frozen=True)
class NumberBin:
    """Rows whose number is at least `low` and less than `high`; in the last bin at most `high`."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class NumberFigures:
    """Figures of a set of numbers, of which there is one at least.

    Attributes:
        standard_deviation: that of the population; not a number where a number is infinite.
        percentiles: at 1, 5, 25, 50, 75, 95 and 99; of more than 1,000,000 different values they are estimates.
        histogram: log-spaced bins for lengths, equal ones for numbers; infinite numbers have bins of their own.
        not_a_number: values that are not numbers, which no other figure counts.
    """

    min: float
    max: float
    mean: float
    standard_deviation: float
    percentiles: tuple[NumberPercentile, ...]
    histogram: tuple[NumberBin, ...]
    not_a_number: int = 0

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """The figures that a parsed JSON object tells."""
        plain = dict(value)
        plain["percentiles"] = tuple(NumberPercentile(**item) for item in value["percentiles"])
        plain["histogram"] = tuple(NumberBin(**item) for item in value["histogram"])
        return cls(**plain)


@dataclass(frozen=True)
class ColumnStatistics:
    """Figures of a column over all rows of a split; see `mistudio.datasets.v1.ColumnStatistics`.

    Attributes:
        column: its name.
        type: type of its values in Arrow's notation.
        rows: rows of the split.
        nulls: rows where it is null.
        distinct: different values; exact up to 100,000, beyond that an estimate; None where they cannot be compared.
        distinct_is_exact: whether `distinct` is exact.
        top_values: the most frequent values, most frequent first; only where `distinct` is exact and values repeat.
        numbers: figures of the values, for numbers.
        lengths: figures of the lengths, for texts, lists and binary values.
        length_unit: `characters`, `items` or `bytes`; empty where there are no lengths.
        trues: rows that are true, for booleans.
        earliest: the earliest value in ISO 8601, for times; empty where there is none.
        latest: the latest one.
    """

    column: str
    type: str
    rows: int
    nulls: int
    distinct: int | None = None
    distinct_is_exact: bool = False
    top_values: tuple[ValueCount, ...] = ()
    numbers: NumberFigures | None = None
    lengths: NumberFigures | None = None
    length_unit: str = ""
    trues: int | None = None
    earliest: str = ""
    latest: str = ""

    def to_json(self) -> str:
        """These figures as JSON on one line, where infinite numbers stand as Python writes them."""
        return json.dumps(self, default=vars)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The figures that `to_json` wrote."""
        plain = json.loads(text)
        plain["top_values"] = tuple(ValueCount(**item) for item in plain["top_values"])
        for name in ("numbers", "lengths"):
            plain[name] = plain[name] and NumberFigures.from_plain(plain[name])
        return cls(**plain)
