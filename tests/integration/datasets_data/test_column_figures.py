"""Statistics of columns, held against figures that are worked out another way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.columns import column_figures_numbers, column_statistics
from mistudio_datasets.data.columns.column_figures import ColumnFigures
from mistudio_datasets.data.columns.column_figures_distinct import Hasher
from mistudio_datasets.data.columns.column_statistics import make_statistics, read_statistics
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.domain.column_statistics import ColumnStatistics, NumberFigures
from mistudio_datasets.domain.datasets import DataFormat, Layout, SplitInfo
from mistudio_datasets.domain.progress import UNWATCHED, Monitor
from mistudio_servicekit.errors import JobCancelled, MalformedFile

_HASHER = Hasher()


def _made(folder: Path, *tables: pa.Table, monitor: Monitor = UNWATCHED) -> dict[str, ColumnStatistics]:
    """The statistics of one split whose files hold `tables`."""
    folder.mkdir(exist_ok=True)
    names = tuple(f"{number}.parquet" for number in range(len(tables)))
    for name, table in zip(names, tables, strict=True):
        pq.write_table(table, folder / name, row_group_size=5000)
    rows = tuple(len(table) for table in tables)
    schema = pq.ParquetFile(folder / names[0]).schema_arrow
    layout = Layout("", DataFormat.PARQUET, (SplitInfo("train", sum(rows), 0, names, rows),), columns_of(schema))
    out = folder / "out"
    out.mkdir()
    make_statistics(folder, layout, out, monitor)
    return {figures.column: figures for figures in read_statistics(out, layout, layout.splits[0])}


def _of(folder: Path, *arrays: pa.Array) -> ColumnStatistics:
    return _made(folder, *(pa.table({"x": array}) for array in arrays))["x"]


def _in_parts(array: pa.Array, parts: int) -> ColumnStatistics:
    """The figures of a column that comes in parts."""
    (column,) = columns_of(pa.schema([("x", array.type)]))
    figures = ColumnFigures(column, len(array), _HASHER)
    for part in np.array_split(np.arange(len(array)), parts):
        figures.add(array.take(pa.array(part, pa.int64())))
    return figures.result()


def _check_numbers(figures: NumberFigures, numbers: Sequence[float]) -> None:
    wanted = np.array(numbers, np.float64)
    assert (figures.min, figures.max) == (wanted.min(), wanted.max())
    assert figures.mean == pytest.approx(wanted.mean(), rel=1e-9, abs=1e-9)
    assert figures.standard_deviation == pytest.approx(wanted.std(), rel=1e-7, abs=1e-7)
    for percentile in figures.percentiles:
        assert percentile.value == pytest.approx(np.percentile(wanted, percentile.percentile), rel=1e-12, abs=1e-12)
    assert sum(bin.rows for bin in figures.histogram) == len(wanted)
    for bin in figures.histogram[:-1]:
        assert bin.rows == ((wanted >= bin.low) & (wanted < bin.high)).sum()
    last = figures.histogram[-1]
    assert last.rows == ((wanted >= last.low) & (wanted <= last.high)).sum()


@settings(max_examples=80)
@given(
    st.lists(st.one_of(st.none(), st.integers(-50, 50), st.integers(-(2**40), 2**40)), max_size=60), st.integers(1, 4)
)
def test_whole_numbers_in_any_parts(values: list[int | None], parts: int) -> None:
    figures = _in_parts(pa.array(values, pa.int64()), parts)
    there = [value for value in values if value is not None]
    assert (figures.rows, figures.nulls, figures.distinct) == (len(values), len(values) - len(there), len(set(there)))
    if not there:
        assert figures.numbers is None
        return
    assert figures.numbers is not None
    _check_numbers(figures.numbers, there)
    repeated = max(Counter(there).values()) > 1
    wanted = sorted(Counter(there).values(), reverse=True)[:20] if repeated else []
    assert [top.count for top in figures.top_values] == wanted
    assert all(Counter(there)[int(top.value)] == top.count for top in figures.top_values)


_FRACTIONS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, 0.0, -0.0, 0.5]))


@settings(max_examples=80)
@given(st.lists(_FRACTIONS, min_size=1, max_size=60), st.integers(1, 4))
def test_fractions_with_those_that_are_no_numbers_apart(values: list[float], parts: int) -> None:
    figures = _in_parts(pa.array(values, pa.float64(), from_pandas=False), parts)
    there = [value for value in values if not math.isnan(value)]
    assert figures.distinct == len(set(there))
    assert figures.numbers is not None
    assert figures.numbers.not_a_number == len(values) - len(there)
    if there:
        _check_numbers(figures.numbers, there)
    else:
        assert math.isnan(figures.numbers.mean)
        assert figures.numbers.histogram == ()


def test_infinite_numbers_have_bins_of_their_own() -> None:
    figures = _in_parts(pa.array([-math.inf, 1.0, 3.0, math.inf, math.inf]), 2)
    numbers = figures.numbers
    assert numbers is not None
    assert (numbers.min, numbers.max, figures.distinct) == (-math.inf, math.inf, 4)
    assert math.isnan(numbers.mean)
    assert math.isnan(numbers.standard_deviation)
    first, last = numbers.histogram[0], numbers.histogram[-1]
    assert (first.low, first.high, first.rows) == (-math.inf, 1.0, 1)
    # The greatest finite number is the least one of the bin above it.
    assert (last.low, last.high, last.rows) == (3.0, math.inf, 3)
    assert sum(bin.rows for bin in numbers.histogram) == 5
    only = _in_parts(pa.array([math.inf]), 1).numbers
    assert only is not None
    assert (only.mean, [bin.rows for bin in only.histogram]) == (math.inf, [1])


def test_huge_numbers_do_not_overflow() -> None:
    numbers = _in_parts(pa.array([-1.7e308, 0.0, 1.7e308]), 1).numbers
    assert numbers is not None
    assert [bin.rows for bin in numbers.histogram if bin.rows] == [1, 1, 1]
    whole = _in_parts(pa.array([2**64 - 1, 0], pa.uint64()), 2)
    assert whole.numbers is not None
    assert (whole.numbers.max, whole.distinct) == (float(2**64 - 1), 2)
    assert _in_parts(pa.array([2**53, 2**53 + 1]), 1).distinct == 2


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=40), st.integers(1, 3))
def test_texts_count_characters_and_the_most_frequent_come_first(values: list[str | None], parts: int) -> None:
    figures = _in_parts(pa.array(values, pa.string()), parts)
    there = [value for value in values if value is not None]
    counts = Counter(there)
    assert (figures.nulls, figures.distinct, figures.length_unit) == (
        len(values) - len(there),
        len(counts),
        "characters",
    )
    if there and max(counts.values()) > 1:
        # Of equally frequent ones that which came first, part for part.
        assert [(top.value, top.count) for top in figures.top_values] == counts.most_common(20)
    else:
        assert figures.top_values == ()
    if not there:
        assert figures.lengths is None
        return
    assert figures.lengths is not None
    _check_numbers(figures.lengths, list(map(len, there)))
    edges = [bin.low for bin in figures.lengths.histogram]
    assert edges == [0, 1, 2, 3, 4, 6][: len(edges)]


def test_every_kind_of_column_has_its_figures(tmp_path: Path) -> None:
    day = datetime(2020, 5, 17, 12, 30, 1)
    table = pa.table({
        "flag": [True, False, None, True],
        "time": pa.array([day, None, day - timedelta(days=1), day], pa.timestamp("us")),
        "zoned": pa.array([day, None, day, day], pa.timestamp("ms", "+02:00")),
        "date": [date(2020, 1, 1), None, date(1999, 12, 31), None],
        "span": [timedelta(seconds=1.5), None, timedelta(days=-1), None],
        "price": [Decimal("1.50"), Decimal("-3.25"), None, Decimal("1.50")],
        "list": [[1, 2], [], None, [3]],
        "record": [{"a": 1}, None, {"a": 2}, {"a": 2}],
        "bytes": pa.array([b"\x00\xff", b"", None, b"\x00\xff"]),
        "kind": pa.array(["x", None, "y", "x"]).dictionary_encode(),
        "half": np.array([1, 2, 2, 4], np.float16),
        "nothing": pa.nulls(4),
    })  # fmt: skip
    found = _made(tmp_path / "d", table)
    assert list(found) == table.column_names
    assert {name: figures.nulls for name, figures in found.items()} == {
        name: table[name].null_count for name in table.column_names
    }
    assert (found["flag"].trues, found["flag"].distinct) == (2, 2)
    assert (found["time"].earliest, found["time"].latest) == (
        "2020-05-16T12:30:01.000000",
        "2020-05-17T12:30:01.000000",
    )
    assert found["zoned"].latest == "2020-05-17T14:30:01.000+02:00"
    assert datetime.fromisoformat(found["zoned"].latest).utctimetuple()[:6] == day.timetuple()[:6]
    assert (found["date"].earliest, found["date"].latest) == ("1999-12-31", "2020-01-01")
    assert (found["span"].earliest, found["span"].latest) == ("-PT86400S", "PT1.5S")
    assert found["price"].numbers is not None
    _check_numbers(found["price"].numbers, [1.5, -3.25, 1.5])
    assert [(top.value, top.count) for top in found["price"].top_values] == [("1.50", 2), ("-3.25", 1)]
    assert found["list"].lengths is not None
    _check_numbers(found["list"].lengths, [2, 0, 1])
    assert (found["list"].length_unit, found["list"].distinct) == ("items", None)
    assert (found["record"].type, found["record"].distinct) == ("struct<a: int64>", None)
    assert found["bytes"].lengths is not None
    _check_numbers(found["bytes"].lengths, [2, 0, 2])
    assert (found["bytes"].length_unit, found["bytes"].top_values[0].value) == ("bytes", "00ff")
    assert (found["kind"].distinct, found["kind"].length_unit) == (2, "characters")
    assert (found["half"].distinct, found["nothing"].distinct) == (3, None)


def test_images_have_the_bytes_of_their_files(tmp_path: Path) -> None:
    values = [{"bytes": b"123", "path": "a"}, None, {"bytes": None, "path": "b"}, {"bytes": b"", "path": None}]
    features = b'{"info": {"features": {"x": {"_type": "Image"}}}}'
    table = pa.table({"x": values}).replace_schema_metadata({b"huggingface": features})
    figures = _made(tmp_path / "d", table)["x"]
    assert (figures.nulls, figures.length_unit) == (1, "bytes")
    assert figures.lengths is not None
    _check_numbers(figures.lengths, [3, 0])


@pytest.mark.parametrize("values", [[], [None, None]])
def test_empty_splits_and_columns_of_nulls_have_figures_too(tmp_path: Path, values: list[None]) -> None:
    types: dict[str, Any] = {
        "s": pa.string(),
        "f": pa.float64(),
        "b": pa.bool_(),
        "t": pa.date32(),
        "l": pa.list_(pa.int8()),
    }
    found = _made(tmp_path / "d", pa.table({name: pa.array(values, type_) for name, type_ in types.items()}))
    for figures in found.values():
        assert (figures.rows, figures.nulls) == (len(values), len(values))
        assert (figures.numbers, figures.lengths, figures.top_values, figures.earliest) == (None, None, (), "")
        assert figures.distinct in (0, None)


def test_files_may_keep_a_column_in_wider_types_but_not_in_others(tmp_path: Path) -> None:
    figures = _of(tmp_path / "a", pa.array([1, 2], pa.int8()), pa.array([2, 3], pa.int64()))
    assert (figures.distinct, figures.rows) == (3, 4)
    assert _of(tmp_path / "b", pa.array(["a"]), pa.array(["a"], pa.large_string())).distinct == 1
    with pytest.raises(MalformedFile, match="'x' is int64 in one file and double in another"):
        _of(tmp_path / "c", pa.array([1]), pa.array([1.5]))


def test_many_different_values_are_estimated_and_marked() -> None:
    values = pa.array([f"value {number}" for number in range(200_000)] * 2)
    figures = _in_parts(values, 7)
    assert not figures.distinct_is_exact
    assert figures.distinct == pytest.approx(200_000, rel=0.02)
    assert figures.top_values == ()
    just = _in_parts(pa.array(range(100_000)), 3)
    assert (just.distinct, just.distinct_is_exact) == (100_000, True)


def test_long_values_are_told_apart_behind_what_is_shown_of_them() -> None:
    long = "x" * 300
    figures = _in_parts(pa.array([long + "a", long + "b", long + "b"]), 3)
    assert figures.distinct == 2
    assert [(top.value, top.count) for top in figures.top_values] == [("x" * 200, 2), ("x" * 200, 1)]


def test_beyond_a_million_numbers_the_histogram_is_exact_and_percentiles_nearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_figures_numbers, "MOST_VALUES", 5000)
    rng = np.random.default_rng(3)
    numbers = rng.lognormal(size=40_000)
    figures = _made(tmp_path / "d", pa.table({"x": numbers[:25_000]}), pa.table({"x": numbers[25_000:]}))["x"].numbers
    assert figures is not None
    assert [bin.rows for bin in figures.histogram] == np.histogram(numbers, 20)[0].tolist()
    assert (figures.min, figures.max) == (numbers.min(), numbers.max())
    assert figures.mean == pytest.approx(numbers.mean())
    ordered = np.sort(numbers)
    for percentile in figures.percentiles:
        rank = np.searchsorted(ordered, percentile.value) / len(numbers) * 100
        assert rank == pytest.approx(percentile.percentile, abs=0.2)


def test_ten_thousand_columns_are_no_hindrance(tmp_path: Path) -> None:
    count = 10_000
    table = pa.table({f"c{number}": pa.array([number, number + 1]) for number in range(count)})
    found = _made(tmp_path / "d", table)
    assert len(found) == count
    assert found["c9999"].numbers is not None
    assert (found["c9999"].numbers.min, found["c9999"].numbers.max) == (9999, 10000)


def test_it_tells_cells_and_stops_when_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int, str]] = []

    def report(done: int, total: int, unit: str, stage: str, metrics: object = None) -> None:
        told.append((done, total, unit))

    monkeypatch.setattr(column_statistics, "_MOST_COLUMNS", 2)
    table = pa.table({name: [1, 2, 3] for name in "abc"})
    _made(tmp_path / "d", table, monitor=Monitor(report, lambda: None))
    assert told[-1] == (9, 9, "cells")

    def stop() -> None:
        raise JobCancelled("stop", next_step="")

    with pytest.raises(JobCancelled):
        _made(tmp_path / "e", table, monitor=Monitor(report, stop))


def test_bytes_that_are_no_text_are_told() -> None:
    with pytest.raises(MalformedFile, match="no UTF-8"):
        _in_parts(pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()), 1)
