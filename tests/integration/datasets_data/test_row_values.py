"""Rows read near and far: values are the same whichever way they are read."""

from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.browsing.parquet_footer_cache import cached_footer
from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.row_values import read_values
from mistudio_datasets.data.browsing.samples import read_samples, sample, values_of
from mistudio_datasets.data.incoming.parquet_writer import RowsWriter
from mistudio_datasets.domain.datasets import DataFormat, Layout, SplitInfo
from mistudio_servicekit.errors import MalformedFile

from .conftest import write_source

ROWS = 40_000
CELL = 1 << 14

EXACT: dict[str, pa.Array] = {
    "i8": pa.array([1, -128, None], pa.int8()),
    "u64": pa.array([1, 2**64 - 1, None], pa.uint64()),
    "i64": pa.array([1, -(2**63), None]),
    "f16": pa.array([1.5, float("nan"), None], pa.float16()),
    "f32": pa.array([1.1, float("inf"), None], pa.float32()),
    "f64": pa.array([1.1, float("-inf"), None]),
    "bool": pa.array([True, False, None]),
    "text": pa.array(["针 a\0b", "", None]),
    "large_text": pa.array(["a", "%_'", None], pa.large_string()),
    "dictionary": pa.array(["a", "b", None]).dictionary_encode(),
    "bytes": pa.array([b"\x89PNG\xff", b"", None]),
    "fixed_bytes": pa.array([b"abcd", b"efgh", None], pa.binary(4)),
    "decimal": pa.array([Decimal("1.10"), Decimal("-99999.99"), None], pa.decimal128(10, 2)),
    "big_decimal": pa.array([Decimal(10) ** 37, Decimal(1), None], pa.decimal128(38, 0)),
    "date": pa.array([date(1, 1, 1), date(9999, 12, 31), None]),
    "ts_ms": pa.array([datetime(1, 1, 1), datetime(2020, 1, 1), None], pa.timestamp("ms")),
    "ts_ns": pa.array([123456789123456789, -5, None], pa.timestamp("ns")),
    "ts_zone": pa.array([1, -(10**15), None], pa.timestamp("us", tz="Europe/Berlin")),
    "time": pa.array([time(1, 2, 3), None, None], pa.time32("ms")),
    "time_us": pa.array([time(23, 59, 59, 999999), None, None]),
    "duration": pa.array([5, -5, None], pa.duration("ms")),
    "list": pa.array([[1, None], [], None]),
    "fixed_list": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": {"b": "x"}, "c": 1}, {"a": None, "c": None}, None]),
    "chat": pa.array([[{"role": "user", "content": "x"}], [], None]),
    "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "image": pa.array(
        [{"bytes": b"\x89PNG", "path": "a"}, {"bytes": None, "path": "p"}, None],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    ),
    "null": pa.nulls(3),
    "CASE": pa.array([1, 2, 3]),
    "case": pa.array(["x", "y", "z"]),
    "file_row_number": pa.array(["x", "y", "z"]),
}
CHANGED: dict[str, pa.Array] = {
    "decimal256": pa.array([Decimal(10) ** 50, Decimal(1), None], pa.decimal256(60, 0)),
    "struct_case": pa.array([{"a": 1, "A": 2}, {"a": None, "A": None}, None]),
    "uuid": pa.array([b"a" * 16, None, None], pa.uuid()),
}


def one_row_group(folder: Path, columns: dict[str, pa.Array], **options: Any) -> SplitInfo:
    """A file whose rows repeat three values per column, all in one row group."""
    times = pa.array([row % 3 for row in range(ROWS)])
    table = pa.table({name: values.take(times) for name, values in columns.items()})
    path = folder / "source/part.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=ROWS, **options)
    return SplitInfo("train", ROWS, 1, ("source/part.parquet",), (ROWS,))


def shown(folder: Path, split: SplitInfo, rows: list[int]) -> list[dict[str, Any]]:
    batches = read_values(QueryEngine(folder), folder, split, rows)
    return [
        sample(number, values, CELL)[0].values
        for batch in batches
        for number, values in zip(batch.numbers, values_of(batch.values), strict=True)
    ]


