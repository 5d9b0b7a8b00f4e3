"""CSV files that are read in blocks become the dataset that reading record by record makes of them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.incoming.csv_rows import CsvOptions, CsvRecords, csv_reader
from mistudio_datasets.data.incoming.line_blocks import LARGEST_BLOCK, SMALLEST_BLOCK
from mistudio_datasets.data.incoming.records import Expected, no_columns
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.streams import SourceFile
from mistudio_datasets.domain.datasets import DataFormat

from .both_ways import outcome


def one_by_one(source: SourceFile, _: Expected) -> Iterator[Any]:
    return CsvRecords(source, CsvOptions())


def assert_read_alike(content: bytes) -> None:
    ways = (outcome(content, read, DataFormat.CSV) for read in (csv_reader(CsvOptions()), one_by_one))
    assert next(ways) == next(ways)


def record(fields: Sequence[object], delimiter: str, end: str, quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerow(fields)
    return file.getvalue().encode()


NUMBERS: list[object] = [0, 7, -3, 0.5, "", "007", "-0", "+1", 2**53 + 1, 2**63, "1e400", "1e-400", "True", "x", " "]
TEXTS = [
    "",
    "plain",
    'say "hi"',
    '"',
    '""',
    "a,b;c\td|e",
    "one\ntwo",
    "one\r\n\r\n  \ntwo",
    "café",
    "\u2028",
    "NULL",
    " x ",
]
ODD = [
    b"\n", b"\r\n", b"   \n", b"\t\t\n", b"\v\n", b"1,2\n", b"1,2,3,4\n", b'1,5" pipe,3\n', b'1,"a"b,3\n',
    b'1,"a" ,3\n', b'1, "a",3\n', b'1,"a""b"c,3\n', b'1,"oops,3\n', b'"\n', b'""\n', b"1,a\rb,3\n", b"1,a,3\r\r\n",
    b"1,caf\xe9,3\n", b'1,"caf\xe9\nx",3\n', b"1,\xed\xa0\x80,3\n", b"1,a\0b,3\n", b"\xef\xbb\xbf1,2,3\n",
    b"id,text,n\n", b",,\n", b" , , \n", b"x,y,z\n", b"9007199254740993,,true\n", b'1,"' + b"y" * 300_000 + b'",3\n',
    b'1,"' + b"y,\n" * 90_000 + b'",3\n',
]  # fmt: skip

fields = st.tuples(st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(NUMBERS))
odd = st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(ODD)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    odd, st.lists(fields, max_size=3), st.sampled_from(",;\t| "), st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_blocks_and_records_make_the_same_dataset(
    odd: list[tuple[int, bytes]], rare: list[tuple[object, ...]], delimiter: str, end: str, quoting: Any,
    is_marked: bool, is_ended: bool, is_packed: bool,
) -> None:  # fmt: skip
    clean = [record([n, f"row {n} " + "x" * (n % 90), n / 7], delimiter, end, quoting) for n in range(500)] * 8
    lines = [record(["id", "text", "n"], delimiter, end), *clean]
    for number, each in enumerate(rare):
        lines.insert(1 + 1500 * number, record(each, delimiter, end, quoting))
    for place, line in sorted(odd, reverse=True):
        lines.insert(place, line.replace(b",", delimiter.encode()))
    content = b"\xef\xbb\xbf" * is_marked + b"".join(lines)
    content = content if is_ended else content.rstrip(b"\r\n")
    assert_read_alike(gzip.compress(content, 1) if is_packed else content)


nasty = st.text('a1,;"\n\r \t\0é\ufeff', max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["t\n", "a,b\n", "a\tb\n"]), nasty)
def test_any_few_characters_are_read_alike(header: str, text: str) -> None:
    assert_read_alike((header + text).encode())


def tables_of(tmp_path: Path, content: bytes, options: CsvOptions) -> tuple[int, int]:
    """How many rows came in tables, and how many records alone."""
    path = tmp_path / "received"
    path.write_bytes(content)
    with SourceFile(Source.whole(path, "rows")) as source:
        records = list(csv_reader(options)(source, no_columns))
    tables = [each for each in records if isinstance(each, pa.Table)]
    return sum(table.num_rows for table in tables), len(records) - len(tables)


@pytest.mark.parametrize("delimiter", list(",;\t| "))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_clean_records_are_read_in_blocks_to_the_last(tmp_path: Path, delimiter: str, quoting: Any) -> None:
    rows = ([n, 'he said "no",\n\n  \nthen;\tleft | ' + "x" * 50, ""] for n in range(10_000))
    content = b"".join(record(row, delimiter, "\r\n", quoting) for row in [("id", "text", "n"), *rows])
    assert tables_of(tmp_path, content, CsvOptions(delimiter)) == (9_999, 1)


def test_around_a_damaged_record_only_a_small_part_is_read_one_by_one(tmp_path: Path) -> None:
    clean = b"".join(b"%d,%s\n" % (n, b"x" * 50) for n in range(40_000))
    in_tables, alone = tables_of(tmp_path, b"n,text\n" + clean + b"oops\n" + clean, CsvOptions())
    assert in_tables + alone == 80_001
    assert 50 * alone < 2 * SMALLEST_BLOCK


def test_records_longer_than_a_small_block_are_read_in_large_ones(tmp_path: Path) -> None:
    long = b'1,"' + b"x\n" * SMALLEST_BLOCK + b'"\n'
    assert 2 * len(long) < LARGEST_BLOCK
    assert tables_of(tmp_path, b"n,text\n" + 10 * long, CsvOptions()) == (9, 1)


@pytest.mark.parametrize(("delimiter", "quote"), [("§", '"'), (",", "é"), (",", "'"), ("x", '"')])
def test_dialects_that_a_card_names_are_read_in_either_way(tmp_path: Path, delimiter: str, quote: str) -> None:
    rows = b"".join(f"{n}{delimiter}{quote}a{delimiter}b{quote}\n".encode() for n in range(1000))
    in_tables, alone = tables_of(tmp_path, f"n{delimiter}t\n".encode() + rows, CsvOptions(delimiter, quote))
    assert in_tables + alone == 1000
    assert (in_tables > 0) == (delimiter + quote).isascii()
