"""Rows that fulfil filters and searches, straight from Parquet files."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from threading import Timer
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mistudio_datasets.data.browsing.parquet_footer_cache import cached_footer
from mistudio_datasets.data.browsing.query_conditions import filter_condition
from mistudio_datasets.data.browsing.query_engine import QueryEngine, Stop, Stopped
from mistudio_datasets.data.browsing.query_scan import Found, Mask, Scan
from mistudio_datasets.data.browsing.query_search import positions, text_search
from mistudio_datasets.data.browsing.query_snippets import Snippet, snippets
from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.domain.datasets import DataFormat, Layout
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.sample_queries import SampleQuery
from mistudio_servicekit.errors import ColumnNotFound, InvalidFilter, InvalidSearch, MalformedFile

from .conftest import write_source


def dataset(folder: Path, tables: Sequence[pa.Table], row_group_size: int = 100) -> Layout:
    names = tuple(f"part-{number:03}.parquet" for number in range(len(tables)))
    for name, table in zip(names, tables, strict=True):
        write_source(folder, name, table, row_group_size)
    return read_source(folder, SourcePlan("", DataFormat.PARQUET, {"train": names}, (), CsvOptions()), UNWATCHED)


def scan(folder: Path, layout: Layout, query: SampleQuery, mask: Mask | None = None) -> Scan:
    engine, split = QueryEngine(folder), layout.split()
    schema = cached_footer(folder / split.files[0], "first").schema
    search = text_search(query, layout, engine)
    conditions = [filter_condition(query.filter, schema), search.condition(schema.names) if search else None]
    return Scan(engine, folder, split, schema.names, [condition for condition in conditions if condition], mask)


def find(folder: Path, layout: Layout, **query: Any) -> list[int]:
    found = scan(folder, layout, SampleQuery(**query)).find(0, 0, 1000, True, Stop())
    assert found.total == len(found.rows)
    return list(found.rows)


TEXTS = [
    "100% sure_thing",
    "100 sure thing",
    "say \"hi\" and 'bye'; DROP TABLE x; -- $1 ?",
    "東京タワーの写真",
    "L'ÉCOLE est finie",
    "a\\b [c] (d) {e} ^f$ g.h*",
    "tab\there\nand newline",
    "nul\0byte",
    "",
    None,
]


@pytest.mark.parametrize(
    "needle",
    ["%", "_", "100", "0% s", '"hi"', "'bye'", "; DROP", "$1 ?", "タワー", "京", "ÉCOLE", "\\b", "[c]", "^f$", "g.h*",
     "\t", "\n", "l\0b", " ", "a"],
)  # fmt: skip
def test_any_characters_are_found_exactly(tmp_path: Path, needle: str) -> None:
    layout = dataset(tmp_path, [pa.table({"text": TEXTS})])
    assert find(tmp_path, layout, contains=needle) == [n for n, text in enumerate(TEXTS) if text and needle in text]
    lower = [n for n, text in enumerate(TEXTS) if text and needle.lower() in text.lower()]
    assert find(tmp_path, layout, contains=needle.swapcase(), ignore_case=True) == lower


@pytest.mark.parametrize(
    ("pattern", "ignore_case", "rows"),
    [
        (r"^\d+%", False, [0]),
        (r"sure.thing$", False, [0, 1]),
        (r"école|TOWER", True, [4]),
        (r"école", False, []),
        (r"\p{Katakana}{2}", False, [3]),
        (r"(?s)here.and", False, [6]),
        (r"here.and", False, []),
        (r"^$", False, [8]),
    ],
)
def test_regular_expressions_match(tmp_path: Path, pattern: str, ignore_case: bool, rows: list[int]) -> None:
    layout = dataset(tmp_path, [pa.table({"text": TEXTS})])
    assert find(tmp_path, layout, regex=pattern, ignore_case=ignore_case) == rows


TYPED = {
    "n": pa.array([1, 2, None, 2**62]),
    "u": pa.array([1, 2**64 - 1, None, 5], pa.uint64()),
    "x": pa.array([0.1, 0.5, float("nan"), None], pa.float32()),
    "price": pa.array([Decimal("1.50"), Decimal("99.99"), None, Decimal("-1")], pa.decimal128(10, 2)),
    "ok": pa.array([True, False, None, True]),
    "lang": pa.array(["en", "de", None, ""]).dictionary_encode(),
    "day": pa.array([date(2026, 1, 1), date(2026, 1, 31), None, date(1, 1, 1)]),
    "at": pa.array([datetime(2026, 1, 1, 12), None, datetime(2026, 1, 2), None], pa.timestamp("ns")),
    "zoned": pa.array([datetime(2026, 1, 1, 12, tzinfo=UTC), None, None, None], pa.timestamp("us", tz="Europe/Berlin")),
    "meta": pa.array(
        [{"url": "u", "deep": {"k": 1}}, {"url": None, "deep": None}, None, {"url": "v", "deep": {"k": 7}}]
    ),
    "a column": pa.array([[1], [], None, [2]]),
    "A COLUMN": pa.array(["x", "y", "z", None]),
    "ticks": pa.array([timedelta(seconds=1), None, None, None]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n > 1", [1, 3]),
        ("n != 1", [1, 3]),
        ("n = 4611686018427387904", [3]),
        ("n > -5 AND n < 1e3", [0, 1]),
        ("u = 18446744073709551615", [1]),
        ("x = 0.1", [0]),
        ("x >= 0.1", [0, 1]),
        ("x < inf", [0, 1]),
        ("price = 1.5", [0]),
        ("price >= 1.4999", [0, 1]),
        ("ok = true", [0, 3]),
        ("ok != TRUE", [1]),
        ("lang = en", [0]),
        ('lang = ""', [3]),
        ('lang >= "de"', [0, 1]),
        ('day <= "2026-01-30"', [0, 3]),
        ('at = "2026-01-01T12:00:00"', [0]),
        ('at >= "2026-01-01"', [0, 2]),
        ('zoned = "2026-01-01T13:00:00+01:00"', [0]),
        ('zoned <= "2026-01-01T12:00:00"', [0]),
        ('meta.url = "v"', [3]),
        ("meta.deep.k >= 1", [0, 3]),
        ("meta.deep IS NULL", [1, 2]),
        ("meta.url IS NOT NULL AND meta.deep.k < 5", [0]),
        ("`a column` IS NULL", [2]),
        ("`A COLUMN` = y", [1]),
        ("ticks IS NOT NULL", [0]),
        ("x IS NULL", [3]),
    ],
)
def test_filters_compare_in_the_type_of_the_column(tmp_path: Path, text: str, rows: list[int]) -> None:
    assert find(tmp_path, dataset(tmp_path, [pa.table(TYPED)]), filter=text) == rows


def numbered(rows: range) -> pa.Table:
    texts = [f"row {row} {'even' if row % 2 == 0 else 'odd'}" for row in rows]
    return pa.table({"n": list(rows), "text": texts})


@pytest.fixture
def thousand(tmp_path: Path) -> Layout:
    """1,000 numbered rows in eleven files of unequal size, one of them empty."""
    ends = [0, 1, 2, 150, 150, 300, 333, 500, 501, 777, 900, 1000]
    return dataset(tmp_path, [numbered(range(a, b)) for a, b in pairwise(ends)], row_group_size=40)


@pytest.mark.parametrize("start", [0, 1, 2, 149, 150, 299, 320, 500, 501, 776, 777, 999, 1000])
def test_a_search_goes_on_from_any_row(tmp_path: Path, thousand: Layout, start: int) -> None:
    odd = [row for row in range(1000) if row % 2 and row >= start]
    found = scan(tmp_path, thousand, SampleQuery(contains="odd")).find(start, 3, 7, False, Stop())
    assert list(found.rows) == odd[3:10]
    counted = scan(tmp_path, thousand, SampleQuery(contains="odd")).find(start, 3, 7, True, Stop())
    assert counted == Found(found.rows, 500)


def test_all_conditions_hold_together(tmp_path: Path, thousand: Layout) -> None:
    mask = np.arange(1000) % 3 == 0
    query = SampleQuery(contains="odd", filter="n >= 100 AND n < 900")
    expected = tuple(row for row in range(100, 900) if row % 2 and row % 3 == 0)
    wanted = scan(tmp_path, thousand, query, mask)
    assert wanted.find(0, 0, 1000, True, Stop()) == Found(expected, len(expected))
    assert wanted.find(200, 1, 5, False, Stop()).rows == tuple(row for row in expected if row >= 200)[1:6]
    assert tuple(np.flatnonzero(wanted.matching(Stop()))) == expected
    assert scan(tmp_path, thousand, SampleQuery(), mask).find(7, 0, 2, False, Stop()).rows == (9, 12)


def test_files_with_other_column_orders_and_widths_are_searched_alike(tmp_path: Path) -> None:
    tables = [
        pa.table({"n": pa.nulls(1), "text": ["none"]}),
        pa.table({"text": ["small"], "n": pa.array([5], pa.int8())}),
        pa.table({"n": pa.array([2**40]), "text": ["large"]}),
    ]
    layout = dataset(tmp_path, tables)
    assert find(tmp_path, layout, contains="l") == [1, 2]
    wide = tmp_path / "wide"
    assert find(wide, dataset(wide, tables[1:]), filter="n > 5") == [1]


def test_columns_that_differ_in_case_only_are_told_apart_in_every_file(tmp_path: Path) -> None:
    first = pa.table({"t": ["lower"], "T": ["UPPER"]})
    layout = dataset(tmp_path, [first, first.select(["T", "t"]), first])
    assert find(tmp_path, layout, contains="UPPER", search_columns=("T",)) == [0, 1, 2]
    assert find(tmp_path, layout, filter='t = "lower"') == [0, 1, 2]
    assert find(tmp_path, layout, filter='t = "UPPER"') == []


def test_the_first_page_opens_few_of_many_files(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [numbered(range(n, n + 1)) for n in range(100)])
    for name in layout.split().files[20:]:
        (tmp_path / name).unlink()
    assert scan(tmp_path, layout, SampleQuery(contains="row")).find(0, 0, 5, False, Stop()).rows == (0, 1, 2, 3, 4)
    with pytest.raises(FileNotFoundError):
        scan(tmp_path, layout, SampleQuery(contains="row")).find(0, 0, 5, True, Stop())


def test_a_later_page_reads_nothing_before_it(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [numbered(range(n * 1000, (n + 1) * 1000)) for n in range(3)], row_group_size=100)
    wanted = scan(tmp_path, layout, SampleQuery(contains="even"))
    (tmp_path / layout.split().files[0]).unlink()
    second = tmp_path / layout.split().files[1]
    content = bytearray(second.read_bytes())
    group = cached_footer(second, "second").metadata.row_group(4).column(1)
    content[group.data_page_offset - 50 : group.data_page_offset + 50] = bytes(100)
    second.write_bytes(content)
    assert wanted.find(1500, 0, 3, False, Stop()).rows == (1500, 1502, 1504)
    with pytest.raises(MalformedFile):
        wanted.find(1000, 0, 1000, False, Stop())


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a", "parenthesis is not closed"),
        ("[a", "bracket is not closed"),
        ("a)", "was not opened"),
        ("*a", "nothing that it could repeat"),
        ("a**", "one repetition follows another"),
        ("a\\", "single backslash"),
        (r"\y", "no such meaning"),
        ("(?=a)", "look-around"),
        (r"(a)\1", "no such meaning"),
        ("a{1001}", "beyond 1,000"),
        ("(a{1000}){1000}", "beyond 1,000"),
        (r"(\pL{0,30}q){0,30}z", "too large|characters in a row"),
        ("([a-z]{0,1000})[0-9]{1000}", "2,000 characters in a row"),
        ("(((a{0,10}){0,10}){0,10})z", "1,001 characters in a row"),
    ],
)
def test_a_bad_regular_expression_is_refused_with_its_reason(tmp_path: Path, pattern: str, said: str) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["a"]})])
    with pytest.raises(InvalidSearch, match=said) as refused:
        find(tmp_path, layout, regex=pattern)
    assert refused.value.field == "query.regex"


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("abc", 3), ("(ab){3}c", 7), (r"[0-9a-f]{8}-\d{4,6}", 15), (r"\{500\}", 5), ("[{9}]", 1), ("a{2,}", 3),
     ("a{0}", 1), (r"\Qa.b\E{2}", 6), ("((ab){2}c){10}", 50), ("[]a]x", 2)],
)  # fmt: skip
def test_repetitions_are_counted_written_out(pattern: str, size: int) -> None:
    assert positions(pattern) == size


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(a|a?)+b", "(.*a){20}b", "^(([a-z])+.)+[A-Z]([a-z])+$", "[ab]*a[ab]{200}z"]
)
def test_patterns_that_explode_elsewhere_end_soon(tmp_path: Path, pattern: str) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["a" * 100_000 + "!"] * 20})])
    start = perf_counter()
    assert find(tmp_path, layout, regex=pattern) == []
    assert perf_counter() - start < 600  # elsewhere: years


def test_columns_that_cannot_be_searched_are_refused(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"n": [1], "text": ["a"]})])
    with pytest.raises(ColumnNotFound, match=r"no column 'nope'.*'n', 'text'"):
        find(tmp_path, layout, contains="a", search_columns=("nope",))
    with pytest.raises(InvalidSearch, match=r"'n' holds no text.*'text'"):
        find(tmp_path, layout, contains="a", search_columns=("n",))
    with pytest.raises(InvalidSearch, match="No column"):
        find(tmp_path / "n", dataset(tmp_path / "n", [pa.table({"n": [1]})]), contains="a")
    with pytest.raises(InvalidFilter, match="`n`, `text`"):
        find(tmp_path, layout, filter="text = x AND nope = 1")


def test_a_stopped_search_ends_at_once(tmp_path: Path) -> None:
    engine, stop = QueryEngine(tmp_path), Stop()
    timer = Timer(0.2, stop.stop)
    timer.start()
    start = perf_counter()
    endless = "SELECT i FROM range(1000000000000) AS t(i) WHERE regexp_matches(i::VARCHAR, $p)"
    with pytest.raises(Stopped):
        engine.table(endless, {"p": "x"}, stop)
    assert perf_counter() - start < 60
    timer.join()
    with pytest.raises(Stopped):
        engine.table("SELECT 1", {}, stop)
    assert engine.table("SELECT 1 AS one", {}, Stop()).to_pylist() == [{"one": 1}]


def test_a_store_behind_a_link_is_searched(tmp_path: Path) -> None:
    layout = dataset(tmp_path / "real", [numbered(range(3))])
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert find(tmp_path / "link", layout, contains="odd") == [1]


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_text('/etc/hostname')", "ATTACH '/tmp/x.db'", "COPY (SELECT 1) TO '/tmp/x.csv'",
     "INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "SELECT * FROM read_parquet('https://example.org/x.parquet')"],
)  # fmt: skip
def test_the_engine_reaches_nothing_but_its_folder(tmp_path: Path, sql: str) -> None:
    with pytest.raises((MalformedFile, FileNotFoundError)) as refused:
        QueryEngine(tmp_path).table(sql, {}, Stop())
    assert isinstance(refused.value.__cause__, duckdb.Error)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (SampleQuery(contains="needle"), ["needle", "needle", None, None, "needle"]),
        (SampleQuery(contains="needle", ignore_case=True), ["needle", "needle", "NEEDLE", None, "needle"]),
        (SampleQuery(regex=r"\bneed\w+"), ["needle" + "y" * 300, "needle", None, None, "needles"]),
        (SampleQuery(regex=r"(x|ß)+"), ["ß" * 300, None, None, None, None]),
    ],
)
def test_snippets_show_the_first_match(tmp_path: Path, query: SampleQuery, expected: list[str | None]) -> None:
    texts = ["ß" * 300 + "needle" + "y" * 300 + "needle", "needle", "針 NEEDLE", None, "a needles needle"]
    layout = dataset(tmp_path, [pa.table({"text": texts})])
    engine = QueryEngine(tmp_path)
    search = text_search(query, layout, engine)
    assert search
    for text, found, match in zip(texts, snippets(engine, search, "text", texts), expected, strict=True):
        if match is None:
            assert found is None
            continue
        assert text and found and found.text in text
        assert len(found.text) == min(200, len(text))
        assert found.text[found.match_start : found.match_end] == match[:200]


def test_a_snippet_leaves_room_on_both_sides_and_starts_at_the_first_match(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["x"]})])
    engine = QueryEngine(tmp_path)
    for query in (SampleQuery(contains="needle"), SampleQuery(regex=re.escape("needle"))):
        search = text_search(query, layout, engine)
        assert search
        (found,) = snippets(engine, search, "text", ["é" * 1000 + "needle" + "z" * 1000 + "needle"])
        assert found == Snippet("text", "é" * 97 + "needle" + "z" * 97, 97, 103)