@pytest.mark.parametrize("name", [*EXACT, *CHANGED])
def test_a_value_looks_the_same_near_and_far(tmp_path: Path, name: str) -> None:
    split = one_row_group(tmp_path, {name: {**EXACT, **CHANGED}[name]})
    assert shown(tmp_path, split, [0, 1, 2]) == shown(tmp_path, split, [39_996, 39_997, 39_998])
    assert cached_footer(tmp_path / split.files[0], "part").is_exact == (name in EXACT)


def test_rows_with_every_type_look_the_same_near_and_far(tmp_path: Path) -> None:
    split = one_row_group(tmp_path, EXACT)
    near, far = shown(tmp_path, split, [0, 2]), shown(tmp_path, split, [33_000, 39_998])
    assert near == far
    assert list(near[0]) == list(EXACT)
    assert (near[0]["CASE"], near[0]["case"]) == (1, "x")


def test_old_nanoseconds_keep_their_precision(tmp_path: Path) -> None:
    times = {"at": pa.array([1001, -(10**18), None], pa.timestamp("ns"))}
    split = one_row_group(tmp_path, times, use_deprecated_int96_timestamps=True)
    assert shown(tmp_path, split, [0, 1]) == shown(tmp_path, split, [39_996, 39_997])
    assert not cached_footer(tmp_path / split.files[0], "part").is_exact


def numbered(folder: Path, name: str, first: int, rows: int, row_group_size: int) -> str:
    write_source(folder, name, pa.table({"n": range(first, first + rows)}), row_group_size)
    return f"source/{name}"


@pytest.mark.parametrize("row_group_size", [100, 50_000])
def test_scattered_rows_of_several_files_are_found(tmp_path: Path, row_group_size: int) -> None:
    names = ("a[1]*?.parquet", "k=v.parquet")
    files = tuple(numbered(tmp_path, name, at * 50_000, 50_000, row_group_size) for at, name in enumerate(names))
    split = SplitInfo("train", 100_000, 1, files, (50_000, 50_000))
    rows = [0, 99, 100, 777, 49_998, 49_999, 50_000, 50_001, 99_000, 99_999]
    assert [values["n"] for values in shown(tmp_path, split, rows)] == rows


def test_rows_come_in_the_order_that_was_asked_for_with_their_scores(tmp_path: Path) -> None:
    files = (numbered(tmp_path, "part.parquet", 0, 5000, 100),)
    split = SplitInfo("train", 5000, 1, files, (5000,))
    layout = Layout("", DataFormat.PARQUET, (split,), ())
    rows = [row * 17 % 5000 for row in range(250)]
    scores = [1000.0 - at for at in range(250)]
    found = read_samples(QueryEngine(tmp_path), tmp_path, layout, split, rows, 1 << 20, scores=scores)
    assert [(row.row, row.values["n"], row.score) for row in found] == list(zip(rows, rows, scores, strict=True))


def test_text_that_is_no_utf8_is_a_malformed_file(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff\xfe"]).buffers())
    write_source(tmp_path, "part.parquet", pa.table({"t": broken}))
    with pytest.raises(MalformedFile, match="UTF-8"):
        shown(tmp_path, SplitInfo("train", 2, 1, ("source/part.parquet",), (2,)), [0, 1])


@pytest.mark.parametrize("letters", [1, 1 << 20])
def test_rows_are_taken_apart_the_same_be_they_small_or_big(letters: int) -> None:
    rows = [{"n": row, "text": None if row == 3 else f"{row} " * letters, "list": [row]} for row in range(19)]
    (batch,) = pa.Table.from_pylist(rows).to_batches()
    assert list(values_of(batch.slice(1))) == rows[1:]


@pytest.mark.parametrize(("columns", "compression"), [(1000, "ZSTD"), (1001, "SNAPPY")])
def test_very_many_columns_are_compressed_so_that_each_opens_quickly(
    tmp_path: Path, columns: int, compression: str
) -> None:
    table = pa.table({f"c{number}": [number, number + 1] for number in range(columns)})
    with RowsWriter(tmp_path / "rows", table.schema) as writer:
        writer.write(table)
    (file,) = writer.files
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == compression
    split = SplitInfo("train", 2, 1, ("rows/part-00000.parquet",), (2,))
    assert shown(tmp_path, split, [1]) == [{f"c{number}": number + 1 for number in range(columns)}]
