"""CSV, Parquet and text that nobody wrote with care: every record becomes a row or is set aside."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.incoming.csv_rows import CsvOptions, CsvRecords
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.records import DamagedRecord
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile, UnsupportedFormat

from .accounting import assert_accounted, content_of, read_short, rows_of, set_aside, types_of

# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_dialect_is_found_out(upload: Any, delimiter: str, end: str, mark: bytes) -> None:
    records = [["id", "text", "n"], ["1", 'say ""hi"", you', "0.5"], ["2", "tab\tand; bar|", "-3"], ["3", "", ""]]
    lines = [delimiter.join(field if field.isalnum() else f'"{field}"' for field in fields) for fields in records]
    content = mark + end.join(lines).encode() + end.encode()
    folder, layout = upload("t.csv", content)
    assert rows_of(folder, layout) == [
        {"id": 1, "text": 'say "hi", you', "n": 0.5},
        {"id": 2, "text": "tab\tand; bar|", "n": -3.0},
        {"id": 3, "text": None, "n": None},
    ]
    assert layout.damaged_count == 0


def test_line_ends_within_quotes_are_text(upload: Any) -> None:
    content = b'a,b\n1,"one\ntwo\r\n\nthree"\n2,plain\n'
    folder, layout = upload("t.csv", content)
    assert [row["b"] for row in rows_of(folder, layout)] == ["one\ntwo\r\n\nthree", "plain"]


BAD_CSV = [
    (b"1,2,3\n", "3 fields"),
    (b"1\n", "1 fields"),
    (b'"a"b,2\n', "not CSV"),
    (b"caf\xe9,2\n", "not UTF-8"),
    (b'1,"caf\xe9\nx"\n', "not UTF-8"),
]


@pytest.mark.parametrize(("record", "reason"), BAD_CSV)
def test_a_bad_record_is_kept_whole_beside_the_rows(upload: Any, record: bytes, reason: str) -> None:
    content = b"a,b\n1,2\n" + record + b"3,4\n"
    folder, layout = upload("t.csv", content)
    assert rows_of(folder, layout) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert_accounted(folder, layout, content, without=b"a,b\n")
    assert reason in layout.damaged[0].reason


def test_a_quote_that_never_closes_takes_a_bounded_part_of_the_file(tmp_path: Path) -> None:
    content = b'a,b\n1,2\n3,"oops\n' + b"5,6\n" * 2000
    records = read_short(tmp_path, content, lambda source: CsvRecords(source, CsvOptions()))
    lost = [record for record in records if isinstance(record, DamagedRecord)]
    assert len(records) - len(lost) > 1900
    assert len(records) - len(lost) + sum(len(record.lines) for record in lost) == 2002


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (b"a,a,a", ["a", "a.1", "a.2"]),
        (b"a,a.1,a", ["a", "a.1", "a.2"]),
        (b"a,a,a.1", ["a", "a.2", "a.1"]),
        (b",,x", ["column_1", "column_2", "x"]),
        (b"column_2,,x", ["column_2", "column_2.1", "x"]),
        (b"\xef\xbb\xbfa, b ,c", ["a", "b", "c"]),
        (b"1,2,3", ["1", "2", "3"]),  # the first record is the header, whatever it holds
    ],
)
def test_every_column_has_a_name_of_its_own(upload: Any, header: bytes, names: list[str]) -> None:
    folder, layout = upload("t.csv", header + b"\n7,8,9\n")
    assert list(types_of(layout)) == names
    assert [list(row.values()) for row in rows_of(folder, layout)] == [[7, 8, 9]]


def test_a_single_column_is_a_table(upload: Any) -> None:
    content = b'text\nhello\n"a, b"\n\n7\n'
    folder, layout = upload("t.csv", content)
    assert [row["text"] for row in rows_of(folder, layout)] == ["hello", "a, b", "7"]


def test_a_header_that_is_not_utf8_is_refused(upload: Any) -> None:
    with pytest.raises(MalformedFile, match=r"header of t\.csv is not UTF-8"):
        upload("t.csv", b"caf\xe9,b\n1,2\n")


# Parquet


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def test_parquet_without_rows_is_empty(upload: Any) -> None:
    with pytest.raises(DatasetEmpty, match="holds no rows"):
        upload("t.parquet", parquet(pa.table({"a": pa.array([], pa.int64())})))


def test_parquet_without_columns_is_refused(upload: Any) -> None:
    with pytest.raises((DatasetEmpty, MalformedFile)):
        upload("t.parquet", parquet(pa.table({})))


def test_nested_and_dictionary_columns_are_read(upload: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"tags": ["a", None], "meta": {"x": 1, "y": [{"z": None}]}, "kind": "p"},
        {"tags": None, "meta": None, "kind": None},
    ]
    table = pa.Table.from_pylist(rows)
    table = table.set_column(2, "kind", table["kind"].dictionary_encode())
    folder, layout = upload("t.parquet", parquet(table))
    assert rows_of(folder, layout) == rows
    assert types_of(layout)["kind"].startswith("dictionary<")


def test_large_strings_and_binary_are_read(upload: Any) -> None:
    texts, raw = pa.array(["x" * 100_000, ""], pa.large_string()), pa.array([b"\0\xff", None], pa.large_binary())
    table = pa.table({"text": texts, "raw": raw})
    folder, layout = upload("t.parquet", parquet(table))
    assert types_of(layout) == {"text": "large_string", "raw": "large_binary"}
    assert rows_of(folder, layout)[0] == {"text": "x" * 100_000, "raw": b"\0\xff"}


def test_ten_thousand_columns_are_read(upload: Any) -> None:
    table = pa.table({f"c{number}": [number, None] for number in range(10_000)})
    folder, layout = upload("t.parquet", parquet(table))
    assert (len(layout.columns), layout.rows) == (10_000, 2)
    assert rows_of(folder, layout)[0]["c9999"] == 9999


def test_a_name_with_a_nul_is_refused(upload: Any) -> None:
    with pytest.raises(MalformedFile, match="NUL character in its name"):
        upload("t.parquet", parquet(pa.table({"a\0b": [1]})))


@pytest.mark.parametrize("cut", [1, 8, 100, 1000])
def test_parquet_that_was_cut_is_refused(upload: Any, cut: int) -> None:
    with pytest.raises(MalformedFile):
        upload("t.parquet", parquet(pa.table({"a": list(range(1000))}))[:-cut])


# Text


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"one\ntwo", ["one", "two"]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\rtwo\r\rthree", ["one", "two", "", "three"]),
        (b"one\rtwo\nthree\n", ["one\rtwo", "three"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        (b"only", ["only"]),
        (b"\n\n", ["", ""]),
        (b"line\xe2\x80\xa8separator\x0bhere\n", ["line\u2028separator\x0bhere"]),
    ],
)
def test_every_line_of_a_text_is_a_row(upload: Any, content: bytes, texts: list[str]) -> None:
    folder, layout = upload("notes.txt", content)
    assert [row["text"] for row in rows_of(folder, layout)] == texts


def test_a_nul_far_into_a_text_is_part_of_its_line(upload: Any) -> None:
    content = b"line\n" * 20_000 + b"nul\0here\ncaf\xe9\0\nend\n"
    folder, layout = upload("notes.txt", content)
    assert (layout.rows, layout.damaged_count) == (20_002, 1)
    assert rows_of(folder, layout)[20_000:] == [{"text": "nul\0here"}, {"text": "end"}]
    assert content_of(set_aside(folder)[0]) == b"caf\xe9\0\n"


@pytest.mark.parametrize("wanted", [None, DataFormat.TEXT])
def test_a_binary_file_is_no_text(upload: Any, wanted: DataFormat | None) -> None:
    with pytest.raises(UnsupportedFormat, match="binary"):
        upload("notes.txt", b"a\0b\n", wanted)


# The Hub's files


def test_damaged_records_of_hub_files_are_kept_as_those_of_uploads(tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / "source" / f"part-{number}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'{"a": 1}\n{broken %d\n' % number)
    plan = SourcePlan("", DataFormat.JSONL, {"train": ("part-0.jsonl", "part-1.jsonl")}, (), CsvOptions())
    layout = read_source(tmp_path, plan, UNWATCHED)
    assert (layout.rows, layout.damaged_count) == (2, 2)
    kept = [(record["file"], record["line"], record["text"]) for record in set_aside(tmp_path)]
    assert kept == [("part-0.jsonl", 2, "{broken 0\n"), ("part-1.jsonl", 2, "{broken 1\n")]
