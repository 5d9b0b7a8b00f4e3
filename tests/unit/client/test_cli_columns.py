"""Statistics of columns as people see them, whatever their values are."""

from __future__ import annotations

import math

import pytest

from mistudio.datasets.v1.column_statistics_pb2 import ColumnStatistics, NumberFigures
from mistudio_client.cli.rendering.columns import COLUMN_COLUMNS, column_row
from mistudio_client.cli.rendering.formats import figure
from mistudio_client.cli.rendering.histogram import number_histogram


def cell(column: ColumnStatistics, header: str) -> str:
    return column_row(column)[COLUMN_COLUMNS.index(header)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12_345, "12,345"),
        (0.000123456789, "0.000123457"),
        (1e300, "1e+300"),
        (math.inf, "inf"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_of_any_size_are_read_at_a_glance(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (ColumnStatistics(rows=8, trues=2), "2 (25.0 %) true"),
        (ColumnStatistics(rows=8, trues=0), "0 true"),
        (ColumnStatistics(earliest="2020-01-01", latest="2021-01-01"), "2020-01-01 to 2021-01-01"),
        (ColumnStatistics(lengths=NumberFigures(min=2, max=2, mean=2), length_unit="items"), "all 2 items"),
        (
            ColumnStatistics(numbers=NumberFigures(min=-1, max=2, mean=0.5, standard_deviation=1, not_a_number=3)),
            "-1 to 2, mean 0.5, deviation 1, 3 NaN",
        ),
        (ColumnStatistics(type="null"), ""),
    ],
)
def test_values_are_told_in_a_line(column: ColumnStatistics, text: str) -> None:
    assert cell(column, "values") == text


def test_an_estimate_says_that_it_is_one() -> None:
    assert cell(ColumnStatistics(distinct=200_000), "distinct") == "about 200,000"
    assert cell(ColumnStatistics(distinct=7, distinct_is_exact=True), "distinct") == "7"
    assert cell(ColumnStatistics(), "distinct") == ""


def test_long_values_are_cut_and_only_the_first_are_shown() -> None:
    column = ColumnStatistics()
    for count in (9, 8, 7, 6):
        column.top_values.add(value="x" * 40, count=count)
    assert cell(column, "most frequent") == ", ".join(f"{'x' * 29}… ({count})" for count in (9, 8, 7))


def test_a_histogram_of_numbers_leaves_out_empty_ends() -> None:
    figures = NumberFigures()
    for low, rows in ((0.0, 0), (0.5, 4), (1.0, 0)):
        bin_ = figures.histogram.add(to=low + 0.5, rows=rows)
        setattr(bin_, "from", low)
    assert number_histogram(figures.histogram, width=2) == ["0.5–1  ██  4"]
