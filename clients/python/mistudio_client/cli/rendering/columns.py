"""Statistics of columns: a table of all, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from mistudio.datasets.v1 import column_statistics_pb2
from mistudio_client.cli.rendering.formats import figure, number, share, shortened
from mistudio_client.cli.rendering.histogram import number_histogram
from mistudio_client.cli.rendering.tables import show_facts

COLUMN_COLUMNS = ("column", "type", "nulls", "distinct", "values", "most frequent")
COLUMN_NUMERIC = "nulls distinct"

_MEDIAN = 50.0
_VALUES_IN_A_CELL = 3
_VALUE_WIDTH = 30


def column_row(column: column_statistics_pb2.ColumnStatistics) -> Sequence[str]:
    """A column's cells for `COLUMN_COLUMNS`."""
    top = ", ".join(_counted(each) for each in column.top_values[:_VALUES_IN_A_CELL])
    return (column.column, column.type, _rows(column.nulls, column), _distinct(column), _values(column), top)


def show_column(console: Console, column: column_statistics_pb2.ColumnStatistics) -> None:
    """Print everything about a column: its figures, then its histograms."""
    facts = [
        ("column", column.column),
        ("type", column.type),
        ("rows", number(column.rows)),
        ("nulls", _rows(column.nulls, column)),
        ("distinct", _distinct(column)),
        ("values", _values(column)),
        ("percentiles", _percentiles(_figures(column))),
        ("most frequent", ", ".join(map(_counted, column.top_values))),
    ]
    show_facts(console, facts)
    lines = number_histogram(_figures(column).histogram)
    if lines:
        console.print(Text(f"rows by {column.length_unit or 'value'}", style="bold"))
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.print()


def _figures(column: column_statistics_pb2.ColumnStatistics) -> column_statistics_pb2.NumberFigures:
    """Those of its values, or of their lengths."""
    return column.numbers if column.HasField("numbers") else column.lengths


def _values(column: column_statistics_pb2.ColumnStatistics) -> str:
    """What its values are like, in a line."""
    if column.HasField("trues"):
        return f"{_rows(column.trues, column)} true"
    if column.earliest:
        return f"{column.earliest} to {column.latest}"
    if column.HasField("numbers") or column.HasField("lengths"):
        return _spread(_figures(column), column.length_unit)
    return ""


def _spread(figures: column_statistics_pb2.NumberFigures, unit: str) -> str:
    median = next((each.value for each in figures.percentiles if each.percentile == _MEDIAN), None)
    if figures.min == figures.max:
        return f"all {figure(figures.min)} {unit}".rstrip()
    parts = [
        f"{figure(figures.min)} to {figure(figures.max)} {unit}".rstrip(),
        f"mean {figure(figures.mean)}",
        "" if median is None else f"median {figure(median)}",
        f"deviation {figure(figures.standard_deviation)}",
        f"{number(figures.not_a_number)} NaN" if figures.not_a_number else "",
    ]
    return ", ".join(part for part in parts if part)


def _percentiles(figures: column_statistics_pb2.NumberFigures) -> str:
    return ", ".join(f"{figure(each.percentile)} %: {figure(each.value)}" for each in figures.percentiles)


def _rows(count: int, column: column_statistics_pb2.ColumnStatistics) -> str:
    return f"{number(count)} ({share(count, column.rows)})" if count else "0"


def _distinct(column: column_statistics_pb2.ColumnStatistics) -> str:
    if not column.HasField("distinct"):
        return ""
    return number(column.distinct) if column.distinct_is_exact else f"about {number(column.distinct)}"


def _counted(value: column_statistics_pb2.ValueCount) -> str:
    return f"{shortened(value.value, _VALUE_WIDTH)} ({number(value.count)})"
