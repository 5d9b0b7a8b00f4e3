"""Statistics of columns as messages."""

from __future__ import annotations

from mistudio.datasets.v1 import column_statistics_pb2 as pb
from mistudio_datasets.domain.column_statistics import ColumnStatistics, NumberFigures


def column_statistics_message(figures: ColumnStatistics) -> pb.ColumnStatistics:
    """The statistics of a column as clients see them."""
    return pb.ColumnStatistics(
        column=figures.column,
        type=figures.type,
        rows=figures.rows,
        nulls=figures.nulls,
        distinct=figures.distinct,
        distinct_is_exact=figures.distinct_is_exact,
        top_values=(pb.ValueCount(value=top.value, count=top.count) for top in figures.top_values),
        numbers=_number_figures(figures.numbers),
        lengths=_number_figures(figures.lengths),
        length_unit=figures.length_unit,
        trues=figures.trues,
        earliest=figures.earliest,
        latest=figures.latest,
    )


def _number_figures(figures: NumberFigures | None) -> pb.NumberFigures | None:
    if figures is None:
        return None
    message = pb.NumberFigures(
        min=figures.min,
        max=figures.max,
        mean=figures.mean,
        standard_deviation=figures.standard_deviation,
        percentiles=(pb.NumberPercentile(percentile=at.percentile, value=at.value) for at in figures.percentiles),
        not_a_number=figures.not_a_number,
    )
    for bin in figures.histogram:
        # `from` is a keyword of Python.
        message.histogram.add(**{"from": bin.low, "to": bin.high, "rows": bin.rows})
    return message
