"""Statistics of one column, part by part, in memory that does not grow with the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.data.columns.column_figures_distinct import MOST_EXACT, Distinct, Hasher, Sketch, shown
from mistudio_datasets.data.columns.column_figures_numbers import Histogram, NumberTable, equal_edges
from mistudio_datasets.data.incoming.schema import is_media_struct
from mistudio_datasets.data.ranking.word_texts import not_utf8
from mistudio_datasets.data.tokens.statistics import histogram_edges
from mistudio_datasets.domain.column_statistics import ColumnStatistics
from mistudio_datasets.domain.datasets import Column, ColumnKind
from mistudio_servicekit.errors import MalformedFile

_LENGTH_UNITS = {
    ColumnKind.TEXT: "characters",
    ColumnKind.LIST: "items",
    ColumnKind.BINARY: "bytes",
    ColumnKind.IMAGE: "bytes",
    ColumnKind.AUDIO: "bytes",
}
_COMPARED = (ColumnKind.TEXT, ColumnKind.NUMBER, ColumnKind.BOOLEAN, ColumnKind.TIME, ColumnKind.BINARY)


class ColumnFigures:
    """The figures of one column.

    Args:
        column: the column.
        rows: rows that there will be.
        hasher: tells values apart where there are many.
    """

    def __init__(self, column: Column, rows: int, hasher: Hasher) -> None:
        self.column = column
        sketch = Sketch(hasher) if rows > MOST_EXACT else None
        self._distinct = Distinct(sketch) if column.kind in _COMPARED else None
        self._type: pa.DataType | None = None
        self._rows = self._nulls = self._trues = 0
        self._table = NumberTable()
        self._times: pa.Array[Any] | None = None

    def add(self, array: pa.Array[Any]) -> None:
        """Count some rows.

        Raises:
            MalformedFile: a text is no UTF-8, or files keep the column in types that do not fit together.
        """
        self._rows += len(array)
        self._nulls += array.null_count
        values = self._fitted(array.drop_null())
        try:
            self._measure(values)
            if self._distinct is not None and len(values):
                self._distinct.add(_without_nan(values))
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise not_utf8() from error

    def _fitted(self, values: pa.Array[Any]) -> pa.Array[Any]:
        """The values in the type that the first file keeps them in."""
        if self.column.kind is ColumnKind.NUMBER:
            values = _widened(values)
        if self.column.kind not in _COMPARED:
            return values
        self._type = self._type or values.type
        try:
            return values.cast(self._type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise MalformedFile(
                f"The column {self.column.name!r} is {self._type} in one file and {values.type} in another",
                next_step="Repair the files and bring the dataset in again",
                metadata={"column": self.column.name},
            ) from error

    def _measure(self, values: pa.Array[Any]) -> None:
        kind = self.column.kind
        if kind in _LENGTH_UNITS:
            self._table.add(_lengths(values).drop_null().cast(pa.int64()).to_numpy())
        elif kind is ColumnKind.NUMBER:
            is_decimal = pa.types.is_decimal(values.type)
            self._table.add((values.cast(pa.float64()) if is_decimal else values).to_numpy())
        elif kind is ColumnKind.BOOLEAN:
            self._trues += cast(pa.BooleanArray, values).true_count
        elif kind is ColumnKind.TIME and len(values):
            self._times = _earliest_and_latest(
                values if self._times is None else pa.concat_arrays([self._times, values])
            )

    def empty_histogram(self) -> Histogram | None:
        """A histogram that wants to see all numbers, where there were too many different ones to keep; or None."""
        if self.column.kind is ColumnKind.NUMBER and not self._table.is_exact:
            return Histogram(equal_edges(self._table))
        return None

    def fill(self, histogram: Histogram, array: pa.Array[Any]) -> None:
        """Count the numbers of some rows in `histogram`."""
        histogram.add(self._fitted(array.drop_null()).cast(pa.float64()).to_numpy())

    def result(self, histogram: Histogram | None = None) -> ColumnStatistics:
        """The figures of all rows that were counted, with the `empty_histogram` after it was filled."""
        column, distinct = self.column, self._distinct
        plain = ColumnStatistics(column.name, column.type, self._rows, self._nulls, **self._measured(histogram))
        if distinct is None:
            return plain
        return replace(plain, distinct=distinct.count, distinct_is_exact=distinct.is_exact, top_values=distinct.top())

    def _measured(self, histogram: Histogram | None) -> dict[str, Any]:
        kind, table = self.column.kind, self._table
        if kind in _LENGTH_UNITS:
            edges = histogram_edges(int(table.finite.high)) if table.count else []
            return {"lengths": table.figures(table.histogram(edges)), "length_unit": _LENGTH_UNITS[kind]}
        if kind is ColumnKind.NUMBER:
            return {"numbers": table.figures(histogram or table.histogram(equal_edges(table)))}
        if kind is ColumnKind.BOOLEAN:
            return {"trues": self._trues}
        if self._times is not None:
            return dict(zip(("earliest", "latest"), shown(self._times), strict=True))
        return {}


def _widened(values: pa.Array[Any]) -> pa.Array[Any]:
    """Numbers as int64, uint64, float64 or decimals."""
    type_ = values.type
    if pa.types.is_floating(type_):
        return values.cast(pa.float64())
    return values.cast(pa.int64()) if pa.types.is_integer(type_) and type_ != pa.uint64() else values


def _without_nan(values: pa.Array[Any]) -> pa.Array[Any]:
    return values.filter(pc.invert(pc.is_nan(values))) if pa.types.is_floating(values.type) else values


def _earliest_and_latest(times: pa.Array[Any]) -> pa.Array[Any]:
    # Arrow compares durations as numbers only.
    compared = times.cast(pa.int64()) if pa.types.is_duration(times.type) else times
    found = pc.min_max(compared)
    return pa.array([found["min"], found["max"]], compared.type).cast(times.type)


def _lengths(values: pa.Array[Any]) -> pa.Array[Any]:
    """Characters of texts, items of lists, bytes of binary values and of files as `datasets` stores them."""
    type_ = values.type
    if is_media_struct(type_):
        values = pc.struct_field(values, "bytes")
    if pa.types.is_string(type_):
        measure = "utf8_length"
    else:
        is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
        measure = "list_value_length" if is_list else "binary_length"
    return cast("pa.Array[Any]", pc.call_function(measure, [values]))
